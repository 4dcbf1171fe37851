"""Reading where the pages of processes lie without holding up large ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from backend.kernel import Kernel
from backend.placement.placement import LARGE, Placement, read_placement
from backend.process.process import Process

if TYPE_CHECKING:
    from backend.placement.frame_nodes import FrameNodes

# Frames are looked at with numpy, which takes longer to import than most commands run: only where they are.


def read_gently(
    kernel: Kernel,
    pid: int,
    resident: int,
    frame_nodes: Callable[[], FrameNodes | None],
    with_maps: bool = False,
) -> Placement:
    """`read_placement`, but page by page for a process with many resident bytes, where the kernel shows frames: it is
    then not held up. `frame_nodes` is asked only then. In a demo and a recording nobody is. Raises NotFound,
    NotPermitted, ParseError."""
    if kernel.source != "live" or resident < LARGE * kernel.page_size:
        return read_placement(kernel, pid, with_maps)
    from backend.placement.placement_walk import gentle_placement

    return gentle_placement(kernel, pid, frame_nodes())


class PlacementReader:
    """Reads placements without holding up large processes. Where frames lie is read once, when one of them is met."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._frame_nodes = cache(self._read_frame_nodes)

    def read(self, process: Process) -> Placement:
        """Raises NotFound, NotPermitted, ParseError."""
        return read_gently(self.kernel, process.pid, process.rss, self._frame_nodes)

    def _read_frame_nodes(self) -> FrameNodes | None:
        from backend.placement.frame_nodes import read_frame_nodes

        return read_frame_nodes(self.kernel)
