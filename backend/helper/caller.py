"""Who is at the other end: what the kernel says of a socket's peer, or sudo of whom it runs for. Nobody is believed
what he says of himself."""

from __future__ import annotations

import ctypes
import os
import pwd
import socket
import struct
from dataclasses import dataclass

from backend.errors import NotPermitted, os_error

_SO_PEERGROUPS = 59
"""include/uapi/asm-generic/socket.h; Linux 4.13."""
_MOST_GROUPS = 65536
"""NGROUPS_MAX (include/uapi/linux/limits.h)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`gids`: all its groups, when it connected; none for a number that is no user's."""

    uid: int
    gids: frozenset[int]
    name: str


def of_socket(one: socket.socket) -> Caller:
    """Raises OSError for another socket than one of AF_UNIX."""
    _, uid, gid = struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = frozenset((gid, *_groups(one.fileno())))
    # Of a user namespace one may take many numbers, and keeps one's groups.
    return Caller(uid, groups if _is_known(uid) else frozenset(), _name(uid))


def _is_known(uid: int) -> bool:
    return _name(uid) != str(uid)


def _groups(fd: int) -> list[int]:
    """Python's getsockopt takes 256 of them at most."""
    found = (ctypes.c_uint32 * _MOST_GROUPS)()
    size = ctypes.c_uint32(ctypes.sizeof(found))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(fd, socket.SOL_SOCKET, _SO_PEERGROUPS, ctypes.byref(found), ctypes.byref(size)) < 0:
        raise os_error(ctypes.get_errno())
    return found[: size.value // 4]


def of_sudo() -> Caller:
    """Raises NotPermitted where sudo has not started this program."""
    told = os.environ.get("SUDO_UID", "")
    if os.getuid() != 0 or not (told.isascii() and told.isdigit() and len(told) <= 10):
        raise NotPermitted(
            "a helper serves a socket that systemd gives it, or who has called sudo; this is neither",
            "see docs/helper.md",
        )
    uid = int(told)
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        raise NotPermitted(f"there is no user {uid} here") from None
    return Caller(uid, frozenset(os.getgrouplist(user.pw_name, user.pw_gid)), user.pw_name)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
