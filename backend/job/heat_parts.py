"""The parts of processes that a request by heat is about: they are watched, chosen, and counted."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from backend.errors import Interrupted, NotFound, NotPermitted, NotSupported, UsageError
from backend.heat.choosing import Chosen, HeatWish, choose, whole_pages
from backend.heat.heat import Heat
from backend.heat.learn import learn
from backend.job.request import MoveRequest
from backend.kernel import Kernel
from backend.machine.kernel_info import huge_page_size
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.placement.by_stretch import clip, count_by_node
from backend.placement.frame_nodes import FrameNodes, read_frame_nodes
from backend.placement.placement import Placement
from backend.placement.reader import read_gently
from backend.plan.plan import Subject, Warning
from backend.process.process import Process
from backend.selection.selection import select

MOST_STRETCHES = 100_000


def parts_by_heat(
    kernel: Kernel,
    topology: Topology,
    request: MoveRequest,
    nodes: NodeSet,
    within: tuple[int, int] | None,
    cancel: threading.Event | None,
) -> tuple[list[Subject], list[Warning]]:
    """The selected processes with what is meant of them, and how that was learnt. `nodes`: from where pages would go.
    `within`: only mappings that begin there. Raises as `select` and `learn`."""
    wish, only = request.heat, request.only
    processes = select(kernel, request.selection)
    if any(one.is_kernel_thread for one in processes):
        raise NotSupported("a kernel thread has no memory of its own", "choose a process")
    frames, huge = read_frame_nodes(kernel), huge_page_size(kernel)
    heats: dict[int, Heat] = {}
    if wish is not None:
        heats = _learn(kernel, topology, request, processes, wish, cancel)
        processes = [one for one in processes if one.pid in heats]
        if wish.rate and (other := next((one for one in heats.values() if one.way != "damon"), None)) is not None:
            raise NotSupported(
                "how often memory is used only DAMON tells, which cannot be had: "
                + (other.why or "another way was asked for"),
                "use --hot",
            )
        chosen = choose(heats.values(), wish, nodes)
    else:
        chosen = [Chosen(pid, *edges) for pid, stretches in (only or {}).items() for edges in stretches]
    placements = {one.pid: _placement(kernel, frames, one) for one in processes}
    mappings = {
        pid: [(vma.start, vma.end) for vma in one.vmas if within is None or within[0] <= vma.start < within[1]]
        for pid, one in placements.items()
    }
    chosen = whole_pages(chosen, mappings, huge, "hot" if wish is None else wish.which)
    if wish is not None and wish.most:
        chosen = _first(kernel, frames, chosen, wish.most, nodes, huge, cancel)
    stretches: dict[int, list[tuple[int, int]]] = {}
    for one in chosen:
        stretches.setdefault(one.pid, []).append((one.start, one.end))
    subjects: list[Subject] = []
    for one in processes:
        mine = tuple(stretches.get(one.pid, ()))
        if len(mine) > MOST_STRETCHES:
            raise UsageError(f"{len(mine)} stretches of one process are too many", f"at most {MOST_STRETCHES}")
        subjects.append(Subject(one, clip(kernel, one.pid, frames, placements[one.pid], mine), only=mine))
    return subjects, [_told(wish, list(heats.values()))] if wish is not None else []


def _learn(
    kernel: Kernel,
    topology: Topology,
    request: MoveRequest,
    processes: Sequence[Process],
    wish: HeatWish,
    cancel: threading.Event | None,
) -> dict[int, Heat]:
    """Process by process. One that is not named by its pid is left out if it has ended or may not be watched."""
    out: dict[int, Heat] = {}
    refused: NotFound | NotPermitted | None = None
    for one in processes:
        try:
            out[one.pid] = learn(kernel, topology, one, wish, cancel)
        except (NotFound, NotPermitted) as exc:
            if one.pid in request.selection.pids:
                raise
            refused = exc
    if refused is not None and not out:
        raise refused
    return out


def _placement(kernel: Kernel, frames: FrameNodes | None, process: Process) -> Placement:
    return read_gently(kernel, process.pid, process.rss, lambda: frames, with_maps=True)


def _first(
    kernel: Kernel,
    frames: FrameNodes | None,
    chosen: Sequence[Chosen],
    most: int,
    nodes: NodeSet,
    huge: int,
    cancel: threading.Event | None,
) -> list[Chosen]:
    """The first of them that have no more than `most` bytes on these nodes together. The last one is cut, where huge
    pages end: one that has any moves as a whole."""
    left = most
    out: list[Chosen] = []
    for one, amount in zip(chosen, _count(kernel, frames, chosen, nodes), strict=True):
        if amount <= left:
            out.append(one)
            left -= amount
            continue
        low, high = -(-one.start // huge), one.end // huge  # Huge pages after which it may be cut.
        if low * huge == one.start:
            low += 1
        while low <= high:
            if cancel is not None and cancel.is_set():
                raise Interrupted("interrupted: nothing was moved", "")
            middle = (low + high) // 2
            part = replace(one, end=middle * huge)
            if _count(kernel, frames, [part], nodes)[0] <= left:
                low = middle + 1
            else:
                high = middle - 1
        if high * huge > one.start:
            out.append(replace(one, end=high * huge))
        break
    return out


def _count(kernel: Kernel, frames: FrameNodes | None, chosen: Sequence[Chosen], nodes: NodeSet) -> list[int]:
    """Bytes of each on these nodes."""
    amounts: dict[Chosen, int] = {}
    for pid in dict.fromkeys(one.pid for one in chosen):
        mine = sorted((one for one in chosen if one.pid == pid), key=lambda one: one.start)
        counted = count_by_node(kernel, pid, frames, [(one.start, one.end) for one in mine])
        for one, by_node in zip(mine, counted, strict=True):
            amounts[one] = sum(by_node.get(node, 0) for node in nodes)
    return [amounts[one] for one in chosen]


def _told(wish: HeatWish, heats: Sequence[Heat]) -> Warning:
    hot, resident = sum(one.hot for one in heats), sum(one.resident for one in heats)
    by_damon = all(one.way == "damon" for one in heats)
    what = "used" if wish.which == "hot" else "not used"
    unseen = sum(part.resident for one in heats for part in one.ranges if not part.seen)
    share = hot if wish.which == "hot" else resident - hot - unseen
    how = "by DAMON" if by_damon else "by accessed bits, of whole mappings"
    why = next((one.why for one in heats if one.why), "")
    return Warning(
        "heat",
        f"{share >> 20} MiB of {resident >> 20} MiB were {what} within {wish.seconds:g} s (learnt {how}"
        + (f": {why}" if why else "")
        + ")",
    )
