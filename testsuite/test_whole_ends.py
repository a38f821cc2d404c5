"""Runs over whole systems that end early, or that meet, and many changes in any order."""

import json
import random
import shutil
import signal
import subprocess
import time

import pytest

from harness import build, need
from harness.root import LIBC
from harness.run import run
from test_placement_policy import ANSWERS, LIBDIR, LIBRARIES, MAIN, compiled, program
from test_whole import AS_CONFIGURED, EARLY, FIX, install, library, one_processor, paths_program, PROGRAMS, system  # noqa: F401

pytestmark = [pytest.mark.one_placement, pytest.mark.root]


def start(system, options=FIX):
    return subprocess.Popen([str(word) for word in [build.TOOL, *system.words(*options), "-a", f"--runtime-source={build.RUNTIME}"]],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=one_processor)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_a_run_that_ends_early(system, number, first):
    """The next one completes it, whenever it was."""
    generator = random.Random(2)
    for name in ANSWERS:
        for i in range(4):
            system.add(name, f"/usr/bin/{name}-{i}")
    begin = time.monotonic()
    system.all()
    seconds = time.monotonic() - begin
    for turn in range(8):
        system.replace("common", 20 + turn)
        if first:
            system.root.undo()
            system.cache.unlink()
        process = start(system)
        time.sleep(generator.random() * seconds)
        process.send_signal(number)
        process.wait()
        for name, answer in system.answers.items():
            assert system.root.run(name).stdout == answer
        system.all()
        system.right()
        system.settled()


def counted(log):
    return sum(" = " in line for line in log.read_text().splitlines())


def test_a_run_that_is_interrupted_at_every_stage(system):
    """What it has noted by then leaves nothing out."""
    other, log = paths_program(system), system.cache.with_suffix(".log")
    system.all()
    strace = [need.tool("strace"), "-f", "-qq", "-o", log, "-e", "trace=openat"]
    command = [build.TOOL, *system.words(*FIX), "-a", f"--runtime-source={build.RUNTIME}"]
    numbers, total, when = iter(range(100, 200)), None, 1
    while total is None or when < total:
        system.replace("common", next(numbers))
        install(other, system.host(f"{EARLY}/libpath.so"))
        system.answers["/usr/bin/path"] = "2\n"
        inject = ["-e", f"inject=openat:signal=INT:when={when}"] if total else []
        run([*strace, *inject, *command], preexec_fn=one_processor)
        total = total or counted(log)
        when += max(1, total // 16)
        system.all()
        system.right()
        system.settled()
        system.host(f"{EARLY}/libpath.so").unlink()
        system.answers["/usr/bin/path"] = "1\n"
        system.all()


def test_two_runs_at_once(system):
    """Neither fails, and the next one completes what they left to each other."""
    for number in range(200, 206):
        system.replace("common", number)
        for process in [start(system), start(system)]:
            assert process.wait() in (0, 1)
        for name, answer in system.answers.items():
            assert system.root.run(name).stdout == answer
        system.all()
        system.right()
        system.settled()


def test_a_library_is_told_of_once(system):
    """Whatever its names."""
    main = build.compile_c(MAIN.format("three"), "three-too", ["-fPIE", "-pie", f"-Wl,-rpath,{LIBDIR}"], [compiled("three")])
    install(main, system.host("/usr/bin/three-too"))
    for _ in range(2):
        rows = [json.loads(line) for line in system.all("--fixed", "--json").stdout.splitlines()]
        assert sum(row.get("file", "").endswith("/libthree.so") for row in rows) == 1


class Changes:
    """Things that happen to a system; each returns the names that a package manager would tell."""

    def __init__(self, system, seed):
        self.system, self.random = system, random.Random(seed)
        self.other = paths_program(system)
        self.count = 0

    def any(self):
        changes = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("change_")]
        return self.random.choice(changes)()

    def change_a_library(self):
        self.count += 1
        name = self.random.choice(sorted(LIBRARIES))
        self.system.replace(name, 1000 + self.count)
        return [library(name)]

    def change_a_program(self):
        name = self.random.choice(sorted(ANSWERS))
        install(program(name), self.system.host(f"/usr/bin/{name}"))
        return [f"/usr/bin/{name}"]

    def change_number_of_programs(self):
        name = self.random.choice(sorted(ANSWERS))
        path = f"/usr/bin/{name}-copy"
        if self.system.answers.pop(path, None):
            self.system.host(path).unlink()
        else:
            install(program(name), self.system.host(path))
            self.system.answers[path] = self.system.answers[f"/usr/bin/{name}"]
        return [path]

    def change_search(self):
        path = f"{EARLY}/libpath.so"
        if self.system.host(path).exists():
            self.system.host(path).unlink()
            self.system.answers["/usr/bin/path"] = "1\n"
        else:
            install(self.other, self.system.host(path))
            self.system.answers["/usr/bin/path"] = "2\n"
        return [path]

    def change_exposure(self):
        path = f"/usr/sbin/exposed-{self.random.choice(sorted(ANSWERS))}"
        if self.system.host(path).exists():
            self.system.host(path).unlink()
        else:
            install(program(path.rsplit("-", 1)[1]), self.system.host(path))
            self.system.host(path).chmod(0o4755)
        return [path]

    def change_by_hand(self):
        path = self.random.choice([*PROGRAMS, *map(library, sorted(LIBRARIES)), "/" + LIBC])
        self.system.root.undo(path, status=None)
        return [path]

    def change_nothing(self):
        return []

    def change_the_carrier(self):
        copy = self.system.cache.with_suffix(".libc")
        if not copy.exists():
            shutil.copy(self.system.root.outside(LIBC), copy)
        install(copy, self.system.root.libc)
        return ["/" + LIBC]

    def guarded(self):
        exposed = {name for name in ANSWERS if self.system.host(f"/usr/sbin/exposed-{name}").exists()}
        return exposed | {LIBRARIES[name][1] for name in exposed if LIBRARIES[name][1]}


@pytest.mark.parametrize("seed", range(6))
def test_many_changes(system, seed):
    """Whatever happens, in whatever order, and however the runs are told: all is right after each run."""
    changes = Changes(system, seed)
    for _ in range(25):
        told = [name for _ in range(changes.random.choice([1, 1, 2, 4])) for name in changes.any()]
        if changes.random.random() < 0.2:
            process = start(system, changes.random.choice([FIX, AS_CONFIGURED, AS_CONFIGURED]))
            time.sleep(changes.random.random() / 20)
            process.send_signal(changes.random.choice([signal.SIGKILL, signal.SIGINT]))
            process.wait()
        if changes.random.random() < 0.5:
            system.all(*AS_CONFIGURED)
        else:
            system.changed(told, *AS_CONFIGURED)
        system.right()
        assert {name for name in LIBRARIES if not system.base(library(name))} == changes.guarded()
    system.all(*AS_CONFIGURED)
    system.settled(*AS_CONFIGURED)
