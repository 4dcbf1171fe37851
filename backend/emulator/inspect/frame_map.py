"""The frames of a node as a map: what each is, many of them to a cell, and one of them in detail."""

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
    """What a frame is, one of these, from the least to the most noteworthy: of what applies to a frame the last counts,
    except that those that are not in use are nothing else. OTHER: in use, but of no mapping yet or any more."""

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
"""From this kind on one frame of a cell is enough for the cell to show it: most are over soon."""
KINDS = len(Kind)


@dataclass(frozen=True, slots=True)
class FrameDetail:
    """One frame. `kind`; `state`: flags by name and counts; `slot`: swap slot and its use count; `mappers`: (pid, name,
    address, PTE in words) of each present PTE, the first few of `mapcount`."""

    kind: Kind
    state: FrameState
    slot: tuple[int, int] | None
    mappers: tuple[tuple[int, str, int, str], ...]


@dataclass(frozen=True, slots=True)
class Cells:
    """`first`: pfn of the first cell, each of 2**`shift` frames (the last may be short). `kinds`: what each cell shows.
    `counts`: frames by kind."""

    first: int
    shift: int
    kinds: NDArray[np.uint8]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames from `first` on as they were at one moment."""

    first: int
    state: NDArray[np.uint8]
    flags: NDArray[np.uint32]
    mapping: NDArray[np.int32]

    @classmethod
    def of(cls, m: Machine, first: int, count: int) -> Frames:
        """Copies, so that they can be looked at while the machine goes on."""
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
    """Cells of 2**`shift` frames, from the `Kind` of each frame from `first` on: a cell shows the kind that most of its
    frames are, or the highest that is passing."""
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
    """What there is to say about one frame."""
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
    """A task, and the address at which it maps the first mapped of these frames; None where nobody does."""
    mapped = np.nonzero(m.frames.mapcount[first : first + count] > 0)[0]
    for pfn in (first + mapped[:64]).tolist():
        for pid, _, address, _ in detail(m, pfn, 1).mappers:
            return m.tasks[pid], address
    return None
