"""The oracle: is what a prelinked process holds exactly what plain ld.so would have put there?"""

import subprocess

from harness import build

STAGES = ("relocated", "entry")


class Oracle:
    """Snapshots of one program, kept in DIRECTORY; `before` and `after` start it by the same COMMAND."""

    def __init__(self, directory, command, env=None, root=None, randomize=True):
        self.directory = directory
        self.command = [str(word) for word in command]
        self.env = dict(env or {})
        self.root = root
        self.randomize = randomize
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

    def differences(self, name, other, stage):
        """The differences between two snapshots, one line each."""
        line = [helper("compare")] + (["--relocated"] if stage == "relocated" else [])
        line += [self.directory / f"{name}.{stage}", self.directory / f"{other}.{stage}"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120)
        assert done.returncode in (0, 1), done.stderr
        lines = done.stdout.splitlines()
        return lines if done.returncode else []

    def before(self):
        """Call it while nothing is prelinked."""
        self.snapshot("plain")
        return self

    def after(self, stages=STAGES):
        """Call it when everything is prelinked: the program must start accelerated, and hold the same words."""
        self.env.update(FASTPRELINK="require", FASTPRELINK_DEBUG="1")
        stderr = self.snapshot("prelinked")
        assert "fastprelink: accelerated" in stderr, stderr
        self.compare("plain", "prelinked", stages)

    def compare(self, name, other, stages=STAGES):
        for stage in stages:
            found = self.differences(name, other, stage)
            assert not found, f"{stage}:\n" + "\n".join(found)


def helper(name):
    """The compiled helper NAME."""
    return build.compile_c(build.TESTSUITE / "oracle" / f"{name}.c",
                           depends=[build.TESTSUITE / "oracle" / "snapshot.h"])
