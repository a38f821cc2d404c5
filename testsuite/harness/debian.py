"""Roots that debootstrap makes, with packages that apt and dpkg install in them; and packages of our own."""

import hashlib
import os
import shutil
from pathlib import Path

from harness import build, files, need
from harness.root import Root
from harness.run import run

SETTINGS = "/etc/default/fastprelink"

# In every root: fastprelink's own libraries, programs that gain, and tools that look at files.
PACKAGES = ["aide", "debsums", "gpg", "libelf1", "libjansson4", "libnettle8", "libpopt0", "libzstd1", "openssl"]

# What must run at every moment.  The last column: whether it gains enough to be prelinked.
PROGRAMS = [
    (("/usr/bin/openssl", "version"), True),
    (("/usr/bin/gpg", "--version"), True),
    (("/usr/bin/apt-get", "--version"), True),
    (("/usr/bin/apt-config", "dump"), True),
    (("/usr/bin/dpkg", "--version"), False),
    (("/bin/sh", "-c", "ls / | tail -n 3 | sed s/./x/"), False),
    (("/usr/bin/perl", "-e", "print 6 * 7"), False),
]


def mirror():
    """(address, release) of the archive that this machine installs from."""
    release = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release") if "=" in line)
    codename = release.get("VERSION_CODENAME", "").strip('"')
    done = run([need.tool("apt-get"), "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)",
                "Created-By: Packages"])
    for line in done.stdout.splitlines():
        address, name, component = (line.split() + ["", ""])[:3]
        if (name, component) == (codename, "main"):
            return address, codename
    return need.missing("Debian archive in apt's configuration")


def make_base(path):
    """Makes the root that others lie over, and PATH-archives with the packages that are in it.  All of this is in
    memory: dpkg syncs every file."""
    command = ["mount", "-t", "tmpfs", "-o", "mode=0755,size=3g", "debian", path.parent]
    if not need.private_mounts() or run(command).status != 0:
        need.missing("permission to mount")
    address, codename = mirror()
    done = run([need.tool("debootstrap"), "--variant=minbase", codename, path, address], timeout=900)
    assert done.status == 0, done.stdout[-3000:] + done.stderr
    for command in (["update"], ["install", *PACKAGES]):
        apt(path, *command)
    archives = path.with_name(path.name + "-archives")
    archives.mkdir()
    for package in path.glob("var/cache/apt/archives/*.deb"):
        shutil.move(package, archives)
    return path


def apt(path, *arguments):
    options = ["-q", "-y", "--no-install-recommends"]
    for setting in ("Dpkg::Use-Pty=0", "Dpkg::Options::=--force-confold", "APT::Sandbox::User=root"):
        options += ["-o", setting]
    done = run([need.tool("chroot"), path, "apt-get", *options, *arguments],
               env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=900)
    assert done.status == 0, done
    return done


class DebianRoot(Root):
    """The root BASE with what is changed in it; a mount of its own, as the root of a system is."""

    def __init__(self, path, base):
        self.base = base
        super().__init__(path)

    def make(self):
        changes, work = (self.path.with_name(self.path.name + end) for end in ("-changes", "-work"))
        for directory in (self.path, changes, work):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        done = run(["mount", "-t", "overlay", "-o", f"lowerdir={self.base},upperdir={changes},workdir={work}",
                    "overlay", self.path])
        assert done.status == 0, done
        self.mounts.append(os.fsencode(self.path))
        self.mount("proc", "/proc", "proc")

    def dpkg(self, *arguments, status=0):
        done = self.run("dpkg", *arguments, env={"DEBIAN_FRONTEND": "noninteractive"})
        assert status is None or done.status == status, done
        return done

    def install(self, *packages, options=(), status=0):
        """By dpkg, from files outside."""
        names = []
        for package in packages:
            shutil.copy(package, self.host("/root"))
            names.append(f"/root/{package.name}")
        return self.dpkg("--force-confold", *options, "-i", *names, status=status)

    def apt(self, *arguments):
        return apt(self.path, *arguments)

    def archive(self, name):
        """The file of the installed package NAME, a name with wildcards."""
        folders = [self.base.with_name(self.base.name + "-archives"), self.host("/var/cache/apt/archives")]
        return next(path for folder in folders for path in sorted(folder.glob(f"{name}_*.deb")))

    def set(self, **settings):
        """Settings of automatic runs, as an administrator would make them."""
        lines = [f"{name}='{value}'\n" for name, value in settings.items()]
        self.host(SETTINGS).write_text("".join(lines))

    def state(self):
        """Everything that packages have put below /usr: content and attributes."""
        found = {}
        for path, digest in files.digests(self.host("/usr")).items():
            status = os.lstat(path)
            times = status.st_mtime_ns if not os.path.islink(path) else None
            found[path] = (digest, status.st_mode, status.st_uid, status.st_gid, times)
        return found

    def prelinked(self):
        """Paths of all files that are not as their packages have them, by what dpkg says; without configuration files."""
        rows = [line.split() for line in self.dpkg("--verify", status=None).stdout.splitlines()]
        return {row[-1] for row in rows if "c" not in row[1:-1]}

    def check_programs(self, programs=PROGRAMS, accelerated=True):
        """Everything runs, and with ACCELERATED what gains is accelerated."""
        for command, gains in programs:
            done = self.run(*command)
            assert done.status == 0 and done.stdout, done
            if gains and accelerated:
                fast = self.run_fast(*command)
                assert (fast.status, fast.stdout) == (0, done.stdout), fast

    def lines(self):
        """What the programs print."""
        return [self.run(*command) for command, _ in PROGRAMS]


def repack(package, directory, version=None, change=None):
    """Makes a package from the file PACKAGE, with another VERSION and after CHANGE(tree); returns the new file."""
    tree = Path(directory) / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    assert run(["dpkg-deb", "-R", package, tree]).status == 0
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines(keepends=True)
    old = next(line.split()[1] for line in lines if line.startswith("Version:"))
    version = version or old + "+new1"
    control.write_text("".join(f"Version: {version}\n" if line.startswith("Version:") else line for line in lines))
    if change:
        change(tree)
        sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n"
                for path in sorted(tree.rglob("*"))
                if path.is_file() and not path.is_symlink() and path.relative_to(tree).parts[0] != "DEBIAN"]
        (tree / "DEBIAN/md5sums").write_text("".join(sums))
    done = run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, directory])
    assert done.status == 0, done
    shutil.rmtree(tree)
    name = package.name.split("_")[0]
    found = [path for path in Path(directory).glob(f"{name}_*.deb") if path != package]
    return max(found, key=lambda path: path.stat().st_mtime_ns)
