"""Heat from DAMON: a kernel thread looks at one page of each of up to a thousand regions every 5 ms, and splits and
joins regions by what it sees. Tells where in a mapping the hot pages are, and how hot; holds nobody up, for root."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Generator, Sequence

from backend.files.text import decode
from backend.heat.heat import Heat, HeatRange
from backend.heat.kdamond import AGGREGATION_US, Kdamond, Region, monitoring
from backend.heat.snapshots import Stretch, as_often, combine
from backend.heat.waiting import wait
from backend.kernel import Kernel
from backend.placement.by_stretch import count_by_node
from backend.placement.frame_nodes import FrameNodes, read_frame_nodes
from backend.placement.placement import sum_by_node
from backend.placement.placement_walk import Mapping, parse_maps
from backend.process.process import Identity, process_error, still_the_same

Piece = tuple[int, int, Mapping, Stretch | None]
"""[start, end) of a mapping, with what was seen there; None: DAMON did not look there."""
_LOOKS = 10
"""How often it is asked in a window, at most: it tells the last 100 ms, and for how long that has been about so."""
_DEAREST = 0.25
"""Share of a CPU that the kdamond may take; what costs more ends early, with what was seen."""


def measure(
    kernel: Kernel,
    identity: Identity,
    seconds: float,
    windows: int = 1,
    cancel: threading.Event | None = None,
) -> Heat:
    """As `referenced.measure`. Raises NotSupported where DAMON cannot be had, NotFound, NotPermitted, Interrupted."""
    seen: list[list[list[Region]]] = []
    with monitoring(kernel, identity) as kdamond:
        for one in _looking(kernel, identity, kdamond, seconds, cancel):
            seen.append(one)
            if len(seen) == windows:
                break
        cost = kdamond.cpu()
    return _heat(kernel, identity, read_frame_nodes(kernel), seconds, seen, cost)


def watch(kernel: Kernel, identity: Identity, seconds: float, cancel: threading.Event) -> Generator[Heat]:
    """One window after the other, by one kdamond, until it is closed. `cost`: of a window. Raises as `measure`."""
    before, frames = 0.0, read_frame_nodes(kernel)
    with monitoring(kernel, identity) as kdamond:
        for one in _looking(kernel, identity, kdamond, seconds, cancel):
            now = kdamond.cpu()
            yield _heat(kernel, identity, frames, seconds, [one], now - before)
            before = now


def _looking(
    kernel: Kernel, identity: Identity, kdamond: Kdamond, seconds: float, cancel: threading.Event | None
) -> Generator[list[list[Region]]]:
    """What is seen in each window. Ends with a kdamond that is too dear."""
    still_the_same(kernel, identity)
    looks = _looks(seconds)
    began = kernel.clock()
    # Before regions have been split, all of a large one counts as hot.
    wait(kernel, int(min(seconds, _WARM_UP) * 1e9), cancel)
    while True:
        yield _window(kernel, kdamond, seconds, looks, cancel)
        if kdamond.cpu() * 1e9 > _DEAREST * (kernel.clock() - began):
            return


def _looks(seconds: float) -> int:
    """In a window of so many seconds."""
    return max(1, min(_LOOKS, int(seconds * 1e6 / (2 * AGGREGATION_US))))


def _gap(seconds: float) -> float:
    """Seconds between two looks."""
    return seconds / _looks(seconds)


def _heat(
    kernel: Kernel,
    identity: Identity,
    frames: FrameNodes | None,
    seconds: float,
    seen: list[list[list[Region]]],
    cost: float,
) -> Heat:
    still_the_same(kernel, identity)
    try:
        mappings = parse_maps(kernel.read(f"/proc/{identity.pid}/maps"))
    except OSError as exc:
        raise process_error(kernel, identity.pid, exc) from None
    pieces = _pieces(mappings, combine(seen, _gap(seconds), _COUNTED))
    by_node = count_by_node(kernel, identity.pid, frames, [(start, end) for start, end, _, _ in pieces])
    ranges: list[HeatRange] = []
    for piece, nodes in zip(pieces, by_node, strict=True):
        if nodes:
            one = _range(*piece, nodes)
            if ranges and _alike(ranges[-1], one):
                one = _joined(ranges.pop(), one)
            ranges.append(one)
    return Heat(identity.pid, "damon", seconds, len(seen), cost, tuple(ranges))


def _alike(one: HeatRange, other: HeatRange) -> bool:
    """Whether they are neighbours, used alike, on the same nodes."""
    return (
        one.seen
        and other.seen
        and (one.mapping, one.end) == (other.mapping, other.start)
        and (one.share, bool(one.least), bool(one.most)) == (other.share, bool(other.least), bool(other.most))
        and as_often(one.rate or 0.0, other.rate or 0.0)
        and one.by_node.keys() == other.by_node.keys()
    )


def _joined(one: HeatRange, other: HeatRange) -> HeatRange:
    size, more = one.end - one.start, other.end - other.start
    return HeatRange(
        one.start, other.end, one.name, one.resident + other.resident, one.hot + other.hot, one.least + other.least,
        one.most + other.most, sum_by_node([one.by_node, other.by_node]),
        ((one.rate or 0.0) * size + (other.rate or 0.0) * more) / (size + more), min(one.age or 0.0, other.age or 0.0),
        one.mapping,
    )  # fmt: skip


_COUNTED = 32 << 20
"""Bytes: of larger stretches it is told by parts on which nodes they lie."""
_WARM_UP = 1.0
"""Seconds in which the regions are split before anything counts."""


def _window(
    kernel: Kernel, kdamond: Kdamond, seconds: float, looks: int, cancel: threading.Event | None
) -> list[list[Region]]:
    out: list[list[Region]] = []
    end = kernel.clock() + int(seconds * 1e9)
    for left in range(looks, 0, -1):
        wait(kernel, max(0, end - kernel.clock()) // left, cancel)
        out.append(kdamond.regions())
    return out


def _pieces(mappings: Sequence[Mapping], stretches: Sequence[Stretch]) -> list[Piece]:
    """Mappings cut where stretches begin and end."""
    starts = [one.start for one in stretches]
    out: list[Piece] = []
    for vma in mappings:
        at = vma.start
        index = max(0, bisect_right(starts, at) - 1)
        while at < vma.end:
            while index < len(stretches) and stretches[index].end <= at:
                index += 1
            one = stretches[index] if index < len(stretches) else None
            if one is None or one.start >= vma.end:
                out.append((at, vma.end, vma, None))
                break
            if one.start > at:
                out.append((at, one.start, vma, None))
                at = one.start
            end = min(one.end, vma.end)
            out.append((at, end, vma, one))
            at = end
    return out


def _range(start: int, end: int, vma: Mapping, seen: Stretch | None, by_node: dict[int, int]) -> HeatRange:
    resident, name = sum(by_node.values()), decode(vma.name) or f"[{vma.kind}]"
    if seen is None:
        return HeatRange(start, end, name, resident, 0, 0, 0, by_node, mapping=vma.start, seen=False)
    hot = seen.hot
    return HeatRange(
        start, end, name, resident, resident * sum(hot) // len(hot),
        resident if all(hot) else 0, resident if any(hot) else 0, by_node,
        seen.rate, seen.age, vma.start,
    )  # fmt: skip
