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

# Frames need numpy, whose import takes longer than most commands: those modules are imported on demand.


def read_gently(
    kernel: Kernel,
    pid: int,
    resident: int,
    frame_nodes: Callable[[], FrameNodes | None],
    with_maps: bool = False,
) -> Placement:
    """`read_placement` for a small process, `gentle_placement` for a large one. `resident`: its bytes of RSS.
    `frame_nodes` is called for a large process only. If a read stalls no process (demo, recording): always
    `read_placement`. Raises NotFound, NotPermitted, ParseError."""
    if not kernel.traits.reading_stalls or resident < LARGE * kernel.page_size:
        return read_placement(kernel, pid, with_maps)
    from backend.placement.placement_walk import gentle_placement

    return gentle_placement(kernel, pid, frame_nodes())


class PlacementReader:
    """Reads placements without stalling large processes. The nodes of frames are read once, for the first of them."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._frame_nodes = cache(self._read_frame_nodes)

    def read(self, process: Process) -> Placement:
        """Raises NotFound, NotPermitted, ParseError."""
        return read_gently(self.kernel, process.pid, process.rss, self._frame_nodes)

    def _read_frame_nodes(self) -> FrameNodes | None:
        from backend.placement.frame_nodes import read_frame_nodes

        return read_frame_nodes(self.kernel)
