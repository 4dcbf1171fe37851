"""Which other processes map pages of a process: through the same files or shared memory, or through fork(2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.errors import NotFound, NotPermitted, ParseError
from backend.kernel import Kernel
from backend.placement.frame_nodes import read_frame_nodes
from backend.placement.pagemap import PageMap
from backend.placement.placement import VmaPlacement
from backend.placement.placement_walk import Mapping, parse_maps
from backend.process.process import pids, read_stat

_LOOK_AT = 2048
"""Pages of a mapping that are compared: enough to find a page shared since fork without reading all."""


def find_sharers(kernel: Kernel, pid: int, vmas: Sequence[VmaPlacement]) -> list[tuple[int, str]]:
    """(pid, name) of the other processes that map pages of these VMAs, ascending. Anonymous memory counts as shared if
    the same address has the same frame in both; if frames are hidden, if a mapping begins at the same address. Reads
    the maps of every readable process: expensive. Raises OSError if /proc cannot be listed."""
    wanted = {vma.start for vma in vmas}
    try:
        own = [one for one in parse_maps(kernel.read(f"/proc/{pid}/maps")) if one.start in wanted]
    except OSError:
        return []
    files = {one.inode for one in own if one.inode[1]}
    anonymous = {one.start: one for one in own if not one.inode[1]}
    pages = PageMap(kernel, pid, read_frame_nodes(kernel))
    out: list[tuple[int, str]] = []
    for other in pids(kernel):
        if other == pid:
            continue
        try:
            maps = parse_maps(kernel.read(f"/proc/{other}/maps"))
            same = any(one.inode in files for one in maps if one.inode[1]) or any(
                _same_frames(pages, PageMap(kernel, other, pages.frame_nodes), anonymous[one.start], one)
                for one in maps
                if not one.inode[1] and one.start in anonymous
            )
            if same:
                out.append((other, read_stat(kernel, other).comm))
        except (OSError, NotFound, NotPermitted, ParseError):
            continue
    return out


def _same_frames(pages: PageMap, others: PageMap, mine: Mapping, theirs: Mapping) -> bool:
    end = min(mine.end, theirs.end, mine.start + _LOOK_AT * pages.kernel.page_size)
    addresses = np.arange(mine.start, end, pages.kernel.page_size, dtype=np.uint64)
    own, other = pages.frames(addresses), others.frames(addresses)
    if own is None or other is None:
        return True
    return bool(((own == other) & (own != 0)).any())
