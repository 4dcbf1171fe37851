"""Parts of mappings: on which nodes the pages of stretches of addresses lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backend.kernel import Kernel
from backend.placement.frame_nodes import FrameNodes
from backend.placement.overlap import overlapping
from backend.placement.pagemap import PageMap, rest_for
from backend.placement.placement import Placement, VmaPlacement
from backend.process.page_calls import query
from backend.process.process import process_error

_PIECE, _GAP = 256 << 20, 1 << 20
"""Bytes of addresses that are walked at once, and of gaps between neighbours in them."""


def count_by_node(
    kernel: Kernel, pid: int, frames: FrameNodes | None, stretches: Sequence[tuple[int, int]]
) -> list[dict[int, int]]:
    """Bytes by node of each stretch [start, end); they are in address order, without overlaps. Raises NotFound,
    NotPermitted."""
    if not stretches:
        return []
    out = [dict[int, int]() for _ in stretches]
    starts = np.array([start for start, _ in stretches], np.uint64)
    ends = np.array([end for _, end in stretches], np.uint64)
    pages = PageMap(kernel, pid, frames, rest=rest_for(kernel))
    try:
        for start, end in _pieces(stretches):
            for part in pages.walk(start, end):
                nodes = part.nodes
                if nodes is None or (nodes < 0).any():
                    nodes = query(kernel, pid, part.addresses)
                which = np.searchsorted(starts, part.addresses, side="right") - 1
                inside = (which >= 0) & (part.addresses < ends[np.maximum(which, 0)]) & (nodes >= 0)
                keys = which[inside].astype(np.int64) << 32 | nodes[inside]
                found, counts = np.unique(keys, return_counts=True)
                for key, count in zip(found.tolist(), counts.tolist(), strict=True):
                    by_node, node = out[int(key) >> 32], int(key) & 0xFFFFFFFF
                    by_node[node] = by_node.get(node, 0) + count * kernel.page_size
    except OSError as exc:
        raise process_error(kernel, pid, exc) from None
    return [dict(sorted(one.items())) for one in out]


def _pieces(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbours with small gaps are walked at once."""
    out: list[tuple[int, int]] = []
    for start, end in stretches:
        if out and start - out[-1][1] <= _GAP and end - out[-1][0] <= _PIECE:
            out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    return out


def clip(
    kernel: Kernel, pid: int, frames: FrameNodes | None, placement: Placement, stretches: Sequence[tuple[int, int]]
) -> Placement:
    """Only what lies in these stretches [start, end), in their order: mappings, and parts of mappings whose pages are
    counted anew. Without overlaps. `placement` has the ends of mappings. Raises NotFound, NotPermitted."""
    bounds = [(vma.start, vma.end) for vma in placement.vmas]
    by_start = {vma.start: vma for vma in placement.vmas}
    whole: list[VmaPlacement] = []
    for start, end in stretches:
        for bound in overlapping(bounds, start, end):
            vma, part = by_start[bound[0]], (max(start, bound[0]), min(end, bound[1]))
            whole.append(vma if part == bound else replace(vma, start=part[0], end=part[1], pages={}))
    parts = sorted({(one.start, one.end) for one in whole if not one.pages})
    counted = dict(zip(parts, count_by_node(kernel, pid, frames, parts), strict=True))
    return Placement(tuple(_with_pages(one, counted.get((one.start, one.end))) for one in whole))


def _with_pages(vma: VmaPlacement, by_node: dict[int, int] | None) -> VmaPlacement:
    """`counts` of a part: what is shared of the mapping may all be in it."""
    if by_node is None:
        return vma
    pages = {node: amount // vma.page_size for node, amount in by_node.items()}
    shared = min(vma.counts.get("shared", 0), sum(pages.values()))
    counts = {"mapmax": vma.mapmax} | ({"shared": shared} if "shared" in vma.counts else {})
    return replace(vma, pages={node: count for node, count in pages.items() if count}, counts=counts)
