"""Files of memory tiers: memory_tiering, HMAT's access0, demotion, the weights of weighted interleave, and reclaim of
one node (Documentation/ABI/testing/sysfs-kernel-mm-memory-tiers, sysfs-kernel-mm-numa,
sysfs-kernel-mm-mempolicy-weighted-interleave, ABI/stable/sysfs-devices-node)."""

from __future__ import annotations

import errno
import re

from backend.emulator.frames.memory_tiers import weights_of
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.permissions import may_write
from backend.errors import os_error
from backend.nodeset import NodeSet

_TIERING = "/sys/devices/virtual/memory_tiering"
_WEIGHTS = "/sys/kernel/mm/mempolicy/weighted_interleave"
_DEMOTION = "/sys/kernel/mm/numa/demotion_enabled"
_TIER = re.compile(rf"{_TIERING}/memory_tier(\d{{1,9}})(?:/(nodelist))?\Z")
_WEIGHT = re.compile(rf"{_WEIGHTS}/(?:node(\d{{1,5}})|auto)\Z")
_ACCESS = re.compile(r"/sys/devices/system/node/node(\d{1,5})/access0(?:/(initiators)(?:/(\w+))?)?\Z")
_RECLAIM = re.compile(r"/sys/devices/system/node/node(\d{1,5})/reclaim\Z")
_MEASURES = ("read_latency", "write_latency", "read_bandwidth", "write_bandwidth")
_TRUTHS = {"1": True, "y": True, "on": True, "true": True, "0": False, "n": False, "off": False, "false": False}
_MOST_WEIGHT = 255
_SIZE = re.compile(r"(\d{1,18})([kKmMgG]?)(?:\s+swappiness=\S+)?")


def read(m: Machine, path: str) -> bytes | None:
    """A file; None for other paths. Raises OSError EIO."""
    if not m.profile.tiers:
        return None
    if path == _DEMOTION:
        return b"true\n" if m.demotion else b"false\n"
    if (match := _RECLAIM.match(path)) and int(match[1]) in m.nodes:
        raise os_error(errno.EIO, path)  # It can only be written.
    if (match := _TIER.match(path)) and match[2]:
        nodes = NodeSet(node for node, tier in m.tiers.items() if tier == int(match[1]))
        return f"{nodes}\n".encode() if nodes else None
    if match := _WEIGHT.match(path):
        if match[1] is None:
            return b"true\n" if m.weights_auto else b"false\n"
        return f"{m.weights[int(match[1])]}\n".encode() if int(match[1]) in m.weights else None
    if (match := _ACCESS.match(path)) and match[3] in _MEASURES and _rated(m, int(match[1])):
        node = m.nodes[int(match[1])]
        return f"{node.latency if match[3].endswith('latency') else node.bandwidth}\n".encode()
    return None


def listdir(m: Machine, path: str) -> list[str] | None:
    """The names in a directory; None for others."""
    if not m.profile.tiers:
        return None
    if path == _TIERING:
        return [f"memory_tier{tier}" for tier in sorted(set(m.tiers.values()))]
    if path == _WEIGHTS:
        return [*(f"node{node}" for node in m.weights), "auto"]
    if path == _DEMOTION.rpartition("/")[0]:
        return ["demotion_enabled"]
    if (match := _TIER.match(path)) and not match[2] and int(match[1]) in m.tiers.values():
        return ["nodelist"]
    if (match := _ACCESS.match(path)) and not match[3] and _rated(m, int(match[1])):
        return [*_MEASURES] if match[2] else ["initiators"]
    return None


def of_node(m: Machine, node: int) -> list[str]:
    """What a node's directory has of these."""
    if not m.profile.tiers:
        return []
    return ["reclaim", "access0"] if _rated(m, node) else ["reclaim"]


def owns(path: str) -> bool:
    """Whether a path is a file that can be written here."""
    return path == _DEMOTION or _WEIGHT.match(path) is not None or _RECLAIM.match(path) is not None


def write(m: Machine, caller: Caller, path: str, data: bytes) -> Events:
    """One write(2). Raises OSError EACCES (not root), ENOENT, EINVAL, EAGAIN (less was reclaimed than asked)."""
    if not may_write(caller):
        raise os_error(errno.EACCES, path)
    text = data.decode("ascii", "replace").strip()
    yield from m.step("write", m.costs.syscall)
    reclaim, weight = _RECLAIM.match(path), _WEIGHT.match(path)
    node = int(match[1]) if (match := reclaim or weight) and match[1] else None
    if not m.profile.tiers or (node is not None and node not in m.nodes):
        raise os_error(errno.ENOENT, path)
    if path == _DEMOTION:
        m.demotion = _truth(text)
    elif reclaim:
        assert node is not None
        wanted = pages_of(text, m.page_size)
        if (yield from m.reclaim.proactive(wanted, [node])) < wanted:
            raise os_error(errno.EAGAIN, path)
    elif node is None:
        m.weights_auto = _truth(text)
        if m.weights_auto:
            m.weights = weights_of([*m.nodes.values()])
    else:
        _set_weight(m, node, text)


def pages_of(text: str, page_size: int) -> int:
    """A size as memparse() takes it, in pages. Raises OSError EINVAL."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise os_error(errno.EINVAL)
    return (int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]) // page_size


def _set_weight(m: Machine, node: int, text: str) -> None:
    """node_store()."""
    if node not in m.weights:
        raise os_error(errno.ENOENT)
    if not re.fullmatch(r"\d{1,3}", text) or not 0 < int(text) <= _MOST_WEIGHT:
        raise os_error(errno.EINVAL)
    m.weights_auto = False
    m.weights[node] = int(text)


def _truth(text: str) -> bool:
    """kstrtobool()."""
    if text.lower() not in _TRUTHS:
        raise os_error(errno.EINVAL)
    return _TRUTHS[text.lower()]


def _rated(m: Machine, node: int) -> bool:
    return node in m.nodes and bool(m.nodes[node].latency and m.nodes[node].bandwidth)
