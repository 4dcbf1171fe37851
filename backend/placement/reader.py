"""Read the placement of processes without stalling large ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from backend.kernel import Kernel
from backend.placement.numa_maps import read_placement
from backend.placement.placement import LARGE, Placement
from backend.process.process import Process

if TYPE_CHECKING:
    from backend.placement.frame_nodes import FrameNodes

KEPT_PAGES = 1 << 20
"""Pages that a plan keeps as they were found, 13 bytes each. What a job finds while it moves these costs it no time."""

# Frames need numpy, whose import takes longer than most commands: those modules are imported on demand.


def read_gently(
    kernel: Kernel,
    pid: int,
    resident: int,
    frame_nodes: Callable[[], FrameNodes | None],
    with_maps: bool = False,
    keep: int = 0,
) -> Placement:
    """`read_placement` for a small process, `gentle_placement` for a large one. `resident`: its bytes of RSS.
    `frame_nodes` is called for a large process only. `keep`: so many of its pages are kept as they were found. If a
    read stalls no process (demo, recording): always `read_placement`. Raises NotFound, NotPermitted, ParseError."""
    if not kernel.traits.reading_stalls or resident < LARGE * kernel.page_size:
        return read_placement(kernel, pid, with_maps)
    from backend.placement.placement_walk import gentle_placement

    return gentle_placement(kernel, pid, frame_nodes(), keep)


class PlacementReader:
    """Reads placements without stalling large processes. The nodes of frames are read once, for the first of them.
    `keep`: pages of all of them together that are kept as they were found."""

    def __init__(self, kernel: Kernel, keep: int = 0) -> None:
        self.kernel, self._keep = kernel, keep
        self._frame_nodes = cache(self._read_frame_nodes)

    def read(self, process: Process) -> Placement:
        """Raises NotFound, NotPermitted, ParseError."""
        placement = read_gently(self.kernel, process.pid, process.rss, self._frame_nodes, keep=self._keep)
        if placement.found is not None:
            self._keep -= placement.found.count
        return placement

    def _read_frame_nodes(self) -> FrameNodes | None:
        from backend.placement.frame_nodes import read_frame_nodes

        return read_frame_nodes(self.kernel)
