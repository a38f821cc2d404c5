"""What files are: their bytes, and everything an inode remembers."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

MAX_LINKS = 40


def digests(*trees, without=()):
    """{path: SHA-256, or the target of a symbolic link} of every file below TREES, except the directories WITHOUT."""
    found = {}
    for tree in trees:
        for directory, directories, names in os.walk(tree):
            directories[:] = [name for name in directories if os.path.join(directory, name) not in without]
            for name in names:
                path = os.path.join(directory, name)
                found[path] = digest(path)
    return found


def digest(path):
    if os.path.islink(path):
        return "-> " + os.readlink(path)
    if not os.path.isfile(path):
        return "special"
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def changed(before, after):
    """The paths that differ between two results of digests()."""
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def attributes(path):
    """Everything about a file that must survive its replacement."""
    status = os.stat(path)
    extended = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, extended


def copy(source, target):
    """Copies a regular file with all of that; never a hard link.  The owner comes first: changing it clears set-user-ID."""
    status = os.stat(source)
    shutil.copyfile(source, target)
    if os.geteuid() == 0:
        os.chown(target, status.st_uid, status.st_gid)
    shutil.copystat(source, target)


def resolved(root, name):
    """What NAME leads to, as it is called inside ROOT: links are followed as a process in that root would follow them."""
    rest, real, links = str(name).split("/"), [], 0
    while rest:
        part = rest.pop(0)
        if part == "..":
            del real[-1:]
        if part in ("", ".", ".."):
            continue
        path = os.path.join(root, *real, part)
        if not os.path.islink(path):
            real.append(part)
            continue
        target, links = os.readlink(path), links + 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(name))
        rest = target.split("/") + rest
        if target.startswith("/"):
            real = []
    return "/" + "/".join(real)


def identity(path):
    """What shows whether a file was touched at all."""
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, digest(path)


def identities(tree):
    return {path: identity(path) for path in sorted(Path(tree).rglob("*"))
            if path.is_file() and not path.is_symlink()}
