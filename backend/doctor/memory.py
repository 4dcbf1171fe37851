"""What the kernel does with memory by itself: balancing, huge pages, reclaim, swap, pressure (admin-guide/sysctl,
vm)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from backend.doctor.check import Check
from backend.kernel import Kernel
from backend.machine.kernel_info import BALANCING, read_fact, release
from backend.machine.kernel_versions import hides_marked_pages
from backend.machine.psi import PRESSING, memory_pressure
from backend.machine.topology import Topology, parse_meminfo
from backend.nodeset import NodeSet

_NUMBER = re.compile(r"[0-9]{1,9}")
_THP = {
    "always": "wherever they fit; they move whole",
    "madvise": "where programs ask for them; they move whole",
    "never": "none: all pages are small, or of hugetlb pools",
}


def memory_checks(kernel: Kernel, topology: Topology | None) -> Iterator[Check]:
    """Raises only if the kernel breaks the seam's promises."""
    balancing = read_fact(kernel, BALANCING)
    if balancing or kernel.traits.writable:
        yield _balancing(balancing, hides_marked_pages(release(kernel)))
    reclaim = read_fact(kernel, "/proc/sys/vm/zone_reclaim_mode")
    if reclaim == "0":
        yield Check("zone_reclaim", "ok", "off: a full node takes memory of other nodes before it drops its cache")
    elif reclaim:
        yield Check(
            "zone_reclaim",
            "note",
            f"zone_reclaim_mode is {reclaim[:20]}: a full node drops its cache before it takes memory of other nodes",
            "sysctl vm.zone_reclaim_mode=0 unless that is meant",
        )
    if setting := chosen(read_fact(kernel, "/sys/kernel/mm/transparent_hugepage/enabled")):
        meaning = _THP.get(setting, "which numatui does not know")
        yield Check("thp", "ok", f"transparent huge pages: {setting}, {meaning}")
    if topology is not None:
        yield from _huge_pools(topology)
    yield from _swap(kernel)
    pressure = memory_pressure(kernel)
    if pressure is not None:
        if pressure >= PRESSING:
            yield Check(
                "pressure",
                "note",
                f"tasks wait for memory {pressure:.0%} of the time: moving makes that worse",
                "free memory first, or limit the rate with --max-rate",
            )
        else:
            yield Check("pressure", "ok", f"tasks wait for memory {pressure:.0%} of the time")


def chosen(text: str) -> str:
    """The word in brackets, as in `always [madvise] never`; empty if there is none."""
    _, bracket, rest = text.partition("[")
    word, closing, _ = rest.partition("]")
    return word[:20] if bracket and closing else ""


def _balancing(mode: str, hides: bool) -> Check:
    """An empty `mode` means a kernel without NUMA balancing."""
    if mode in ("", "0"):
        return Check("balancing", "ok", "off: pages stay where they are put")
    fix = "sysctl kernel.numa_balancing=0 while you place by hand"
    if not _NUMBER.fullmatch(mode):
        return Check("balancing", "note", f"kernel.numa_balancing is {mode[:20]}, which numatui does not know", fix)
    # 1: NUMA_BALANCING_NORMAL, 2: NUMA_BALANCING_MEMORY_TIERING (admin-guide/sysctl/kernel.rst).
    if not int(mode) & 1:
        return Check("balancing", "note", "memory tiering is on: hot pages of slow tiers move up by themselves", fix)
    return Check(
        "balancing",
        "note",
        "NUMA balancing is on: it "
        + ("hides pages from move_pages and may move pages back" if hides else "may move pages back"),
        fix,
    )


def _huge_pools(topology: Topology) -> Iterator[Check]:
    """One check per page size, over the nodes that have such pages."""
    for size in sorted({pool.size for node in topology.nodes for pool in node.huge_pools if pool.total}):
        pools = {node.id: pool for node in topology.nodes for pool in node.huge_pools if pool.size == size}
        text = f"huge pages of {_unit(size)}, free: " + ", ".join(
            f"node {node}: {pool.free} of {pool.total}" for node, pool in pools.items() if pool.total
        )
        empty = NodeSet(node for node in topology.memory_ids if node not in pools or not pools[node].free)
        if empty and len(topology.memory_ids) > 1:
            yield Check(
                "hugetlb",
                "note",
                f"{text}; on node {empty} none is free: huge pages that move there need contiguous free memory",
                f"echo N > /sys/devices/system/node/nodeX/hugepages/hugepages-{size >> 10}kB/nr_hugepages",
            )
        else:
            yield Check("hugetlb", "ok", text)


def _unit(size: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB")):
        if size >= 1 << shift:
            return f"{size >> shift} {unit}"
    return f"{size >> 10} KiB"


def parse_swaps(raw: bytes) -> tuple[int, int]:
    """/proc/swaps: (bytes, bytes in use) of all areas. Names may contain anything but a newline. Never raises."""
    total = used = 0
    for line in raw.split(b"\n")[1:]:
        words = line.rsplit(None, 3)
        if len(words) == 4 and all(word.isdigit() and len(word) < 16 for word in words[1:3]):
            total += int(words[1]) * 1024
            used += int(words[2]) * 1024
    return total, used


def _read_swap(kernel: Kernel) -> tuple[int, int] | None:
    """(bytes, bytes in use) of swap, from /proc/meminfo, else /proc/swaps. None if neither can be read."""
    try:
        memory = parse_meminfo(kernel.read("/proc/meminfo"))
        return memory["SwapTotal"], max(0, memory["SwapTotal"] - memory["SwapFree"])
    except (OSError, KeyError):
        pass
    try:
        return parse_swaps(kernel.read("/proc/swaps"))
    except OSError:
        return None


def _swap(kernel: Kernel) -> Iterator[Check]:
    swap = _read_swap(kernel)
    if swap is None:
        return
    total, used = swap
    if used > total // 20:
        yield Check(
            "swap",
            "note",
            f"{used >> 20} of {total >> 20} MiB of swap are in use: such pages come back where they are touched",
            "swapoff and swapon bring them back while you place by hand, if there is room",
        )
    elif total:
        yield Check("swap", "ok", f"{total >> 20} MiB, hardly used")
    else:
        yield Check("swap", "ok", "none: all pages are in memory, where they can be moved")
