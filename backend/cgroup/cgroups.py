"""Control groups: the mounted hierarchies and their directories. /proc/self/mounts, cgroups(7),
Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from backend.errors import NotFound, NotPermitted, NotSupported, UsageError
from backend.files.text import decode, printable
from backend.kernel import Kernel
from backend.placement.numa_maps import unescape

Version = Literal["v1", "v2"]
ROOT = "/sys/fs/cgroup"
MAX_CGROUPS = 65_536
"""Limit of a walk: the kernel has no more memory cgroups (MEM_CGROUP_ID_MAX), and a recording may contain loops."""
_MAX_PATH = 4096
"""Bytes, PATH_MAX: a system call accepts no longer path."""
_FORBIDDEN = (errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted tree of cgroups. `controllers`: from the mount options (v1) or the root's cgroup.controllers (v2).
    `prefix` of the cpuset files: empty if mounted with noprefix."""

    version: Version
    mount: str
    controllers: frozenset[str]
    prefix: str = "cpuset."

    def directory(self, path: str) -> str:
        """The directory of a cgroup. `path`: from the root of the hierarchy, `/` for the root itself."""
        return f"{self.mount}{path.rstrip('/')}"


@dataclass(frozen=True, slots=True)
class Directory:
    """One cgroup. `path`: from the root of its hierarchy. `depth`: 0 for the root. `names`: the files and cgroups in
    it; empty if it cannot be listed, and `unread` says why."""

    path: str
    depth: int
    names: frozenset[str]
    unread: str = ""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def parse_mounts(raw: bytes) -> list[tuple[str, str, frozenset[str]]]:
    """The cgroup filesystems in /proc/self/mounts: (type, mount point, options). Other and malformed lines are left
    out. Never raises."""
    out: list[tuple[str, str, frozenset[str]]] = []
    for line in raw.split(b"\n"):
        fields = line.split(b" ")
        if len(fields) >= 4 and fields[2] in (b"cgroup", b"cgroup2", b"cpuset"):
            options = frozenset(decode(fields[3]).split(","))
            out.append((fields[2].decode("ascii"), decode(unescape(fields[1])).rstrip("/"), options))
    return out


def find_hierarchies(kernel: Kernel) -> list[Hierarchy]:
    """The mounted hierarchies, those below /sys/fs/cgroup first. If the mounts cannot be read, as in a recording,
    /sys/fs/cgroup is searched. Raises NotSupported without any."""
    mounts: list[tuple[str, str, frozenset[str]]] = []
    for path in ("/proc/self/mounts", "/proc/mounts"):
        with suppress(OSError):
            mounts = parse_mounts(kernel.read(path))
            break
    found = [one for one in (_mounted(kernel, *mount) for mount in mounts) if one] or _probe(kernel)
    if not found:
        raise NotSupported(
            f"no cgroups are mounted on {printable(kernel.name, 60) or 'this machine'}",
            "mount -t cgroup2 none /sys/fs/cgroup mounts them"
            if kernel.traits.has_self
            else "look at it with numatui ps",
        )
    return sorted(found, key=lambda one: not (one.mount + "/").startswith(ROOT + "/"))


def hierarchy_of(kernel: Kernel, controller: str) -> Hierarchy:
    """The hierarchy with this controller (memory, cpuset). Raises NotSupported without one."""
    found = find_hierarchies(kernel)
    for one in found:
        if controller in one.controllers:
            return one
    versions = " and ".join(sorted({one.version for one in found}))
    raise NotSupported(
        f"the {controller} controller is in none of the mounted cgroup hierarchies ({versions})",
        f"this kernel may lack it or have it off: look at /proc/cgroups and for cgroup_disable={controller} in "
        "/proc/cmdline"
        if kernel.traits.has_self
        else "the emulated machine has it in cgroup v2 only"
        if kernel.traits.writable
        else "the recording has no such files",
    )


