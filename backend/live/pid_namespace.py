"""Whether /proc names processes as system calls do. After `unshare --pid --fork` without a /proc of its own it does
not: a pid that was read there is that of somebody else."""

from __future__ import annotations

import os

OTHER = (
    "/proc shows the processes of another PID namespace than system calls reach",
    "mount -t proc proc /proc, or run numatui outside of that namespace",
)


def is_ours() -> bool:
    """Whether the namespace of /proc is that of this process: then `NSpid:` in its status has one number, its pid
    (proc(5))."""
    told = _field("/proc/self/status", b"NSpid:")
    # Before Linux 4.1 the line is missing. A link that leads nowhere is of a namespace in which we are not.
    return told == [os.getpid()] if told else os.path.exists("/proc/self/status")


def pid_of(pidfd: int) -> int | None:
    """The pid of what a pidfd stands for, in the namespace of /proc: `Pid:` in its fdinfo. -1: it has ended. None if
    the kernel does not tell."""
    told = _field(f"/proc/self/fdinfo/{pidfd}", b"Pid:")
    return told[0] if told else None


def _field(path: str, name: bytes) -> list[int]:
    try:
        with open(path, "rb") as file:
            line = next((line for line in file if line.startswith(name)), name)
        return [int(one) for one in line[len(name) :].split()]
    except (OSError, ValueError):
        return []
