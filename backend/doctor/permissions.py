"""What the caller may do: calls, capabilities, what /proc hides (capabilities(7), proc(5), seccomp(2))."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from backend.doctor.check import Check, State
from backend.doctor.container import in_user_namespace
from backend.errors import NotSupported
from backend.kernel import Call, Kernel, helped
from backend.process.hidepid import proc_hides
from backend.process.process import pids

_CAPABILITIES = re.compile(rb"^CapEff:[ \t]*([0-9a-fA-F]{1,16})$", re.MULTILINE)
_SECCOMP = re.compile(rb"^Seccomp:[ \t]*([012])$", re.MULTILINE)
_CALLS: tuple[Call, ...] = ("move_pages", "migrate_pages", "mbind", "get_mempolicy")
CAPABILITIES = {
    21: (
        "CAP_SYS_ADMIN",
        "pagemap hides frame numbers: large processes are estimated from samples",
    ),
    23: ("CAP_SYS_NICE", "pages that others map (--all) and other users' processes cannot be moved"),
    19: ("CAP_SYS_PTRACE", "the placement of other users' processes cannot be read"),
}
"""Number (include/uapi/linux/capability.h) → name, and what fails without it."""


def permission_checks(kernel: Kernel) -> Iterator[Check]:
    """Raises only if the kernel breaks the seam's promises."""
    uid, privileged = kernel.credentials()
    if not kernel.traits.writable:
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
    yield from _helper(kernel)
    can = kernel.capabilities()
    calls: tuple[Call, ...] = ("move_pages", "migrate_pages", "move_all", "pidfd")
    for call in calls:
        capability = can[call]
        serious: State = "problem" if call in ("move_pages", "migrate_pages") and kernel.traits.has_self else "note"
        yield Check(call, "ok" if capability.available else serious, capability.why or "available")
    if kernel.traits.has_self:
        yield from _own_status(kernel, uid)
    yield _processes(kernel, privileged)


def _helper(kernel: Kernel) -> Iterator[Check]:
    rights, problem = helped(kernel)
    for line in rights:
        yield Check("helper", "ok", f"you may {line}")
    if problem:
        yield Check("helper", "note", problem, "see docs/helper.md")


def parse_capabilities(status: bytes) -> int | None:
    """The effective capabilities in /proc/PID/status, as a bit mask; None if absent. Never raises."""
    match = _CAPABILITIES.search(status)
    return int(match[1], 16) if match else None


def parse_seccomp(status: bytes) -> int | None:
    """The mode in /proc/PID/status: 0 none, 1 strict, 2 filter; None if absent. Never raises."""
    match = _SECCOMP.search(status)
    return int(match[1]) if match else None


def _own_status(kernel: Kernel, uid: int) -> Iterator[Check]:
    try:
        status = kernel.read("/proc/self/status")
    except OSError:
        return
    has = parse_capabilities(status)
    if has is not None:
        yield from _capabilities(has, uid, in_user_namespace(kernel))
    mode = parse_seccomp(status)
    if mode is None:
        return
    if not mode:
        yield Check("seccomp", "ok", "no filter of system calls")
        return
    can = kernel.capabilities()
    refused = [call for call in _CALLS if not can[call].available]
    if refused:
        yield Check(
            "seccomp",
            "note",
            f"system calls are filtered (a container's profile), and {', '.join(refused)} refused",
            "add CAP_SYS_NICE to the container, allow the calls in its profile, or run numatui outside of it",
        )
    else:
        yield Check("seccomp", "ok", "system calls are filtered, but those that numatui makes are allowed")


def _capabilities(has: int, uid: int, in_namespace: bool) -> Iterator[Check]:
    lacking = [(name, lack) for bit, (name, lack) in CAPABILITIES.items() if not has >> bit & 1]
    for name, lack in lacking:
        yield Check(
            "capabilities",
            "note",
            f"no {name}: {lack}",
            "run numatui as root" if uid else f"start it with {name} (--cap-add of a container), or outside",
        )
    if lacking:
        return
    names = ", ".join(name for name, _ in CAPABILITIES.values())
    if in_namespace:
        yield Check(
            "capabilities",
            "note",
            f"{names}, but only within a user namespace: they give no rights outside of it",
            "run numatui outside of it",
        )
    else:
        yield Check("capabilities", "ok", names)


def _forbidden(kernel: Kernel) -> bool:
    try:
        # Opening it needs PTRACE_MODE_READ (proc_mem_open() in fs/proc/base.c).
        kernel.read("/proc/1/numa_maps")
    except OSError as exc:
        return exc.errno in (errno.EACCES, errno.EPERM)
    return False


def _processes(kernel: Kernel, privileged: bool) -> Check:
    try:
        seen = pids(kernel)
    except NotSupported as exc:
        return Check(
            "processes",
            "problem",
            exc.what,
            "mount it: mount -t proc proc /proc",
        )
    if not kernel.traits.has_self:
        return Check("processes", "ok", f"{len(seen)} can be seen")
    hidepid = proc_hides(kernel)
    if not privileged and (1 not in seen or _closed(kernel)):
        how = "those of other users" if 1 not in seen else "what those of other users do"
        return Check(
            "processes",
            "note",
            f"{len(seen)} are shown: /proc hides {how} ({f'hidepid={hidepid}' if hidepid else 'hidepid'})",
            "run numatui as root, or mount /proc without hidepid",
        )
    hidden = f"; others see only their own (hidepid={hidepid})" if hidepid else ""
    return Check("processes", "ok", f"{len(seen)} can be seen{hidden}")


def _closed(kernel: Kernel) -> bool:
    """Whether even /proc/1/stat cannot be read. Without hidepid, everybody may read it."""
    try:
        kernel.read("/proc/1/stat", 0, 64)
    except OSError as exc:
        return exc.errno in (errno.EACCES, errno.EPERM)
    return False
