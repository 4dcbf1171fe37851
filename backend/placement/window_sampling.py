"""Estimate the placement of a process that is too large for a walk within the time budget, from windows of 2 MiB drawn
at random from its address space.

Pages of one window often lie on one node. The sample size in the error is therefore the number of windows, not pages.
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
"""Base pages of a window: one page table, which pagemap_read() walks under one hold of mmap_lock."""
WINDOWS = 1024
_LEAST = 32
"""Windows with pages that an estimate needs at least; they are read even after the time budget ends."""
_EMPTY = 16
"""Windows drawn for each that is wanted: many windows of a sparse address space are empty."""
_ASKED = 8
"""Pages for which move_pages(2) is asked in a window whose frames are hidden."""


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
    """An estimate for `resident` base pages, from up to `windows` windows with pages. `frame_nodes`: the node of each
    frame; None: ask move_pages(2). Raises NotFound, NotPermitted; TooLarge if fewer than `_LEAST` windows have pages;
    OSError (ENOSYS, EPERM) if move_pages is not available."""
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
    """Random windows (start, end) of the mappings, weighted by size, with replacement."""
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
    """Ratio estimate. `present`: (windows,) share of the window that is resident. `found`: (windows, nodes + 2) share
    of the window on each node, hidden, on no node."""
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
