"""A sandbox root: programs, the libraries they load, ld.so and the data they need, run by chroot.  Needs root."""

import ctypes
import os
import shutil
from pathlib import Path

from harness import elf, files, need
from harness.run import REQUIRE, fastprelink, placed, run
from oracle import Oracle

MS_RDONLY, MS_NOEXEC, MS_REMOUNT, MS_BIND, MNT_DETACH = 1, 8, 32, 4096, 2
LIBC = "usr/lib/x86_64-linux-gnu/libc.so.6"

# Wherever the build would install it: a prefix below /tmp, say, is not looked at when files are compared.
RUNTIME = "--runtime=/usr/lib/fastprelink/rt"


class Root:
    """Mounts are this process's own (need.private_mounts), so even a killed session leaves none behind."""

    def __init__(self, path, system="/"):
        """SYSTEM: the root of the system whose files are copied."""
        self.path, self.system = Path(path), Path(system)
        self.mounts = []
        if not need.private_mounts():
            need.missing("permission to mount")
        self.make()

    # Making it

    def make(self):
        for name in ("usr/bin", "usr/sbin", "usr/lib64", "usr/lib/x86_64-linux-gnu", "etc", "proc",
                     "dev", "tmp"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.path / name).symlink_to("usr/" + name)
        self.mount("proc", "/proc", "proc")
        for device in ("null", "zero", "urandom"):
            os.mknod(self.path / "dev" / device, 0o20666, os.stat("/dev/" + device).st_rdev)
        for name in ("/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/passwd", "/etc/group"):
            self.copy(name)
        self.add("/bin/sh", "/bin/true")

    def host(self, name):
        """Where the file that is called NAME inside the root lies outside."""
        return self.path / str(name).lstrip("/")

    def outside(self, name):
        """Where the file that is called NAME in the system that is copied lies."""
        return self.system / str(name).lstrip("/")

    def copy(self, name):
        """Copies a file (following its links, keeping each) or a directory from the system; never hard-links."""
        source, target = self.outside(name), self.host(name)
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
            return
        real = files.resolved(self.system, name)
        target_real = self.host(real)
        target_real.parent.mkdir(parents=True, exist_ok=True)
        if not target_real.exists():
            files.copy(self.outside(real), target_real)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(target):
            target.symlink_to(real)

    def add(self, *programs, data=()):
        """Copies PROGRAMS (or libraries that are opened later) with their closures, and the DATA paths."""
        for program in programs:
            self.copy(program)
            listed = run([need.tool("chroot"), self.system, "/lib64/ld-linux-x86-64.so.2", "--list",
                          files.resolved(self.system, program)])
            for line in listed.stdout.splitlines():
                words = line.split()
                path = words[2] if len(words) > 2 and words[1] == "=>" else words[0]
                if path.startswith("/"):
                    self.copy(path)
        for name in data:
            self.copy(name)
        self.copy("/lib64/ld-linux-x86-64.so.2")
        done = run([need.tool("ldconfig"), "-r", self.path])
        assert done.status == 0, done.stderr

    def mount(self, source, name, kind, flags=0):
        libc = ctypes.CDLL(None, use_errno=True)
        target = os.fsencode(self.host(name))
        assert libc.mount(source.encode(), target, kind.encode(), flags, None) == 0, os.strerror(ctypes.get_errno())
        self.mounts.append(target)

    def share(self, name):
        """Shows the system's directory NAME inside the root, read-only."""
        self.host(name).mkdir(parents=True, exist_ok=True)
        self.bind(name, name)
        self.make_read_only(name)

    def bind(self, source, name):
        """Shows the directory SOURCE of the system as NAME inside the root."""
        libc, target = ctypes.CDLL(None, use_errno=True), os.fsencode(self.host(name))
        assert libc.mount(os.fsencode(source), target, None, MS_BIND, None) == 0
        self.mounts.append(target)

    def make_read_only(self, name):
        """Of a directory that was bound."""
        libc, target = ctypes.CDLL(None, use_errno=True), os.fsencode(self.host(name))
        assert libc.mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY, None) == 0

    def close(self):
        libc = ctypes.CDLL(None, use_errno=True)
        for target in reversed(self.mounts):
            libc.umount2(target, MNT_DETACH)
        self.mounts = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Using it

    @property
    def libc(self):
        return self.path / LIBC

    def run(self, *command, env=None, user=None, **options):
        line = [need.tool("chroot"), *(["--userspec", user] if user else []), self.path, *command]
        return run(line, env=env, **options)

    def run_fast(self, *command, env=None, **options):
        done = self.run(*command, env={**REQUIRE, **(env or {})}, **options)
        assert done.accelerated, done
        return done

    def prelink(self, *programs, options=("-f",), **more):
        return fastprelink(f"--root={self.path}", RUNTIME, *placed(options), *programs, **more)

    def undo(self, *programs, **more):
        return fastprelink(f"--root={self.path}", RUNTIME, "-u", *(programs or ["-a"]), **more)

    def oracle(self, name, *command, env=None):
        return Oracle(self.path.with_name(self.path.name + "-" + name), command, {**(env or {}), **REQUIRE},
                      self.path)

    def digests(self):
        """Digests of everything that lies in the root itself, without what programs write at run time."""
        mounts = [os.fsdecode(target) for target in self.mounts]
        return files.digests(self.path, without=[*mounts, str(self.host("/tmp")), str(self.host("/proc"))])

    def shifted(self):
        """The libraries in the root that have an address from us."""
        return {path for path in self.digests() if ".so" in path and elf.is_shifted(path)}

    def inside(self, paths):
        """PATHS as they are called in the root."""
        return {"/" + os.path.relpath(path, self.path) for path in paths}
