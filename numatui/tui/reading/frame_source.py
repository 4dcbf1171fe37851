"""Sources of frames for the microscope: an emulated machine, or a recording of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from backend.emulator.abi.proc_numatui import FRAMES, ZONES, parse_zones
from backend.emulator.inspect.frame_map import KINDS, Cells, FrameDetail, Frames, Kind, cells, detail
from backend.emulator.inspect.owners import OwnedCells, Owners, counts_of, names, owned_cells, owners
from backend.kernel import Kernel
from numatui.tui.reading.emulated import Emulated, emulated

if TYPE_CHECKING:
    from backend.emulator.machine import Machine


_NOBODY: Owners = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a map shows. `visible`: (first frame, number of them), in cells of 2**`shift` frames. `pointed`: (first
    frame, number) of the cell that is told about. `owners`: whose frames they are is asked, too. `only`: the owner
    whose share of each cell is asked."""

    node: int
    visible: tuple[int, int]
    shift: int
    pointed: tuple[int, int]
    owners: bool = False
    only: int | None = None


@dataclass(frozen=True, slots=True)
class FramesRead:
    """The visible cells. `owned`: whose they are, if asked. `detail`: of the frame that is pointed at, if it is one
    alone and more is known; otherwise `within`: frames by owner in the cell. `names`: of the owners. `now`:
    seconds of the machine's clock."""

    wanted: Wanted
    cells: Cells
    now: float
    owned: OwnedCells | None = None
    detail: FrameDetail | None = None
    within: Mapping[int, int] = field(default_factory=dict[int, int])
    names: Mapping[int, str] = field(default_factory=dict[int, str])


class FrameSource(Protocol):
    """`zones`: node → (first frame, number of frames). `page_size`: bytes. `knows_owners`: whether it can tell whose
    frames they are."""

    knows_owners: bool

    @property
    def zones(self) -> Mapping[int, tuple[int, int]]: ...

    @property
    def page_size(self) -> int: ...

    def look(self, wanted: Wanted) -> FramesRead:
        """Blocks: do not call it in the UI thread. Raises OSError."""
        ...

    def changed(self, seen: FramesRead) -> bool:
        """Whether the frames may have changed since `seen`."""
        ...


class EmulatedFrames:
    """Frames of the running machine."""

    knows_owners = True

    def __init__(self, kernel: Emulated) -> None:
        self.kernel = kernel
        self.zones = {node: (zone.start, zone.pages) for node, zone in kernel.machine.frames.zones.items()}
        self.page_size = kernel.machine.page_size

    def look(self, wanted: Wanted) -> FramesRead:
        first, count = wanted.pointed

        def reading(m: Machine) -> tuple[Frames, FrameDetail | None, Owners | None, Owners, dict[int, str], float]:
            whose = owners(m, *wanted.visible) if wanted.owners else None
            one = detail(m, first) if count == 1 else None
            start = first - wanted.visible[0]
            if one is not None:
                within = _NOBODY
            elif whose is not None and start >= 0 and start + count <= len(whose):
                within = whose[start : start + count]
            else:
                within = owners(m, first, count)
            return Frames.of(m, *wanted.visible), one, whose, within, names(m), m.now

        frames, one, whose, within, known, now = self.kernel.look(reading)
        owned = None if whose is None else owned_cells(frames.first, whose, wanted.shift, wanted.only)
        seen = cells(frames.first, frames.kinds(), wanted.shift)
        return FramesRead(wanted, seen, now, owned, one, counts_of(within), known)

    def changed(self, seen: FramesRead) -> bool:
        return bool(self.kernel.speed) or seen.now != self.kernel.machine.now


class RecordedFrames:
    """Frames of the current sample. A recording has only the kind of each frame."""

    knows_owners = False

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.page_size = kernel.page_size
        self.zones = parse_zones(kernel.read(ZONES))

    def look(self, wanted: Wanted) -> FramesRead:
        first, count = wanted.visible
        start, _ = self.zones[wanted.node]
        kinds = np.frombuffer(self.kernel.read(f"{FRAMES}/{wanted.node}", first - start, count), np.uint8)
        kinds = np.where(kinds < KINDS, kinds, np.uint8(Kind.OTHER))
        return FramesRead(wanted, cells(first, kinds, wanted.shift), self.kernel.clock() / 1e9)

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
