"""What the caller may do: calls, capabilities, what /proc hides (capabilities(7), proc(5), seccomp(2))."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from backend.doctor.check import Check, State
from backend.kernel import Call, Kernel
from backend.process import pids

_CAPABILITIES = re.compile(rb"^CapEff:\s*([0-9a-f]{1,16})$", re.MULTILINE)
_FILTERED = re.compile(rb"^Seccomp:\s*[12]$", re.MULTILINE)
CAPABILITIES = {
    21: (
        "CAP_SYS_ADMIN",
        "pagemap hides frames: large processes are read from samples, and pages are asked for one by one",
    ),
    23: ("CAP_SYS_NICE", "pages that others map (--all) and other users' processes cannot be moved"),
    19: ("CAP_SYS_PTRACE", "the placement of other users' processes cannot be read"),
}
"""Number → name, and what it means to lack it."""


def permission_checks(kernel: Kernel) -> Iterator[Check]:
    """Never raises."""
    uid, privileged = kernel.credentials()
    if kernel.source == "replay":
        yield Check("permission", "note", "a recording can be looked at but not changed")
    elif privileged and _forbidden(kernel):
        yield Check(
            "permission",
            "note",
            "you are root, but not every process may be looked at: a container or security module forbids it",
            "run numatui outside the container",
        )
    elif privileged:
        yield Check("permission", "ok", "you may look at and move every process")
    else:
        yield Check(
            "permission",
            "note",
            f"uid {uid} may look at and move its own processes only",
            "run numatui as root for the others",
        )
    can = kernel.capabilities()
    calls: tuple[Call, ...] = ("move_pages", "migrate_pages", "move_all", "pidfd")
    for call in calls:
        capability = can[call]
        serious: State = (
            "problem" if call in ("move_pages", "migrate_pages") and kernel.source == "live" else "note"
        )
        yield Check(call, "ok" if capability.available else serious, capability.why or "there")
    if kernel.source == "live":
        yield from _own_status(kernel)
    yield _processes(kernel, privileged)


def _own_status(kernel: Kernel) -> Iterator[Check]:
    try:
        status = kernel.read("/proc/self/status")
    except OSError:
        return
    if match := _CAPABILITIES.search(status):
        has = int(match[1], 16)
        lacking = [(name, lack) for bit, (name, lack) in CAPABILITIES.items() if not has >> bit & 1]
        if not lacking:
            yield Check("capabilities", "ok", ", ".join(name for name, _ in CAPABILITIES.values()))
        for name, lack in lacking:
            yield Check("capabilities", "note", f"no {name}: {lack}", "run numatui as root")
    if _FILTERED.search(status):
        yield Check(
            "seccomp",
            "note",
            "a seccomp profile filters system calls (a container's): some may be refused",
            "run numatui outside the container",
        )


def _forbidden(kernel: Kernel) -> bool:
    try:
        kernel.read("/proc/1/numa_maps")
    except OSError as exc:
        return exc.errno in (errno.EACCES, errno.EPERM)
    return False


def _processes(kernel: Kernel, privileged: bool) -> Check:
    try:
        seen = pids(kernel)
    except OSError as exc:
        return Check(
            "processes",
            "problem",
            f"/proc cannot be listed ({exc.strerror})",
            "mount it: mount -t proc proc /proc",
        )
    if kernel.source == "live" and not privileged and 1 not in seen:
        return Check(
            "processes",
            "note",
            f"{len(seen)} are shown: /proc hides those of other users (hidepid)",
            "run numatui as root, or mount /proc without hidepid",
        )
    return Check("processes", "ok", f"{len(seen)} can be seen")
