"""The five NUMA system calls by number (syscall(2)): glibc has no wrappers, and libnuma may not be installed. Those of
pidfds as well: Python has them from 3.9 on, and the agent runs on 3.6."""

from __future__ import annotations

import ctypes
import errno
import platform
from typing import TYPE_CHECKING, Literal

from backend.errors import os_error

if TYPE_CHECKING:
    from backend.kernel import Numbers

    Name = Literal["migrate_pages", "move_pages", "mbind", "set_mempolicy", "get_mempolicy"]

_GENERIC: dict[Name, int] = {
    "mbind": 235, "get_mempolicy": 236, "set_mempolicy": 237, "migrate_pages": 238, "move_pages": 239,
}  # fmt: skip
_PPC64: dict[Name, int] = {
    "migrate_pages": 258, "mbind": 259, "get_mempolicy": 260, "set_mempolicy": 261, "move_pages": 301,
}  # fmt: skip
NUMBERS: dict[str, dict[Name, int]] = {
    "x86_64": {
        "mbind": 237,
        "set_mempolicy": 238,
        "get_mempolicy": 239,
        "migrate_pages": 256,
        "move_pages": 279,
    },
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
    "loongarch64": _GENERIC,
    "ppc64": _PPC64,
    "ppc64le": _PPC64,
    "s390x": {
        "mbind": 268,
        "get_mempolicy": 269,
        "set_mempolicy": 270,
        "migrate_pages": 287,
        "move_pages": 310,
    },
}
"""`platform.machine()` → numbers, from the kernel's arch/**/syscall*.tbl and include/uapi/asm-generic/unistd.h."""

_PIDFD_SEND_SIGNAL, _PIDFD_OPEN = 424, 434
"""The same on every architecture (arch/**/syscall*.tbl)."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def available() -> bool:
    """Whether this is a 64-bit interpreter on a Linux machine with known numbers."""
    return platform.system() == "Linux" and platform.machine() in NUMBERS and ctypes.sizeof(ctypes.c_long) == 8


def call(name: Name, *arguments: int | ctypes.Array[ctypes.c_char] | ctypes.c_void_p | None) -> int:
    """The result of a system call; it runs without the GIL. Raises OSError with the kernel's errno, ENOSYS where
    `available` is False."""
    if not available():
        raise os_error(errno.ENOSYS)
    return _numbered(NUMBERS[platform.machine()][name], *arguments)


def pidfd_open(pid: int) -> int:
    """pidfd_open(2). Raises OSError, ENOSYS before Linux 5.3."""
    return _numbered(_PIDFD_OPEN, pid, 0)


def pidfd_send_signal(fd: int, number: int) -> None:
    """pidfd_send_signal(2). Raises OSError."""
    _numbered(_PIDFD_SEND_SIGNAL, fd, number, None, 0)


def _numbered(number: int, *arguments: int | ctypes.Array[ctypes.c_char] | ctypes.c_void_p | None) -> int:
    passed = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *passed)
    if result < 0:
        code = ctypes.get_errno()
        raise os_error(code)
    return result


def buffer(mask: bytes) -> ctypes.Array[ctypes.c_char] | None:
    """A mask as a pointer argument; NULL for an empty mask."""
    return ctypes.create_string_buffer(mask, len(mask)) if mask else None


def pointer(items: Numbers | None) -> ctypes.c_void_p | None:
    """Where the numbers are in memory; NULL for None or none. The caller keeps them alive and unresized."""
    return (
        ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(items)))
        if items is not None and len(items)
        else None
    )
