"""Whether this runs in a container or a user namespace, and which cgroups there are (user_namespaces(7), cgroups(7))."""

from __future__ import annotations

from collections.abc import Iterator

from backend.cgroups import find_hierarchies, hierarchy_of
from backend.doctor.check import Check
from backend.errors import NumatuiError
from backend.facts import read_or_nothing
from backend.kernel import Kernel

_MARKS = ("/.dockerenv", "/run/.containerenv")


def container_checks(kernel: Kernel) -> Iterator[Check]:
    """Never raises."""
    if not identity_map(read_or_nothing(kernel, "/proc/self/uid_map")):
        yield Check(
            "namespace",
            "note",
            "this is a user namespace: root in it is not root of the machine, and processes outside cannot be moved",
            "run numatui outside of it",
        )
    if any(_there(kernel, mark) for mark in _MARKS):
        yield Check(
            "container",
            "note",
            "this is a container: processes of the host are not seen",
            "run numatui on the host, or share its pid namespace",
        )
    yield _cgroups(kernel)


def identity_map(raw: bytes) -> bool:
    """Whether uid_map maps all users to themselves; so it does where it cannot be read."""
    lines = [line.split() for line in raw.split(b"\n") if line.strip()]
    return not lines or lines == [[b"0", b"0", b"4294967295"]]


def _cgroups(kernel: Kernel) -> Check:
    try:
        versions = sorted({one.version for one in find_hierarchies(kernel)})
        if not versions:
            return Check("cgroups", "note", "no cgroups are mounted: cgroups and cpuset cannot be used")
        lacking: list[str] = []
        for controller in ("cpuset", "memory"):
            try:
                hierarchy_of(kernel, controller)
            except NumatuiError:
                lacking.append(controller)
    except (NumatuiError, OSError) as exc:
        return Check("cgroups", "note", f"cgroups cannot be read ({exc})")
    if lacking:
        return Check(
            "cgroups",
            "note",
            f"cgroup {' and '.join(versions)} without the controller {' and '.join(lacking)}",
            "v2: echo '+cpuset +memory' > /sys/fs/cgroup/cgroup.subtree_control",
        )
    return Check("cgroups", "ok", f"cgroup {' and '.join(versions)} with cpuset and memory")


def _there(kernel: Kernel, path: str) -> bool:
    try:
        kernel.read(path, 0, 0)
    except OSError:
        return False
    return True
