"""What this kernel has for moving and watching memory, and what each means: one line a feature."""

from __future__ import annotations

import re
from collections.abc import Iterator

from backend.doctor.check import Check
from backend.heat.kdamond import leftover, unusable
from backend.kernel import Kernel
from backend.machine.kernel_info import read_fact, release
from backend.machine.kernel_versions import VERSION, holds_lock
from backend.machine.topology import Topology

_WEIGHTS = "/sys/kernel/mm/mempolicy/weighted_interleave"
_KDAMONDS = "/sys/kernel/mm/damon/admin/kdamonds"
_IDLE_BITMAP = "/sys/kernel/mm/page_idle/bitmap"
_NODE = re.compile(r"node([0-9]{1,5})")
_MOST = 16
"""Kdamonds and weights that are looked at: more would fill the screen."""


def feature_checks(kernel: Kernel, topology: Topology | None) -> Iterator[Check]:
    """What is absent is told of a host only. Raises only if the kernel breaks the seam's promises."""
    osrelease = release(kernel)
    can = kernel.capabilities()
    if VERSION.match(osrelease) and can["migrate_pages"].available:
        yield _stall(osrelease, can["move_pages"].available)
    tells_absence = kernel.traits.has_self
    yield from _weights(kernel, tells_absence)
    yield from _node_reclaim(kernel, topology, tells_absence)
    yield from _damon(kernel, tells_absence)
    if _exists(kernel, _IDLE_BITMAP):
        yield Check("idle", "ok", "idle page tracking: idle pages can be told one by one")
    elif tells_absence:
        yield Check("idle", "ok", "no idle page tracking (CONFIG_IDLE_PAGE_TRACKING)")


def _stall(osrelease: str, has_move_pages: bool) -> Check:
    if holds_lock(osrelease):
        return Check(
            "stall",
            "note",
            "migrate_pages and migratepages hold a process's memory map for the whole move (Linux before 6.7)",
            "move with move_pages, as numatui does unless told otherwise: it holds the map for milliseconds"
            if has_move_pages
            else "move small processes only, or when they may wait: this kernel has no move_pages",
        )
    return Check("stall", "ok", "migrate_pages holds a process's memory map only while it looks for pages")


def _weights(kernel: Kernel, tells_absence: bool) -> Iterator[Check]:
    names = _list(kernel, _WEIGHTS)
    nodes = sorted(int(match[1]) for name in names if (match := _NODE.fullmatch(name)))
    if not nodes:
        if tells_absence:
            yield Check("weights", "ok", "no weighted interleave (Linux 6.9 has it): memory is interleaved evenly")
        return
    weights = [read_fact(kernel, f"{_WEIGHTS}/node{node}")[:10] for node in nodes[:_MOST]]
    shown = ", ".join(f"node {node}: {weight}" for node, weight in zip(nodes, weights, strict=False))
    auto = read_fact(kernel, f"{_WEIGHTS}/auto")
    origin = {"true": ", from the nodes' bandwidths" if len(set(weights)) > 1 else "", "false": ", set by hand"}
    yield Check("weights", "ok", f"weights of weighted interleave: {shown}{origin.get(auto, '')}")


def _node_reclaim(kernel: Kernel, topology: Topology | None, tells_absence: bool) -> Iterator[Check]:
    if topology is None or not topology.ids:
        return
    if _exists(kernel, f"/sys/devices/system/node/node{topology.ids.first()}/reclaim"):
        yield Check("reclaim", "ok", "memory of one node can be reclaimed (nodeN/reclaim)")
    elif tells_absence:
        yield Check("reclaim", "ok", "no reclaim of one node (nodeN/reclaim, Linux 6.17): cgroups have memory.reclaim")


def _damon(kernel: Kernel, tells_absence: bool) -> Iterator[Check]:
    if not _exists(kernel, f"{_KDAMONDS}/nr_kdamonds"):
        if tells_absence:
            yield Check("damon", "ok", "no DAMON (CONFIG_DAMON_SYSFS), which tells hot pages cheaply")
        return
    numbers = [name for name in _list(kernel, _KDAMONDS) if name.isdecimal()][:_MOST]
    running = sum(read_fact(kernel, f"{_KDAMONDS}/{number}/state") == "on" for number in numbers)
    others = f"; {running} kdamond{'s run' if running > 1 else ' runs'} already" if running else ""
    if (owner := leftover(kernel)) is not None:
        left = f"a numatui that was killed ({owner.pid}) left a kdamond behind"
        yield Check("damon", "note", left, "numatui heat PID takes it down")
        return
    why = unusable(kernel)
    without = f"; numatui does without it: {why}" if why else ""
    yield Check("damon", "ok", f"DAMON can tell which pages are hot{others}{without}")


def _exists(kernel: Kernel, path: str) -> bool:
    """Whether a file is there: some cannot be read, and one is a folder's."""
    folder, _, name = path.rpartition("/")
    return name in _list(kernel, folder)


def _list(kernel: Kernel, folder: str) -> list[str]:
    try:
        return kernel.listdir(folder)
    except OSError:
        return []
