"""The hugetlb pools of nodes in sysfs (Documentation/admin-guide/mm/hugetlbpage.rst)."""

from __future__ import annotations

import errno
import re

from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.huge_pages import fill_pool
from backend.emulator.tasks.credentials import Caller
from backend.errors import os_error

_DIRECTORY = re.compile(r"/sys/devices/system/node/node(\d+)/hugepages(?:/hugepages-(\d+)kB(?:/(\w+))?)?\Z")
_FILES = ("nr_hugepages", "free_hugepages", "surplus_hugepages")


def read(m: Machine, path: str) -> bytes | None:
    """Contents of a file; None for other paths."""
    match = _DIRECTORY.match(path)
    if match is None or match[3] not in _FILES or not _there(m, match):
        return None
    zone = m.frames.zones[int(match[1])]
    value = {"nr_hugepages": zone.nr_hugepages, "free_hugepages": len(zone.hugetlb_free)}.get(match[3], 0)
    return f"{value}\n".encode()


def listdir(m: Machine, path: str) -> list[str] | None:
    """Names in a directory; None for other paths."""
    match = _DIRECTORY.match(path.rstrip("/"))
    if match is None or match[3] is not None or not _there(m, match):
        return None
    return [*_FILES] if match[2] is not None else [f"hugepages-{_kilobytes(m)}kB"]


def owns(path: str) -> bool:
    """Whether a path is a pool's file or directory."""
    return _DIRECTORY.match(path) is not None


def write(m: Machine, caller: Caller, path: str, data: bytes) -> Events:
    """Write to nr_hugepages: resize a pool as far as memory allows. Raises OSError EACCES, ENOENT, EINVAL."""
    match = _DIRECTORY.match(path)
    if match is None or not _there(m, match):
        raise os_error(errno.ENOENT)
    if caller.uid or match[3] != "nr_hugepages":
        raise os_error(errno.EACCES)
    if not re.fullmatch(rb"[0-9]{1,9}", data.strip()):
        raise os_error(errno.EINVAL)
    yield from m.step("nr_hugepages", m.costs.syscall)
    fill_pool(m, int(match[1]), int(data))


def _kilobytes(m: Machine) -> int:
    return m.frames.huge * m.page_size // 1024


def _there(m: Machine, match: re.Match[str]) -> bool:
    right_size = match[2] is None or int(match[2]) == _kilobytes(m)
    return int(match[1]) in m.nodes and m.frames.huge > 1 and right_size
