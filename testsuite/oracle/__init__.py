"""The oracle: is what a prelinked process holds exactly what plain ld.so would have put there?"""

import re
import subprocess

from harness import build

COUNTS = re.compile(r"^\d+ objects, (\d+) words, ", re.MULTILINE)  # the last line of compare.c
STAGES = ("relocated", "entry")
STARTS = 3  # of a program of which only lazily bound slots differ, and those at its entry point only
LAZY = re.compile(r"entry:(\n.*: word: type 7 .*)+\n\d+ objects, .*")
NOW = "plain-now"  # the snapshot of a plain start with LD_BIND_NOW=1


class Oracle:
    """Snapshots of one program, kept in DIRECTORY; `before` and `after` start it by the same COMMAND."""

    def __init__(self, directory, command, env=None, root=None, randomize=True, may_bind_now=True):
        self.directory = directory
        self.command = [str(word) for word in command]
        self.env = dict(env or {})
        self.root = root
        self.randomize = randomize
        self.may_bind_now = may_bind_now  # False: the program does not start with LD_BIND_NOW=1
        self.words = 0  # relocated words compared in the last start
        self.passing = []  # differences that another start had not
        directory.mkdir(parents=True, exist_ok=True)

    def addresses(self):
        """Starts the program and returns {object: load address}."""
        self.snapshot("addresses", "--addresses")
        lines = (self.directory / "addresses").read_text().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines)

    def snapshot(self, name, *options):
        """Starts the program up to its entry point and saves what it holds as NAME; returns its stderr."""
        line = [helper("entry"), *options]
        for key, value in self.env.items():
            line += ["--env", f"{key}={value}"]
        if self.root:
            line += ["--chroot", self.root]
        if not self.randomize:
            line += ["--no-randomize"]
        done = subprocess.run(line + [self.directory / name] + self.command, cwd=self.directory,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def differences(self, name, other, stage, now=None):
        """The differences between two snapshots, one line each.  A PLT slot may hold what the snapshot NOW, of a plain start
        with LD_BIND_NOW=1, has in it."""
        line = [helper("compare")] + (["--relocated"] if stage == "relocated" else [])
        line += [self.directory / f"{name}.{stage}", self.directory / f"{other}.{stage}"]
        line += [self.directory / f"{now}.{stage}"] if now else []
        done = subprocess.run(line, capture_output=True, text=True, timeout=120)
        assert done.returncode in (0, 1), done.stderr
        lines = done.stdout.splitlines()
        counted = COUNTS.search(done.stdout)
        self.words += int(counted[1]) if counted else 0
        return lines if done.returncode else []

    def before(self):
        """Call it while nothing is prelinked."""
        self.snapshot("plain")
        if self.may_bind_now and not self.env.get("LD_BIND_NOW"):
            lazy, self.env = self.env, {**self.env, "LD_BIND_NOW": "1"}
            self.snapshot(NOW)
            self.env = lazy
        return self

    def after(self, stages=STAGES):
        """Call it when everything is prelinked: the program must start accelerated, and hold the same words."""
        self.env.update(FASTPRELINK="require", FASTPRELINK_DEBUG="1")
        now = NOW if (self.directory / f"{NOW}.entry").exists() else None
        self.repeat("fastprelink: accelerated", now, stages)

    def repeat(self, note, now=None, stages=STAGES):
        """Starts the program, which must say NOTE ("": nothing), and compares it with its plain start.  One whose lazily bound slots alone differ is started again:
        where constructors start threads, OpenBLAS's for one, what these have called by the entry point is not always the same."""
        for start in range(STARTS):
            self.words = 0
            stderr = self.snapshot("prelinked")
            assert note in stderr if note else "fastprelink:" not in stderr, stderr
            try:
                return self.compare("plain", "prelinked", now, stages)
            except AssertionError as error:
                if start == STARTS - 1 or not LAZY.fullmatch(str(error)):
                    self.passing = []
                    raise
                self.passing = self.passing or str(error).splitlines()

    def compare(self, name, other, now=None, stages=STAGES):
        for stage in stages:
            found = self.differences(name, other, stage, now)
            assert not found, f"{stage}:\n" + "\n".join(found)


def helper(name):
    """The compiled helper NAME."""
    return build.compile_c(build.TESTSUITE / "oracle" / f"{name}.c",
                           depends=[build.TESTSUITE / "oracle" / "snapshot.h"])
