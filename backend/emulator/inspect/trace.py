"""Traces one page: records its state between any two kernel steps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from backend.emulator.frames.page import PG, State
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import (
    PTE_DIRTY,
    PTE_MIGRATION,
    PTE_PRESENT,
    PTE_SHIFT,
    PTE_SWAP,
    PTE_WRITE,
    PTE_YOUNG,
    PTE_ZERO,
)
from backend.emulator.mm.region import Region
from backend.emulator.tasks.task import Task
from backend.errors import UsageError

MAX_ROWS = 100_000  # Limits the memory of a trace; later changes are not recorded.
FLAGS = {value: name.lower() for name, value in vars(PG).items() if name.isupper()}


@dataclass(frozen=True, slots=True)
class FrameState:
    """Snapshot of a frame. `flags`: names of the page flags that are set."""

    pfn: int
    node: int
    flags: tuple[str, ...]
    refcount: int
    mapcount: int


@dataclass(frozen=True, slots=True)
class TraceRow:
    """The page at the end of a kernel step. `time`: simulated seconds. `who`: the process that did the step. `frame`:
    the page's frame, None if it is not in memory. `old`: its former frame, while that is in use. `pte`: the PTE of the
    traced task as text. `slot`: (swap slot, its use count). `waiting`: `process: flag` of each process that waits."""

    time: float
    step: str
    who: str
    frame: FrameState | None
    old: FrameState | None
    pte: str
    slot: tuple[int, int] | None
    waiting: tuple[str, ...]


class Tracer:
    """Traces the page of `task` at `address`. Set it as the machine's `tracer`."""

    def __init__(self, m: Machine, task: Task, address: int) -> None:
        self.m, self.task, self.address = m, task, address
        self.rows: list[TraceRow] = []
        self._pfn = self._old = -1
        self._identity = (0, 0)

    def see(self, step: str) -> None:
        """Called at every boundary between steps. Adds a row if something about the page has changed."""
        if len(self.rows) >= MAX_ROWS:
            return
        row = self._look(step)
        if not self.rows or _state(row) != _state(self.rows[-1]):
            self.rows.append(row)

    def _look(self, step: str) -> TraceRow:
        m = self.m
        pte = self._pte()
        pfn, slot = self._place(pte)
        if pte & PTE_MIGRATION:
            pfn = self._successor(pfn)
        if pfn >= 0 and pfn != self._pfn:
            self._pfn, self._old = pfn, self._pfn
        if self._old >= 0 and m.frames.state[self._old] != State.IN_USE:
            self._old = -1
        old = self._old
        process = m.env.active_process
        return TraceRow(
            time=m.now,
            step=step,
            who=m.who.get(process, "") if process is not None else "",
            frame=self._frame(pfn),
            old=self._frame(old) if old != pfn else None,
            pte=describe_pte(pte),
            slot=(slot, int(m.swap.swap_map[slot])) if slot >= 0 else None,
            waiting=self._waiting(pfn, old),
        )

    def _pte(self) -> int:
        vma = self.task.mm.find(self.address) if self.task.mm is not None else None
        return int(vma.pte[(self.address - vma.start) // self.m.page_size]) if vma is not None else 0

    def _place(self, pte: int) -> tuple[int, int]:
        """(frame, swap slot) of the page; -1 for none."""
        m = self.m
        if pte & (PTE_PRESENT | PTE_MIGRATION):
            pfn = pte >> PTE_SHIFT
            return pfn, int(m.frames.private[pfn]) if m.frames.flags[pfn] & PG.SWAPCACHE else -1
        if pte & PTE_SWAP:
            return int(m.swap.cache[pte >> PTE_SHIFT]), pte >> PTE_SHIFT
        vma = self.task.mm.find(self.address) if self.task.mm is not None else None
        if vma is None or vma.file is None:
            return -1, -1
        offset = vma.pgoff + (self.address - vma.start) // m.page_size
        if offset >= vma.file.size:
            return -1, -1
        slot = int(vma.file.swapped[offset])
        return (int(m.swap.cache[slot]) if slot >= 0 else int(vma.file.pages[offset])), slot

    def _successor(self, pfn: int) -> int:
        """The frame that replaces `pfn` in its mapping, or `pfn` if there is none yet. A migration entry names the old
        frame until the PTE is remapped."""
        frames = self.m.frames
        if frames.mapping[pfn]:  # Zero once the new frame has taken its place.
            self._identity = int(frames.mapping[pfn]), int(frames.index[pfn])
        mapping, index = self._identity
        same = (frames.mapping == mapping) & (frames.index == index) & (frames.state == State.IN_USE)
        others = np.nonzero(same)[0]
        others = others[others != pfn]
        return int(others[0]) if mapping and len(others) else pfn

    def _frame(self, pfn: int) -> FrameState | None:
        return frame_state(self.m, pfn) if pfn >= 0 else None

    def _waiting(self, *pfns: int) -> tuple[str, ...]:
        return tuple(
            f"{self.m.who.get(process, '?') if process is not None else '?'}: {FLAGS[flag]}"
            for pfn in dict.fromkeys(pfns)
            if pfn >= 0
            for flag, process in self.m.locks.sleepers(pfn)
        )

    def report(self) -> list[dict[str, Any]]:
        """The rows as dicts."""
        return [asdict(row) for row in self.rows]


def frame_state(m: Machine, pfn: int) -> FrameState:
    """Snapshot of a frame."""
    frames = m.frames
    flags = int(frames.flags[pfn])
    return FrameState(
        pfn,
        int(frames.nid[pfn]),
        tuple(name for value, name in FLAGS.items() if flags & value),
        int(frames.refcount[pfn]),
        int(frames.mapcount[pfn]),
    )


def _state(row: TraceRow) -> tuple[object, ...]:
    return row.frame, row.old, row.pte, row.slot, row.waiting


def describe_pte(pte: int) -> str:
    """A PTE as text: `present 513 writable dirty young`, `swap 7`, `migration 513`, `zero page`, `none`."""
    number = pte >> PTE_SHIFT
    if pte & PTE_PRESENT:
        bits = [
            name for bit, name in ((PTE_WRITE, "writable"), (PTE_DIRTY, "dirty"), (PTE_YOUNG, "young")) if pte & bit
        ]
        return " ".join(["present", str(number), *bits])
    if pte & PTE_SWAP:
        return f"swap {number}"
    if pte & PTE_MIGRATION:
        return f"migration {number}"
    return "zero page" if pte & PTE_ZERO else "none"


def find_page(m: Machine, tasks: dict[str, Task], regions: dict[str, dict[str, Region]], text: str) -> tuple[Task, int]:
    """Parse `TASK:REGION:PAGE`, `TASK:0xADDRESS` or the number of a mapped frame. Returns (task, page address). Raises
    UsageError."""
    how = "write TASK:REGION:PAGE, TASK:0xADDRESS, or the number of a frame that a process maps"
    if text.isascii() and text.isdigit() and len(text) < 12:
        for task in tasks.values():
            for vma in task.mm.vmas if task.mm is not None else ():
                at = ((vma.pte >> PTE_SHIFT) == int(text)) & ((vma.pte & PTE_PRESENT) != 0)
                if at.any():
                    return task, vma.start + int(at.argmax()) * m.page_size
        raise UsageError(f"no process maps the frame {text}", how)
    name, _, rest = text.partition(":")
    task = tasks.get(name)
    if task is None:
        raise UsageError(f"there is no process '{name}' to trace", how)
    if rest.startswith("0x"):
        try:
            address = int(rest, 16)
        except ValueError:
            raise UsageError(f"'{rest}' is not an address", how) from None
        if task.mm is None or task.mm.find(address) is None:
            raise UsageError(f"'{name}' maps nothing at {rest}", how)
        return task, address // m.page_size * m.page_size
    region_name, _, page = rest.partition(":")
    region = regions.get(name, {}).get(region_name)
    if region is None or not (page or "0").isascii() or not (page or "0").isdigit() or int(page or 0) >= region.pages:
        raise UsageError(f"'{name}' has no page '{rest}'", how)
    return task, region.start + int(page or 0) * m.page_size
