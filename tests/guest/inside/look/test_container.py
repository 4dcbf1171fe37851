"""System calls that a container's seccomp profile refuses. Needs a Linux, not more than one node."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backend.live.syscalls import NUMBERS
from tests.guest.inside.rig import PR_SET_NO_NEW_PRIVS, numatui

if TYPE_CHECKING:
    from backend.live.syscalls import Name

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux"
    or platform.machine() not in NUMBERS
    or not Path("/sys/devices/system/node/node0").exists(),
    reason="needs a Linux that tells of its nodes",
)
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
BPF_LOAD_WORD, BPF_JUMP_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000


class SockFprog(ctypes.Structure):
    """struct sock_fprog: a classic BPF program."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def refuse(calls: tuple[Name, ...], number: int) -> None:
    """From now on this process gets `number` as the errno of these calls (seccomp(2))."""
    instructions = [(BPF_LOAD_WORD, 0, 0, 0)]
    for position, call in enumerate(calls):
        to_refusal = len(calls) - position
        instructions.append((BPF_JUMP_EQUAL, to_refusal, 0, NUMBERS[platform.machine()][call]))
    instructions += [(BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW), (BPF_RETURN, 0, 0, SECCOMP_RET_ERRNO | number)]
    program = b"".join(struct.pack("<HBBI", *one) for one in instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    described = SockFprog(len(instructions), program)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(described), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
@pytest.mark.parametrize(
    ("method", "calls"),
    [
        ("auto", ("move_pages", "migrate_pages")),
        ("move_pages", ("move_pages",)),
        ("migrate_pages", ("migrate_pages",)),
    ],
)
def test_a_refused_method_is_one_line(number: int, method: str, calls: tuple[Name, ...]) -> None:
    done = numatui(
        "migrate", os.getpid(), "--from", "0", "--to", "0", "--yes", "--json", "--method", method,
        before=partial(refuse, calls, number),
    )  # fmt: skip
    done.refused(5, "not available here", "seccomp" if number == errno.EPERM else "this kernel has no")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_auto_takes_the_call_that_is_left(number: int) -> None:
    done = numatui(
        "migrate", os.getpid(), "--from", "0", "--to", "0", "--yes", "--json",
        before=partial(refuse, ("move_pages",), number),
    )  # fmt: skip
    assert done.code == 0, done
    assert done.json["plan"]["calls"] == "migrate_pages"


def test_reading_needs_none_of_them_and_doctor_says_so() -> None:
    calls: tuple[Name, ...] = ("move_pages", "migrate_pages", "mbind", "get_mempolicy", "set_mempolicy")
    before = partial(refuse, calls, errno.EPERM)
    assert numatui("ps", os.getpid(), "--json", before=before).code == 0
    assert numatui("nodes", "--json", before=before).code == 0
    done = numatui("doctor", before=before)
    assert "seccomp" in done.out
    assert "Traceback" not in done.err
