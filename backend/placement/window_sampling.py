"""Where the memory of a process lies that is too large to be walked in the time there is: from some stretches of 2 MiB,
drawn at random from its address space.

Pages of one stretch often lie together, so it is the stretches that count for the error, not their pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from backend.kernel import Kernel
from backend.placement.frame_nodes import FrameNodes
from backend.placement.pagemap import PageMap, rest_for
from backend.placement.placement_walk import Mapping, TooLarge, parse_maps
from backend.placement.sampling import HIDDEN, Estimate, Z, ask, reach, tally
from backend.process.process import process_error

WINDOW = 512
"""Base pages of a stretch."""
WINDOWS = 1024
_LEAST = 32
"""Stretches with pages, without which nothing is said; so many are read whatever the time."""
_EMPTY = 16
"""So many times as many are read where most are empty."""
_ASKED = 8
"""Pages that are asked for in a stretch whose frames are hidden."""


def sample_windows(
    kernel: Kernel,
    pid: int,
    nodes: Sequence[int],
    rng: np.random.Generator,
    resident: int,
    frame_nodes: FrameNodes | None,
    go_on: Callable[[], bool] = lambda: True,
    windows: int = WINDOWS,
) -> Estimate:
    """An estimate for `resident` base pages, from up to `windows` stretches with pages. `frame_nodes`: to tell nodes by
    frames, None to ask move_pages. Raises NotFound, NotPermitted, TooLarge where there was no time for enough of them;
    OSError (ENOSYS, EPERM) where move_pages is not to be had."""
    pages = PageMap(kernel, pid, frame_nodes, rest=rest_for(kernel))
    present: list[float] = []
    found: list[NDArray[np.float64]] = []
    asked: list[tuple[int, float, NDArray[np.uint64]]] = []
    full = 0
    try:
        mappings = parse_maps(kernel.read(f"/proc/{pid}/maps"))
        for start, end in _draw(mappings, kernel.page_size, rng, windows * _EMPTY):
            if full >= windows or (full >= _LEAST and not go_on()):
                break
            size = (end - start) // kernel.page_size
            share, counts = 0.0, np.zeros(len(nodes) + 2)
            for part in pages.walk(start, end):
                if not len(part.addresses):
                    continue
                share, full = len(part.addresses) / size, full + 1
                if part.nodes is not None:
                    counts = tally(_positions(part.nodes, nodes), len(nodes)) / size
                else:
                    some = rng.choice(part.addresses, min(_ASKED, len(part.addresses)), replace=False)
                    asked.append((len(present), share, some))
            present.append(share)
            found.append(counts)
    except OSError as exc:
        raise process_error(kernel, pid, exc) from None
    if full < _LEAST:
        raise TooLarge
    if asked:
        where = ask(kernel, pid, np.concatenate([one for _, _, one in asked]), nodes, lambda: True)
        position = 0
        for index, share, some in asked:
            found[index] = tally(where[position : position + len(some)], len(nodes)) * share / len(some)
            position += len(some)
    return _estimate(np.array(present), np.array(found), nodes, resident)


def _draw(mappings: Sequence[Mapping], page_size: int, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """Stretches of the mappings, with a chance proportional to their size; some may come twice."""
    starts = np.array([one.start // page_size for one in mappings], np.int64)
    ends = np.array([one.end // page_size for one in mappings], np.int64)
    if not len(starts):
        return []
    bounds = np.cumsum(ends - starts)
    drawn = rng.integers(0, bounds[-1], count)
    which = np.searchsorted(bounds, drawn, side="right")
    entries = ends[which] - (bounds[which] - drawn)
    lows = np.maximum(entries // WINDOW * WINDOW, starts[which]) * page_size
    highs = np.minimum(entries // WINDOW * WINDOW + WINDOW, ends[which]) * page_size
    return [*zip(lows.tolist(), highs.tolist(), strict=True)]


def _positions(where: NDArray[np.int32], nodes: Sequence[int]) -> NDArray[np.int64]:
    out = np.full(len(where), HIDDEN, np.int64)
    for index, node in enumerate(nodes):
        out[where == node] = index
    return out


def _estimate(
    present: NDArray[np.float64], found: NDArray[np.float64], nodes: Sequence[int], resident: int
) -> Estimate:
    """`present`: (stretches,) how full each is; `found`: (stretches, nodes + 2) with what; a ratio estimate."""
    share = found.sum(axis=0) / present.sum()
    seen, hidden = share[: len(nodes)], float(share[len(nodes)])
    residual = found[:, : len(nodes)] - present[:, None] * seen
    drawn = len(present)
    spread = np.sqrt((residual**2).sum(axis=0) / (drawn * max(1, drawn - 1))) / present.mean()
    half = np.maximum(Z * spread, reach(seen, hidden, int((present > 0).sum())))
    known = seen.sum()
    if known <= 0:
        return Estimate(None, {}, round(hidden * resident))
    spread_out = seen + hidden * seen / known
    error = half + hidden * np.maximum(spread_out, 1 - spread_out)
    return Estimate(
        {node: round(one * resident) for node, one in zip(nodes, spread_out.tolist(), strict=True) if one > 0},
        {node: math.ceil(one * resident) for node, one in zip(nodes, error.tolist(), strict=True)},
        round(hidden * resident),
    )
