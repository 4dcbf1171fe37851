"""What the kernel does with memory by itself: balancing, huge pages, reclaim, swap, pressure (admin-guide/sysctl, vm)."""

from __future__ import annotations

from collections.abc import Iterator

from backend.doctor.check import Check
from backend.facts import read_fact
from backend.kernel import Kernel
from backend.pressure import PRESSING, memory_pressure
from backend.topology import Topology, parse_meminfo


def memory_checks(kernel: Kernel, topology: Topology | None) -> Iterator[Check]:
    """Never raises."""
    yield _balancing(read_fact(kernel, "/proc/sys/kernel/numa_balancing"))
    reclaim = read_fact(kernel, "/proc/sys/vm/zone_reclaim_mode")
    if reclaim not in ("", "0"):
        yield Check(
            "zone_reclaim",
            "note",
            f"zone_reclaim_mode is {reclaim[:20]}: a full node drops its cache before others are used",
            "sysctl vm.zone_reclaim_mode=0 unless that is meant",
        )
    if setting := chosen(read_fact(kernel, "/sys/kernel/mm/transparent_hugepage/enabled")):
        yield Check("thp", "ok", f"transparent huge pages: {setting}")
    for node in topology.nodes if topology else ():
        for pool in node.huge_pools:
            if pool.total:
                yield Check(
                    "hugetlb",
                    "ok",
                    f"node {node.id}: {pool.free} of {pool.total} huge pages of {pool.size >> 20} MiB are free",
                )
    yield from _swap(kernel)
    pressure = memory_pressure(kernel)
    if pressure is not None:
        if pressure >= PRESSING:
            yield Check(
                "pressure",
                "note",
                f"tasks wait for memory {pressure:.0%} of the time: moving makes that worse",
                "free memory first, or keep it slow with --max-rate",
            )
        else:
            yield Check("pressure", "ok", f"tasks wait for memory {pressure:.0%} of the time")


def chosen(text: str) -> str:
    """The word in brackets of `always [madvise] never`, else nothing."""
    _, bracket, rest = text.partition("[")
    word, closing, _ = rest.partition("]")
    return word[:20] if bracket and closing else ""


def _balancing(mode: str) -> Check:
    if mode in ("", "0"):
        return Check("balancing", "ok", "off: pages stay where they are put")
    fix = "sysctl kernel.numa_balancing=0 while you place by hand"
    if mode.isdigit() and not int(mode[:9]) & 1:
        return Check(
            "balancing", "note", "memory tiering is on: hot pages of slow tiers move up by themselves", fix
        )
    return Check(
        "balancing",
        "note",
        "NUMA balancing is on: it hides pages from move_pages and may move pages back",
        fix,
    )


def _swap(kernel: Kernel) -> Iterator[Check]:
    try:
        memory = parse_meminfo(kernel.read("/proc/meminfo"))
    except OSError:
        return
    total, free = memory.get("SwapTotal", 0), memory.get("SwapFree", 0)
    if total and total - free > total // 20:
        yield Check(
            "swap",
            "note",
            f"{(total - free) >> 20} of {total >> 20} MiB of swap are in use: such pages come back where they are touched",
            "swapoff and swapon bring them back while you place by hand, if there is room",
        )
    elif total:
        yield Check("swap", "ok", f"{total >> 20} MiB, hardly used")
