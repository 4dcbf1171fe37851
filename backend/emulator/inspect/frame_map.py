"""A map of the frames of a node: the kind of each frame, cells of many frames, and details of one frame."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames.page import PG, State
from backend.emulator.inspect.trace import FrameState, describe_pte, frame_state
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_PRESENT
from backend.emulator.tasks.task import Task
from backend.files.text import decode


class Kind(IntEnum):
    """The kind of a frame, in order of rising priority: if several kinds apply, the last one counts. A frame not in use
    is FREE, POOL or KEPT_OUT. OTHER: in use, but without a mapping."""

    FREE = 0
    OTHER = 1
    FILE = 2
    ANON = 3
    SHMEM = 4
    POOL = 5
    HUGE = 6
    DIRTY = 7
    SWAP_CACHE = 8
    WRITEBACK = 9
    LOCKED = 10
    KEPT_OUT = 11


PASSING = Kind.SWAP_CACHE
"""From this kind on, a single frame decides the kind of its cell: most of these states are short."""
KINDS = len(Kind)


@dataclass(frozen=True, slots=True)
class FrameDetail:
    """One frame. `slot`: (swap slot, its use count), or None outside the swap cache. `mappers`: (pid, name, address,
    PTE as text) of the first few present PTEs."""

    kind: Kind
    state: FrameState
    slot: tuple[int, int] | None
    mappers: tuple[tuple[int, str, int, str], ...]


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of 2**`shift` frames; the last may be short. `first`: pfn of the first frame. `kinds`: the `Kind` of each
    cell. `counts`: frames by kind."""

    first: int
    shift: int
    kinds: NDArray[np.uint8]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Frames:
    """Snapshot of the frames from pfn `first` on."""

    first: int
    state: NDArray[np.uint8]
    flags: NDArray[np.uint32]
    mapping: NDArray[np.int32]

    @classmethod
    def of(cls, m: Machine, first: int, count: int) -> Frames:
        """Copy the frames, so that the machine can run on while they are read."""
        at = slice(first, min(first + count, len(m.frames.state)))
        frames = m.frames
        return cls(first, frames.state[at].copy(), frames.flags[at].copy(), frames.mapping[at].copy())

    def kinds(self) -> NDArray[np.uint8]:
        """The `Kind` of each frame."""
        flags, mapping = self.flags, self.mapping
        out = np.full(len(flags), Kind.OTHER, np.uint8)
        filed = mapping < 0
        out[filed] = Kind.FILE
        out[mapping > 0] = Kind.ANON
        out[filed & ((flags & PG.SWAPBACKED) != 0)] = Kind.SHMEM
        out[(flags & (PG.COMPOUND | PG.HUGETLB)) != 0] = Kind.HUGE
        out[filed & ((flags & (PG.DIRTY | PG.SWAPBACKED)) == PG.DIRTY)] = Kind.DIRTY
        for flag, kind in (
            (PG.SWAPCACHE, Kind.SWAP_CACHE), (PG.WRITEBACK, Kind.WRITEBACK), (PG.LOCKED, Kind.LOCKED),
        ):  # fmt: skip
            out[(flags & flag) != 0] = kind
        for state, kind in (
            (State.FREE, Kind.FREE), (State.POOL, Kind.POOL), (State.KEPT_OUT, Kind.KEPT_OUT),
        ):  # fmt: skip
            out[self.state == state] = kind
        return out


def cells(first: int, kinds: NDArray[np.uint8], shift: int) -> Cells:
    """Group frames into cells of 2**`shift`. `kinds`: the `Kind` of each frame from pfn `first` on. The kind of a cell
    is its highest kind from PASSING on, else the most frequent one."""
    counts = np.bincount(kinds, minlength=KINDS)
    if shift == 0:
        return Cells(first, 0, kinds, counts)
    number = -(-len(kinds) >> shift)
    starts = np.arange(0, len(kinds), 1 << shift)
    most, share = np.zeros(number, np.uint8), np.zeros(number, np.int64)
    for kind in np.nonzero(counts)[0].tolist():
        here = np.add.reduceat(kinds == kind, starts, dtype=np.int64)
        better = here > (0 if kind >= PASSING else share)
        most[better] = kind
        share[better] = here[better]
    return Cells(first, shift, most, counts)


def detail(m: Machine, pfn: int, most: int = 4) -> FrameDetail:
    """Details of one frame, with at most `most` mappers."""
    frames = m.frames
    one = np.array([pfn], np.int32)
    mappers: list[tuple[int, str, int, str]] = []
    if frames.mapcount[pfn] > 0:
        for vma, _, index, pte in m.rmap.ptes(frames, one, PTE_PRESENT, one):
            for task in (task for task in m.tasks.values() if task.mm is vma.mm):
                address = vma.start + int(index[0]) * m.page_size
                mappers.append((task.pid, decode(task.name), address, describe_pte(int(pte[0]))))
            if len(mappers) >= most:
                break
    slot = int(frames.private[pfn]) if frames.flags[pfn] & PG.SWAPCACHE else -1
    return FrameDetail(
        Kind(int(Frames.of(m, pfn, 1).kinds()[0])),
        frame_state(m, pfn),
        (slot, int(m.swap.swap_map[slot])) if slot >= 0 else None,
        tuple(mappers[:most]),
    )


def mapper(m: Machine, first: int, count: int) -> tuple[Task, int] | None:
    """(task, address) of a mapping of one of these frames, from the lowest on; None if no task maps any. Looks at the
    first 64 mapped frames."""
    mapped = np.nonzero(m.frames.mapcount[first : first + count] > 0)[0]
    for pfn in (first + mapped[:64]).tolist():
        for pid, _, address, _ in detail(m, pfn, 1).mappers:
            return m.tasks[pid], address
    return None