def walk(kernel: Kernel, hierarchy: Hierarchy) -> Iterator[Directory]:
    """All cgroups, parents before children, siblings by name. Without recursion, so any depth works. Cgroups removed
    during the walk are left out. Raises NotFound, NotPermitted if the root cannot be listed; NotSupported for more than
    MAX_CGROUPS."""
    try:
        names = frozenset(kernel.listdir(hierarchy.directory("/")))
    except OSError as exc:
        raise cgroup_error(kernel, "/", exc) from None
    pending = [Directory("/", 0, names)]
    count = 0
    while pending:
        one = pending.pop()
        count += 1
        if count > MAX_CGROUPS:
            raise NotSupported(f"there are more than {MAX_CGROUPS} cgroups below {printable(hierarchy.mount)}")
        yield one
        below = [_list(kernel, hierarchy, one, name) for name in sorted(one.names, reverse=True)]
        pending += [child for child in below if child is not None]


def read_file(kernel: Kernel, hierarchy: Hierarchy, directory: Directory, name: str) -> bytes | None:
    """A file of a cgroup. None if it does not exist or cannot be read."""
    if name not in directory.names:
        return None
    try:
        return kernel.read(f"{hierarchy.directory(directory.path)}/{name}")
    except OSError:
        return None


def members(kernel: Kernel, hierarchy: Hierarchy, path: str) -> list[int]:
    """The pids directly in a cgroup, ascending, without processes outside this pid namespace. Empty for a threaded
    cgroup, whose processes are listed in its threaded domain. Raises NotFound, NotPermitted."""
    try:
        raw = kernel.read(f"{hierarchy.directory(path)}/cgroup.procs")
    except OSError as exc:
        if exc.errno == errno.EOPNOTSUPP:  # cgroup_procs_start(): a threaded cgroup
            return []
        raise cgroup_error(kernel, path, exc) from None
    return parse_pids(raw)


def parse_pids(raw: bytes) -> list[int]:
    """cgroup.procs, tasks: a number a line, unordered, possibly repeated, 0 for a process outside this pid namespace.
    Returns the pids ascending. Never raises."""
    return sorted({int(word) for word in raw.split() if word.isdigit() and len(word) < 10 and int(word)})


def parse_proc_cgroup(raw: bytes) -> list[tuple[frozenset[str], str]]:
    """/proc/PID/cgroup: (controllers, path) for each line; cgroup v2 has no controllers there. Never raises."""
    out: list[tuple[frozenset[str], str]] = []
    for line in raw.split(b"\n"):
        fields = line.split(b":", 2)
        if len(fields) == 3 and fields[2].startswith(b"/"):
            controllers = frozenset(word for word in decode(fields[1]).split(",") if word)
            out.append((controllers, decode(fields[2])))
    return out


def cgroup_of(kernel: Kernel, hierarchy: Hierarchy, pid: int, controller: str) -> str:
    """The path of a process's cgroup. Raises NotFound, also if the cgroup is not below this mount; NotPermitted."""
    try:
        lines = parse_proc_cgroup(kernel.read(f"/proc/{pid}/cgroup"))
    except OSError as exc:
        from backend.process.process import process_error

        raise process_error(kernel, pid, exc) from None
    for controllers, path in lines:
        wanted = controller in controllers if hierarchy.version == "v1" else not controllers
        if not wanted:
            continue
        if path.endswith(" (deleted)"):  # proc_cgroup_show()
            raise NotFound(f"the cgroup of process {pid} has been removed", "move the process into another")
        if ".." not in path.split("/"):  # else outside the root of this cgroup namespace: cgroup_namespaces(7)
            return path
    raise NotFound(
        f"the cgroup of process {pid} is not below {printable(hierarchy.mount)}",
        "it belongs to another cgroup namespace: run numatui outside of the container",
    )


