"""Follows a page on a machine that runs step by step on request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from simpy.core import EmptySchedule

from backend.emulator.abi.syscalls import migrate_pages
from backend.emulator.frames.page_lock import Events
from backend.emulator.inspect.trace import Tracer, TraceRow, describe_pte, find_page
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import Vma
from backend.emulator.mm.placing import OutOfMemory, SegmentationFault
from backend.emulator.scenario.description import Description
from backend.emulator.scenario.run import Built, build
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.task import Task
from backend.errors import errno_name
from backend.files.text import decode
from backend.nodeset import NodeSet

T = TypeVar("T")
MAX_EVENTS = 20_000
"""Most simpy events of one request. The limit makes a request return even if the page does not change."""
Came = Literal["changed", "nothing", "over"]
"""Result of a request: the page changed; it has not changed so far; or no event is due on the machine."""


class Follower(Tracer):
    """A tracer that also records, for each row, the PTEs of all VMAs that may map the page: (pid, name, PTE as text).
    `at`: (time, step, process) of the last boundary between steps, even if the page did not change there."""

    def __init__(self, m: Machine, task: Task, address: int) -> None:
        super().__init__(m, task, address)
        self.ptes: list[tuple[tuple[int, str, str], ...]] = []
        self.at: tuple[float, str, str] = (m.now, "start", "")
        self.boundaries = 0

    def see(self, step: str) -> None:
        super().see(step)
        process = self.m.env.active_process
        self.at = self.m.now, step, self.m.who.get(process, "") if process is not None else ""
        self.boundaries += 1
        if len(self.ptes) < len(self.rows):
            self.ptes.append(self._all_ptes())

    def _all_ptes(self) -> tuple[tuple[int, str, str], ...]:
        own = self.task.mm.find(self.address) if self.task.mm is not None else None
        if own is None:
            return ()
        offset = own.pgoff + (self.address - own.start) // self.m.page_size
        tasks = sorted(self.m.tasks.values(), key=lambda task: task is not self.task)
        return tuple(
            (task.pid, decode(task.name), describe_pte(int(vma.pte[offset - vma.pgoff])))
            for task in tasks
            for vma in (task.mm.vmas if task.mm is not None else ())
            if _same_object(vma, own) and 0 <= offset - vma.pgoff < vma.pages
        )


def _same_object(vma: Vma, own: Vma) -> bool:
    if vma is own:
        return True
    return (vma.anon_vma != 0 and vma.anon_vma == own.anon_vma) or (vma.file is not None and vma.file is own.file)


@dataclass(slots=True)
class Stage:
    """A machine and a page followed on it. Nothing else may advance the machine's time. `around`: runs a function with
    the machine locked, if it is shared. `note`: the result of the last `migrate`, as text."""

    machine: Machine
    follower: Follower
    around: Callable[[Callable[[], Came]], Came] = lambda act: act()
    note: str = ""

    @classmethod
    def follow(
        cls, m: Machine, task: Task, address: int, around: Callable[[Callable[[], Came]], Came] = lambda act: act()
    ) -> Stage:  # fmt: skip
        """Start to follow a page. The caller must have the machine to itself."""
        follower = m.tracer = Follower(m, task, address)
        follower.see("start")
        return cls(m, follower, around)

    @property
    def rows(self) -> list[TraceRow]:
        return self.follower.rows

    def step(self) -> Came:
        """Run to the next boundary between kernel steps of any process."""
        seen = self.follower.boundaries
        return self._until(lambda: self.follower.boundaries > seen)

    def next_change(self) -> Came:
        """Run until something about the page changes."""
        return self._until(lambda: False)

    def _until(self, enough: Callable[[], bool]) -> Came:
        rows, follower = len(self.rows), self.follower

        def act() -> Came:
            for _ in range(MAX_EVENTS):
                try:
                    self.machine.env.step()
                except EmptySchedule:
                    follower.see("end")
                    return "changed" if len(self.rows) > rows else "over"
                if len(self.rows) > rows or enough():
                    break
            return "changed" if len(self.rows) > rows else "nothing"

        return self.around(act)

    def migrate(self, target: int) -> None:
        """Start migrate_pages(2) on the page's task, from the page's node to `target`. The call then runs step by step
        along with everything else."""

        def act() -> Came:
            frame = self.rows[-1].frame
            if frame is not None:
                self.machine.start(self._call(frame.node, target), f"migrate_pages {decode(self.follower.task.name)}")
            return "nothing"

        self.note = ""
        self.around(act)

    def _call(self, source: int, target: int) -> Events:
        m, maxnode = self.machine, max(self.machine.nodes) + 2
        old, new = NodeSet([source]).mask(maxnode - 1), NodeSet([target]).mask(maxnode - 1)
        try:
            left = yield from migrate_pages(m, Caller(), self.follower.task.pid, maxnode, old, new)
            self.note = f"migrate_pages has returned {left}"
        except (OutOfMemory, SegmentationFault):
            self.note = "migrate_pages has failed: ENOMEM"
        except OSError as exc:
            self.note = f"migrate_pages has failed: {errno_name(exc.errno or 0)}"

    def leave(self) -> None:
        """Stop following the page."""
        if self.machine.tracer is self.follower:
            self.machine.tracer = None


def open_stage(description: Description, page: str) -> tuple[Stage, Built]:
    """Build a scenario's machine at time zero, with its steps waiting, and follow a page on it. `page`: as for
    `trace.find_page`. Raises UsageError."""
    built = build(description)
    task, address = find_page(built.machine, built.tasks, built.regions, page)
    return Stage.follow(built.machine, task, address), built
