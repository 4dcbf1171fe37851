"""Whether /proc hides the processes of other users: the mount option hidepid (proc(5))."""

from __future__ import annotations

import re

from backend.kernel import Kernel

_HIDEPID = re.compile(rb"^\S+ /proc proc (?:\S+,)?hidepid=([a-z0-9]{1,12})(?:,\S*)? ", re.MULTILINE)


def proc_hides(kernel: Kernel) -> str:
    """`1`, `invisible` …: to users without the right to see all. Empty if it does not, or is unknown."""
    try:
        return parse_hidepid(kernel.read("/proc/self/mounts"))
    except OSError:
        return ""


def parse_hidepid(mounts: bytes) -> str:
    """The hidepid option of the topmost mount on /proc, from /proc/self/mounts; empty if it is off. Never raises."""
    found = [line for line in mounts.split(b"\n") if line.split(b" ")[1:3] == [b"/proc", b"proc"]]
    match = _HIDEPID.match(found[-1]) if found else None
    return match[1].decode("ascii") if match and match[1] not in (b"0", b"off") else ""
