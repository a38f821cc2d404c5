"""A program with copies of all its libraries in a directory of its own: needs no root and no chroot."""

import os
import shutil
import subprocess
from pathlib import Path

from harness import build, elf, files
from harness.run import PLACEMENT, REQUIRE, Result, fastprelink, fixed_libraries, placed, run
from oracle import STAGES, Oracle

LIBC = "libc.so.6"


class PrivateDir:
    """DIR/bin/prog and DIR/lib: the system's ld.so runs them, the private libc.so.6 is the carrier."""

    def __init__(self, path):
        self.path = Path(path)
        self.bin, self.lib, self.runtime = self.path / "bin", self.path / "lib", self.path / "rt"
        self.libc = self.lib / LIBC
        self.prog = self.bin / "prog"
        self.options = []  # more options for every prelink()
        self.extra_env = {}
        for directory in (self.bin, self.lib):
            directory.mkdir(parents=True, exist_ok=True)

    # Making it

    def library(self, name, source, libs=(), flags=(), where="lib", soname=None, lang="c", cc=None):
        """Compiles the library WHERE/NAME; LIBS are paths, or names in DIR/lib."""
        flags = ["-shared", "-fPIC", f"-Wl,-soname,{soname or name}", *flags]
        return self._compile(self.path / where / name, source, libs, flags, lang, cc)

    def program(self, source, libs=(), flags=(), name="prog", pie=True, lang="c", cc=None):
        kind = ["-fPIE", "-pie"] if pie else ["-fno-pie", "-no-pie"]
        flags = [*kind, "-Wl,--allow-shlib-undefined", *flags]
        return self._compile(self.bin / name, source, libs, flags, lang, cc)

    def _compile(self, path, source, libs, flags, lang, cc):
        libs = [lib if isinstance(lib, Path) else self.lib / lib for lib in libs]
        cached = build.compile_c(source, path.name, flags, libs, lang, cc)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cached, path)
        return path

    def adopt(self, *programs):
        """Copies what PROGRAMS (DIR/bin/prog) load from the system into DIR/lib."""
        self.own_libc()
        for program in filter(os.path.isfile, programs or [self.prog]):
            for path in self.closure(program):
                if not path.is_relative_to(self.path) and not (self.lib / path.name).exists():
                    shutil.copy2(path, self.lib / path.name, follow_symlinks=True)

    def own_libc(self):
        if not self.libc.exists():
            shutil.copy2(system_libc(), self.libc)

    def closure(self, program=None):
        """Paths of the libraries that ld.so loads for PROGRAM, without ld.so itself."""
        done = run(["/lib64/ld-linux-x86-64.so.2", "--list", program or self.prog], env=self.env())
        words = [line.split() for line in done.stdout.splitlines()]
        paths = [Path(word[2]) for word in words if len(word) > 2 and word[1] == "=>" and word[2][0] == "/"]
        paths += [Path(word[0]) for word in words if len(word) == 2 and word[0][0] == "/"]
        return [path for path in paths if not path.name.startswith("ld-linux")]

    def open_to_all(self):
        """Lets other users search the directories above, which pytest keeps private."""
        for directory in (self.path, *self.path.parents):
            if directory.stat().st_uid == os.geteuid() and directory.stat().st_mode & 0o055 != 0o055:
                directory.chmod(0o755)

    def twin(self):
        """An equal copy elsewhere, for whatever must be compared with plain behaviour."""
        other = self.path.with_name(self.path.name + "-twin")
        shutil.copytree(self.path, other, symlinks=True)
        twin = PrivateDir(other)
        twin.extra_env = dict(self.extra_env)
        return twin

    # Using it

    def env(self, **more):
        return {"LD_LIBRARY_PATH": str(self.lib), **self.extra_env, **more}

    def run(self, *arguments, program=None, env=None, prefix=(), **options):
        """Runs the program; this directory's name does not appear in what comes out."""
        command = [*prefix, program or self.prog, *arguments]
        done = run(command, env=self.env(**(env or {})), **options)
        neutral = [text.replace(str(self.path), "DIR") for text in (done.stdout, done.stderr)]
        return Result(done.status, *neutral, done.notes)

    def run_fast(self, *arguments, env=None, **options):
        """Runs it with FASTPRELINK=require and asserts that it was accelerated."""
        done = self.run(*arguments, env={**REQUIRE, **(env or {})}, **options)
        assert done.accelerated, done
        return done

    def prelink(self, *programs, options=("-f",), status=0):
        options = placed(options)
        # Never the system's.
        if "--aslr" in options:
            self.own_libc()
        else:
            self.adopt(*programs)
        return fastprelink(*options, *self.places(), *self.options, *(programs or [self.prog]), status=status)

    def places(self):
        """The options that keep the command inside this directory."""
        return [f"--ld-library-path={self.lib}", f"--runtime={self.runtime}", f"--scan-root={self.path}"]

    def shifted(self):
        """The libraries that have an address from us."""
        return [path for path in sorted(self.path.rglob("*.so*")) if elf.is_shifted(path)]

    def undo(self, *paths):
        return fastprelink("-u", *(paths or [self.prog, self.libc, *self.shifted()]))

    def oracle(self, *arguments, program=None, env=None, **options):
        env = self.env(**REQUIRE, **(env or {}))
        return Oracle(self.path.with_name(self.path.name + "-oracle"), [program or self.prog, *arguments],
                      env, **options)

    def check(self, expected, *arguments, env=None, stages=STAGES):
        """The whole life of a program: right when plain, accelerated, equal in every word, and undone.  STAGES without `entry`: its
        constructors start threads, so that no two starts hold the same then."""
        self.adopt()
        plain = self.run(*arguments, env=env)
        assert (plain.stdout, plain.status) == (expected, 0), plain
        original = files.digests(self.path)
        oracle = self.oracle(*arguments, env=env).before()
        fixed = fixed_libraries(self.prelink(options=("-f", "-v")))
        assert self.run_fast(*arguments, env=env) == plain
        oracle.after(stages)
        assert files.changed(original, files.digests(self.path)) == {
            str(self.prog), str(self.libc), str(self.runtime), *fixed}
        assert PLACEMENT != "aslr" or not fixed
        self.undo()
        self.runtime.unlink()
        assert files.digests(self.path) == original

    def compare(self, scenario):
        """Prelinks it; SCENARIO(directory) must give the same there as with a plain copy.  Returns the former."""
        self.adopt()
        twin = self.twin()
        self.prelink()
        plain = scenario(twin)
        fast = scenario(self)
        assert fast == plain
        return fast


def system_libc():
    """The system's 64-bit libc.so.6: the one this very interpreter's C programs load."""
    done = subprocess.run(["gcc", "-print-file-name=libc.so.6"], capture_output=True, text=True, check=True)
    return Path(os.path.realpath(done.stdout.strip()))
