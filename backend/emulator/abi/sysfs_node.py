"""The files of a node: /sys/devices/system/node/nodeN (drivers/base/node.c)."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping

from backend.emulator.abi import sysfs_cpu, sysfs_memory, sysfs_tiers
from backend.emulator.machine import Machine
from backend.errors import os_error

_NODE = re.compile(r"/sys/devices/system/node/node(\d+)(?:/(\w+))?\Z")


def read(m: Machine, path: str) -> bytes | None:
    """A file; None for a path that is not of a node. Raises OSError ENOENT."""
    match = _NODE.match(path)
    if match is None:
        return None
    render = _NODE_FILES.get(match[2] or "")
    if int(match[1]) not in m.nodes or render is None:
        raise os_error(errno.ENOENT, path)
    return render(m, int(match[1]))


def listdir(m: Machine, path: str) -> list[str] | None:
    """The names in a node's directory; None for others. Raises OSError ENOENT."""
    match = _NODE.match(path)
    if match is None:
        return None
    if int(match[1]) not in m.nodes or match[2] is not None:
        raise os_error(errno.ENOENT, path)
    return [*_NODE_FILES, "hugepages", *sysfs_tiers.of_node(m, int(match[1])), *sysfs_memory.of_node(m, int(match[1]))]


def counters(values: Mapping[str, int]) -> bytes:
    """One name and number per line, as in vmstat."""
    return "".join(f"{key} {value}\n" for key, value in values.items()).encode()


def _node_meminfo(m: Machine, node: int) -> bytes:
    zone = m.frames.zones[node]
    kilo = m.page_size // 1024
    total = zone.pages - zone.kept_out
    used = total - zone.free
    anon, file = zone.lru[:2], zone.lru[2:]
    values = {
        "MemTotal": total, "MemFree": zone.free, "MemUsed": used, "SwapCached": zone.nr_swapcached,
        "Active": anon[1] + file[1], "Inactive": anon[0] + file[0], "Active(anon)": anon[1], "Inactive(anon)": anon[0],
        "Active(file)": file[1], "Inactive(file)": file[0], "FilePages": zone.nr_file, "AnonPages": zone.nr_anon,
        "Shmem": zone.nr_shmem,
    }  # fmt: skip
    lines = [f"Node {node} {key + ':':<15}{value * kilo:>8} kB" for key, value in values.items()]
    pool = (zone.nr_hugepages, len(zone.hugetlb_free), 0)
    lines += [
        f"Node {node} {key + ':':<15}{value:>6}"
        for key, value in zip(("HugePages_Total", "HugePages_Free", "HugePages_Surp"), pool, strict=True)
    ]
    return ("\n".join(lines) + "\n").encode()


def _node_vmstat(m: Machine, node: int) -> bytes:
    zone = m.frames.zones[node]
    values = {
        "nr_free_pages": zone.free, "nr_inactive_anon": int(zone.lru[0]), "nr_active_anon": int(zone.lru[1]),
        "nr_inactive_file": int(zone.lru[2]), "nr_active_file": int(zone.lru[3]), "nr_file_pages": zone.nr_file,
        "nr_shmem": zone.nr_shmem,
        "nr_anon_pages": zone.nr_anon, "numa_hit": zone.numastat["numa_hit"], "numa_miss": zone.numastat["numa_miss"],
        "numa_foreign": zone.numastat["numa_foreign"], "numa_interleave": zone.numastat["interleave_hit"],
        "numa_local": zone.numastat["local_node"], "numa_other": zone.numastat["other_node"],
    }  # fmt: skip
    return counters(values)


def _distance(m: Machine, node: int) -> bytes:
    return (" ".join(str(m.distance(node, other)) for other in m.nodes) + "\n").encode()


_NODE_FILES: dict[str, Callable[[Machine, int], bytes]] = {
    "meminfo": _node_meminfo,
    "numastat": lambda m, node: counters(m.frames.zones[node].numastat),
    "vmstat": _node_vmstat,
    "distance": _distance,
    "cpulist": lambda m, node: f"{m.nodes[node].cpus}\n".encode(),
    "cpumap": lambda m, node: sysfs_cpu.hexmask(m, m.nodes[node].cpus),
}
