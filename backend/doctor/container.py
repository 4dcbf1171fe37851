"""Whether numatui runs in a container or a user namespace, and which cgroups there are (user_namespaces(7), cgroups(7),
https://systemd.io/CONTAINER_INTERFACE for /run/systemd/container)."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from backend.cgroup.cgroups import Hierarchy, find_hierarchies
from backend.doctor.check import Check
from backend.errors import NumatuiError
from backend.files.shell_word import shell_word
from backend.files.text import printable
from backend.kernel import Kernel
from backend.machine.kernel_info import read_or_nothing

# Written by Docker, Podman and systemd.
_MARKS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
_CONTROLLERS = ("cpuset", "memory")


def container_checks(kernel: Kernel) -> Iterator[Check]:
    """Raises only if the kernel breaks the seam's promises."""
    if in_user_namespace(kernel):
        yield Check(
            "namespace",
            "note",
            "this is a user namespace: root in it is not root of the machine, and processes outside cannot be moved",
            "run numatui outside of it",
        )
    marks = [mark for mark in _MARKS if _there(kernel, mark)]
    if marks:
        yield Check(
            "container",
            "note",
            f"this is a container ({marks[0]}): processes of the host are not visible",
            "run numatui on the host, or share its pid namespace",
        )
    else:
        yield Check("container", "ok", "no sign of a container")
    yield _cgroups(kernel)


def in_user_namespace(kernel: Kernel) -> bool:
    """Whether the caller's user ids differ from the machine's. False if unknown."""
    return not identity_map(read_or_nothing(kernel, "/proc/self/uid_map"))


def identity_map(raw: bytes) -> bool:
    """Whether uid_map maps every user to itself, as in the initial namespace (user_namespaces(7)). True if it is empty.
    Never raises."""
    lines = [line.split() for line in raw.split(b"\n") if line.strip()]
    return not lines or lines == [[b"0", b"0", b"4294967295"]]


def _cgroups(kernel: Kernel) -> Check:
    try:
        found = find_hierarchies(kernel)
    except NumatuiError as exc:
        return Check("cgroups", "note", f"{exc.what}: cgroups and cpuset cannot be used", exc.fix)
    versions = "cgroup " + " and ".join(sorted({one.version for one in found}))
    lacking = [name for name in _CONTROLLERS if not any(name in one.controllers for one in found)]
    if lacking:
        return Check(
            "cgroups",
            "note",
            f"{versions} without the controller {' and '.join(lacking)}",
            f"look at /proc/cgroups, and for cgroup_disable={lacking[0]} in /proc/cmdline",
        )
    for one in found:
        off = [name for name in _CONTROLLERS if name in one.controllers and not _is_on(kernel, one, name)]
        if off:
            return Check(
                "cgroups",
                "note",
                f"{versions}: {' and '.join(off)} not enabled for the cgroups below {printable(one.mount, 80)}",
                f"echo '{' '.join('+' + name for name in off)}' > " + shell_word(f"{one.mount}/cgroup.subtree_control"),
            )
    return Check("cgroups", "ok", f"{versions} with cpuset and memory")


def _is_on(kernel: Kernel, hierarchy: Hierarchy, controller: str) -> bool:
    """Whether the cgroups below the root have the controller. True for v1, and if unknown."""
    if hierarchy.version == "v1":
        return True
    try:
        on = kernel.read(f"{hierarchy.mount}/cgroup.subtree_control").split()
    except OSError:
        return True
    return controller.encode() in on


def _there(kernel: Kernel, path: str) -> bool:
    """Whether the file exists, even if it may not be read."""
    try:
        kernel.read(path, 0, 0)
    except OSError as exc:
        # ELOOP: a symbolic link, which `read` does not follow (O_NOFOLLOW).
        return exc.errno in (errno.EACCES, errno.EPERM, errno.ELOOP)
    return True
