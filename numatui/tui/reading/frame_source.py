"""Sources of frames for the microscope: an emulated machine, or a recording of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from backend.emulator.abi.proc_numatui import FRAMES, ZONES, parse_zones
from backend.emulator.inspect.frame_map import KINDS, Cells, FrameDetail, Frames, Kind, cells, detail
from backend.kernel import Kernel
from numatui.tui.reading.emulated import Emulated, emulated

if TYPE_CHECKING:
    from backend.emulator.machine import Machine


@dataclass(frozen=True, slots=True)
class FramesRead:
    """The visible cells. `cursor`: the frame under the cursor, None if not requested or not known. `now`: seconds of
    the machine's clock."""

    cells: Cells
    cursor: FrameDetail | None
    now: float


class FrameSource(Protocol):
    """`zones`: node → (first frame, number of frames). `page_size`: bytes."""

    @property
    def zones(self) -> Mapping[int, tuple[int, int]]: ...

    @property
    def page_size(self) -> int: ...

    def look(self, visible: tuple[int, int], shift: int, pfn: int) -> FramesRead:
        """Reads the frames `visible` (first, number) in cells of 2**`shift` frames, and the frame `pfn` (-1: none).
        Blocks: do not call it in the UI thread. Raises OSError."""
        ...

    def changed(self, seen: FramesRead) -> bool:
        """Whether the frames may have changed since `seen`."""
        ...


class EmulatedFrames:
    """Frames of the running machine."""

    def __init__(self, kernel: Emulated) -> None:
        self.kernel = kernel
        self.zones = {node: (zone.start, zone.pages) for node, zone in kernel.machine.frames.zones.items()}
        self.page_size = kernel.machine.page_size

    def look(self, visible: tuple[int, int], shift: int, pfn: int) -> FramesRead:
        def reading(m: Machine) -> tuple[Frames, FrameDetail | None, float]:
            return Frames.of(m, *visible), detail(m, pfn) if pfn >= 0 else None, m.now

        frames, cursor, now = self.kernel.look(reading)
        return FramesRead(cells(frames.first, frames.kinds(), shift), cursor, now)

    def changed(self, seen: FramesRead) -> bool:
        return bool(self.kernel.speed) or seen.now != self.kernel.machine.now


class RecordedFrames:
    """Frames of the current sample. A recording has only the kind of each frame."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.page_size = kernel.page_size
        self.zones = parse_zones(kernel.read(ZONES))

    def look(self, visible: tuple[int, int], shift: int, pfn: int) -> FramesRead:
        first, count = visible
        node, start = next(
            (node, start) for node, (start, pages) in self.zones.items() if start <= first < start + pages
        )
        kinds = np.frombuffer(self.kernel.read(f"{FRAMES}/{node}", first - start, count), np.uint8)
        kinds = np.where(kinds < KINDS, kinds, np.uint8(Kind.OTHER))
        return FramesRead(cells(first, kinds, shift), None, self.kernel.clock() / 1e9)

    def changed(self, seen: FramesRead) -> bool:
        return seen.now != self.kernel.clock() / 1e9


def frame_source(kernel: Kernel) -> FrameSource | None:
    """The source for a kernel, or None if it does not show its frames. Never raises."""
    machine = emulated(kernel)
    if machine is not None:
        return EmulatedFrames(machine)
    try:
        found = RecordedFrames(kernel)
    except OSError:
        return None
    return found if found.zones else None