def check_path(text: str, hierarchy: Hierarchy) -> str:
    """A user's path as `/a/b`, without the mount point. Raises UsageError if it cannot be the path of a cgroup or would
    leave the hierarchy."""
    inside = text
    if text == hierarchy.mount or text.startswith(hierarchy.mount + "/"):
        inside = text[len(hierarchy.mount) :]
    parts = [part for part in inside.split("/") if part]
    if not text or "\0" in text or len(text) > _MAX_PATH:
        raise UsageError(f"'{printable(text, 60)}' is not the name of a cgroup", "see numatui cpuset list")
    if any(part in (".", "..") for part in parts):
        raise UsageError(
            f"'{printable(text, 60)}' may not contain . or ..",
            "write the path from the root",
        )
    return "/" + "/".join(parts)


def cgroup_error(kernel: Kernel, path: str, exc: OSError) -> NotFound | NotPermitted | NotSupported:
    """The error for a user, from an errno on a cgroup's file."""
    name = printable(path, 120)
    if exc.errno in (errno.ENOENT, errno.ENODEV, errno.ENOTDIR):
        return NotFound(f"there is no cgroup {name}", "it may have been removed meanwhile")
    if exc.errno in _FORBIDDEN:
        return NotPermitted(
            f"the kernel does not let you access the cgroup {name}",
            "run numatui as root, or have the cgroup delegated to you",
        )
    if exc.errno == errno.EROFS:
        return NotSupported(
            f"the cgroup {name} cannot be changed: its filesystem is read-only here",
            "run numatui outside of the container" if kernel.traits.has_self else "use --live or --demo",
        )
    return NotFound(f"the cgroup {name} cannot be read ({exc.strerror or exc})")


def _mounted(kernel: Kernel, kind: str, mount: str, options: frozenset[str]) -> Hierarchy | None:
    """A mounted hierarchy. None if it cannot be read: another mount may cover it."""
    if kind == "cgroup2":
        return _unified(kernel, mount)
    try:
        kernel.listdir(mount)
    except OSError:
        return None
    if kind == "cpuset":
        options |= {"cpuset", "noprefix"}
    return Hierarchy("v1", mount, options, "" if "noprefix" in options else "cpuset.")


def _unified(kernel: Kernel, mount: str) -> Hierarchy | None:
    try:
        controllers = decode(kernel.read(f"{mount}/cgroup.controllers")).split()
    except OSError:
        return None
    return Hierarchy("v2", mount, frozenset(controllers))


def _probe(kernel: Kernel) -> list[Hierarchy]:
    """The hierarchies below /sys/fs/cgroup in systemd's layouts: v2 there, or a directory for each v1 controller and v2
    in `unified`."""
    whole = _unified(kernel, ROOT)
    if whole is not None:
        return [whole]
    out: list[Hierarchy] = []
    try:
        names = sorted(kernel.listdir(ROOT))
    except OSError:
        return out
    for name in names:
        unified = _unified(kernel, f"{ROOT}/{name}")
        if unified is not None:
            out.append(unified)
            continue
        with suppress(OSError):
            if "tasks" in kernel.listdir(f"{ROOT}/{name}"):
                out.append(Hierarchy("v1", f"{ROOT}/{name}", frozenset(name.split(","))))
    return out


def _list(kernel: Kernel, hierarchy: Hierarchy, parent: Directory, name: str) -> Directory | None:
    """The child cgroup of this name. None if it is a file or has been removed."""
    path = f"{parent.path.rstrip('/')}/{name}"
    full = hierarchy.directory(path)
    if len(full.encode("utf-8", "surrogateescape")) >= _MAX_PATH:
        return Directory(path, parent.depth + 1, frozenset(), "its path is longer than 4096 bytes")
    try:
        return Directory(path, parent.depth + 1, frozenset(kernel.listdir(full)))
    except OSError as exc:
        if exc.errno in _FORBIDDEN:
            return Directory(path, parent.depth + 1, frozenset(), "no permission")
        return None
