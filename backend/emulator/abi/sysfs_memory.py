"""Memory blocks in sysfs: their nodes and states, and setting them offline or online
(Documentation/ABI/testing/sysfs-devices-memory)."""

from __future__ import annotations

import errno
import re

from backend.emulator.frames.memory_block import blocks_of
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration import hotplug
from backend.emulator.tasks.credentials import Caller
from backend.errors import os_error

ROOT = "/sys/devices/system/memory"
_BLOCK = re.compile(r"/sys/devices/system/(?:memory|node/node(?P<node>\d+))/memory(?P<block>\d+)(?:/(?P<file>\w+))?\Z")
_FILES = ("state", "online", "phys_index", "removable", "valid_zones")
_STATES = {b"offline": False, b"0": False, b"online": True, b"online_movable": True, b"1": True}


def read(m: Machine, path: str) -> bytes | None:
    """Contents of a file; None for other paths."""
    if path == f"{ROOT}/block_size_bytes":
        return f"{m.frames.block_pages * m.page_size:x}\n".encode()
    number, name = _parse(m, path)
    if number is None or name not in _FILES:
        return None
    online = number not in m.frames.offline_blocks
    values = {
        "state": "online" if online else "offline",
        "online": str(int(online)),
        "phys_index": f"{number:08x}",
        "removable": "1",  # A legacy file, constant (drivers/base/memory.c removable_show()).
        "valid_zones": "Normal" if online else "Normal Movable",
    }
    return f"{values[name]}\n".encode()


def listdir(m: Machine, path: str) -> list[str] | None:
    """Names in a directory; None for other paths."""
    path = path.rstrip("/")
    if path == ROOT:
        numbers = [block for node in m.nodes for block in blocks_of(m.frames, node)]
        return [*(f"memory{number}" for number in numbers), "block_size_bytes"]
    number, name = _parse(m, path)
    return [*_FILES] if number is not None and name is None else None


def of_node(m: Machine, node: int) -> list[str]:
    """Names of the memory block links in a node's directory."""
    return [f"memory{number}" for number in blocks_of(m.frames, node)]


def owns(path: str) -> bool:
    """Whether a path is a block's file or directory."""
    return _BLOCK.match(path) is not None


def write(m: Machine, caller: Caller, path: str, data: bytes) -> Events:
    """Write to `state` or `online`: set a block offline or online. Raises OSError EACCES (not root, or read-only file),
    ENOENT, EINVAL, EBUSY."""
    number, name = _parse(m, path)
    if number is None:
        raise os_error(errno.ENOENT)
    if caller.uid or name not in ("state", "online"):
        raise os_error(errno.EACCES)
    online = _STATES.get(data.strip())
    if online is None:
        raise os_error(errno.EINVAL)
    if online == (number not in m.frames.offline_blocks):  # state_store(): EINVAL if the state does not change.
        raise os_error(errno.EINVAL)
    yield from hotplug.online_block(m, number) if online else hotplug.offline_block(m, number)


def _parse(m: Machine, path: str) -> tuple[int | None, str | None]:
    match = _BLOCK.match(path)
    if match is None:
        return None, None
    number = int(match["block"])
    nodes = m.nodes if match["node"] is None else [int(match["node"])]
    there = any(node in m.nodes and number in blocks_of(m.frames, node) for node in nodes)
    return (number, match["file"]) if there else (None, None)
