"""The parts of processes that a request by heat is about: they are watched, chosen, and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from backend.errors import NotFound, NotPermitted, NotSupported, UsageError
from backend.heat.choosing import Chosen, HeatWish, choose, whole_pages
from backend.heat.heat import Heat
from backend.heat.learn import learn
from backend.job.request import MoveRequest
from backend.kernel import Kernel
from backend.machine.kernel_info import huge_page_size
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.placement.by_stretch import clip
from backend.placement.frame_nodes import FrameNodes, read_frame_nodes
from backend.placement.placement import Placement
from backend.placement.reader import read_gently
from backend.plan.plan import Stretches, Subject, Warning
from backend.process.process import Process
from backend.selection.selection import select

MOST_STRETCHES = 100_000


def parts_by_heat(
    kernel: Kernel, topology: Topology, request: MoveRequest, nodes: NodeSet, cancel: threading.Event | None
) -> tuple[list[Subject], list[Warning]]:
    """The selected processes with what is meant of them, and how that was learnt. `nodes`: from where pages would go.
    Raises as `select` and `learn`."""
    wish, only = request.heat, request.only
    processes = select(kernel, request.selection)
    if any(one.is_kernel_thread for one in processes):
        raise NotSupported("a kernel thread has no memory of its own", "choose a process")
    frames = read_frame_nodes(kernel)
    if wish is None:
        return [_subject(kernel, frames, one, (only or {}).get(one.pid, ())) for one in processes], []
    heats = _learn(kernel, topology, request, processes, wish, cancel)
    watched = [one for one in processes if one.pid in heats]
    if wish.rate and any(heat.way != "damon" for heat in heats.values()):
        why = next(heat.why for heat in heats.values() if heat.way != "damon")
        raise NotSupported(
            f"how often memory is used only DAMON tells, which cannot be had: {why or 'another way was asked for'}",
            "use --hot",
        )
    placements = {one.pid: _placement(kernel, frames, one) for one in watched}
    mappings = {pid: [(vma.start, vma.end) for vma in one.vmas] for pid, one in placements.items()}
    chosen = whole_pages(choose(heats.values(), wish, nodes), mappings, huge_page_size(kernel), wish.which)
    if wish.most:
        chosen = _within(
            lambda one: _bytes_on(nodes, clip(kernel, one.pid, frames, placements[one.pid], [(one.start, one.end)])),
            chosen, wish.most, kernel.page_size, huge_page_size(kernel),
        )  # fmt: skip
    stretches = {one.pid: tuple((each.start, each.end) for each in chosen if each.pid == one.pid) for one in watched}
    subjects = [_subject(kernel, frames, one, stretches[one.pid]) for one in watched]
    return subjects, [_told(wish, list(heats.values()))]


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
            out[one.pid] = learn(kernel, topology, one, wish.seconds, wish.windows, wish.way, cancel, wish.hold)
        except (NotFound, NotPermitted) as exc:
            if one.pid in request.selection.pids:
                raise
            refused = exc
    if refused is not None and not out:
        raise refused
    return out


def _bytes_on(nodes: NodeSet, placement: Placement) -> int:
    by_node = placement.bytes_by_node
    return sum(by_node.get(node, 0) for node in nodes)


def _placement(kernel: Kernel, frames: FrameNodes | None, process: Process) -> Placement:
    return read_gently(kernel, process.pid, process.rss, lambda: frames, with_maps=True)


def _subject(kernel: Kernel, frames: FrameNodes | None, process: Process, stretches: Stretches) -> Subject:
    if len(stretches) > MOST_STRETCHES:
        raise UsageError(f"{len(stretches)} stretches of one process are too many", f"at most {MOST_STRETCHES}")
    clipped = clip(kernel, process.pid, frames, _placement(kernel, frames, process), stretches)
    return Subject(process, clipped, only=stretches)


def _within(count: Callable[[Chosen], int], chosen: Sequence[Chosen], most: int, page: int, huge: int) -> list[Chosen]:
    """The first of them that have no more than `most` bytes together; the last one is cut. `count`: bytes of one that
    would move. `page`, `huge`: bytes."""
    out: list[Chosen] = []
    left = most
    for one in chosen:
        cut = one
        while cut.end > cut.start and (amount := count(cut)) > left:
            length = cut.end - cut.start
            end = cut.start + min(length * left // amount, length - page)
            aligned = end // huge * huge
            cut = replace(cut, end=aligned if aligned > cut.start else end // page * page)
        if cut.end > cut.start:
            out.append(replace(cut, bytes=count(cut)))
            left -= out[-1].bytes
        if cut is not one:
            break
    return out


def _told(wish: HeatWish, heats: Sequence[Heat]) -> Warning:
    hot, resident = sum(one.hot for one in heats), sum(one.resident for one in heats)
    by_damon = all(one.way == "damon" for one in heats)
    what = "used" if wish.which == "hot" else "not used"
    share = hot if wish.which == "hot" else resident - hot
    how = "by DAMON" if by_damon else "by accessed bits, of whole mappings"
    why = next((one.why for one in heats if one.why), "")
    return Warning(
        "heat",
        f"{share >> 20} MiB of {resident >> 20} MiB were {what} within {wish.seconds:g} s (learnt {how}"
        + (f": {why}" if why else "")
        + ")",
    )
