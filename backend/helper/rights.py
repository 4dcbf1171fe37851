"""Giving rights away for good, before anything of a caller's is read: root's number, and all capabilities but the
few that are needed."""

from __future__ import annotations

import ctypes
import os
import pwd
from collections.abc import Iterable

from backend.errors import NotPermitted
from backend.live.host import effective_capabilities

DAC_READ_SEARCH, SYS_PTRACE, SYS_ADMIN, SYS_NICE = 2, 19, 21, 23
"""include/uapi/linux/capability.h."""
_LAST_CAPABILITY = 63
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 8, 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
"""include/uapi/linux/prctl.h."""
_VERSION_3 = 0x20080522
USER = "numatui-helper"
_NOBODY = 65534

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(*arguments: int) -> int:
    return _libc.prctl(*map(ctypes.c_ulong, arguments))


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


def needed(frames: bool, shared: bool) -> frozenset[int]:
    """SYS_PTRACE looks at and moves other users' processes. SYS_NICE moves what several map. SYS_ADMIN sees frames, and
    DAC_READ_SEARCH opens pagemap, which is its owner's alone."""
    return frozenset({SYS_PTRACE, *([SYS_ADMIN, DAC_READ_SEARCH] if frames else []), *([SYS_NICE] if shared else [])})


def keep_only(capabilities: Iterable[int]) -> None:
    """From here on this program is an ordinary user with these capabilities, of those it has, and can get no others.
    The user is `numatui-helper` if there is one, else nobody. Raises NotPermitted if that is not so afterwards."""
    wanted = sum(1 << one for one in capabilities) & effective_capabilities()
    for number in range(_LAST_CAPABILITY + 1):
        if not wanted >> number & 1:
            _prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    uid, gid = _user()
    _prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    data = (_Data * 2)()
    for half in (0, 1):
        data[half].effective = data[half].permitted = wanted >> 32 * half & 0xFFFFFFFF
    header = _Header(_VERSION_3, 0)
    done = _libc.capset(ctypes.byref(header), data) == 0 and _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    # Whatever fs.suid_dumpable says: nobody of the same number looks into it.
    done = done and _prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
    if not done or effective_capabilities() != wanted or os.getresuid() != (uid,) * 3 or 0 in os.getresgid():
        raise NotPermitted("the helper could not give up its rights", "it was not started as root")


def _user() -> tuple[int, int]:
    try:
        found = pwd.getpwnam(USER)
    except KeyError:
        return _NOBODY, _NOBODY
    return (found.pw_uid, found.pw_gid) if found.pw_uid and found.pw_gid else (_NOBODY, _NOBODY)
