"""Which file a path leads to, without asking its filesystem, which may belong to a process and never answer."""

from __future__ import annotations

import ctypes
import os
import struct

from backend.errors import os_error

_AT_FDCWD = -100
_AT_STATX_DONT_SYNC = 0x4000  # FUSE and network filesystems answer from what the kernel knows (statx(2))
_STATX_INO = 0x100
_SIZE = 256
_INO, _DEVICE = 32, 136
"""Offsets in struct statx (include/uapi/linux/stat.h): stx_ino; stx_dev_major and stx_dev_minor."""

_libc = ctypes.CDLL(None, use_errno=True)


def file_id(path: str, dir_fd: int | None = None) -> tuple[int, int]:
    """Device and inode, links followed. `dir_fd`: of the folder that the path begins in. Raises OSError; without
    statx in the C library it asks stat(2)."""
    if not hasattr(_libc, "statx"):
        facts = os.stat(path, dir_fd=dir_fd)
        return facts.st_dev, facts.st_ino
    out = ctypes.create_string_buffer(_SIZE)
    flags = ctypes.c_int(_AT_STATX_DONT_SYNC)
    begin = ctypes.c_int(_AT_FDCWD if dir_fd is None else dir_fd)
    if _libc.statx(begin, os.fsencode(path), flags, ctypes.c_uint(_STATX_INO), out) < 0:
        raise os_error(ctypes.get_errno())
    major, minor = struct.unpack_from("=II", out, _DEVICE)
    (inode,) = struct.unpack_from("=Q", out, _INO)
    return os.makedev(major, minor), inode
