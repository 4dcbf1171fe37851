"""Things go wrong in the middle of a migration on an emulated machine: nothing may be lost, and what moved can be taken
back.

`python -m tests.backend.job.chaos [--rounds 200] [--seed 0]` prints a table.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import tempfile
import threading
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.emulator.inspect.audit import damaged_pages
from backend.emulator.migration import hotplug
from backend.emulator.tasks.life import do_exit, spawn
from backend.emulator.tasks.task import Task
from backend.errors import NumatuiError, os_error
from backend.journal.past_job import index_of
from backend.journal.past_jobs import list_jobs
from backend.state import private_file
from tests.backend.job.moving import Mover
from tests.backend.job.test_undo_interrupted import Killed, small_batches
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import nodes_of, region

SETS = [([0], [1]), ([0, 1], [2, 3]), ([0, 1], [1, 2]), ([0, 1, 2], [3]), ([1], [0])]


@dataclass
class Round:
    """`injected`: whether it came to it before the job was over; `lost`: pages that are not where they were, and nobody
    says why; `trouble`: what should not have happened."""

    injected: bool = False
    lost: int = 0
    trouble: str = ""


class Chaos:
    """One job, in whose `fatal`-th call something happens."""

    def __init__(self, kind: str, seed: int, folder: Path) -> None:
        self.kind, self.rnd = kind, random.Random(f"{kind} {seed}")
        layout = [
            [self.rnd.randrange(4) for _ in range(self.rnd.randint(4, 40))] for _ in range(self.rnd.randint(1, 3))
        ]
        self.one = Mover(folder, *layout)
        self.machine = self.one.machine
        self.neighbour = spawn(self.machine, "neighbour", cpu=2, uid=7)
        self.theirs = region(self.machine, self.neighbour, {0: 8, 1: 8, 2: 8})
        self.sources, self.targets = self.rnd.choice(SETS)
        self.fatal = self.rnd.randint(0, 6)
        self.calls = 0
        self.result = Round()
        self.cancel = threading.Event()
        self.recycled: tuple[Task, Any] | None = None
        self.denied = False
        self.shift = 0

    def run(self) -> Round:
        before, neighbours = self.one.nodes, nodes_of(self.machine, self.theirs)
        with pytest.MonkeyPatch.context() as patch, small_batches():
            self._hook(patch)
            try:
                outcome = self.one.move(self.sources, self.targets, cancel=self.cancel, workers=1)
                self._accounts(before, outcome)
            except (NumatuiError, Killed):
                pass
            except Exception as exc:
                self.result.trouble = f"{type(exc).__name__}: {exc}"
        self.denied, self.shift = False, 0
        self._machine_is_sound()
        if self.one.task.alive and self.kind not in ("offline source", "offline target"):
            self._take_back(before)
            self.result.lost += _different(neighbours, nodes_of(self.machine, self.theirs))
        elif self.one.task.alive:
            self.result.lost += sum(node < 0 for node in self.one.nodes)
        if self.recycled is not None:
            task, vma = self.recycled
            self.result.lost += _different([0] * vma.pages, nodes_of(self.machine, vma)) + (not task.alive)
        return self.result

    def _hook(self, patch: pytest.MonkeyPatch) -> None:
        kernel = self.one.kernel
        for name in ("move_pages", "migrate_pages"):
            patch.setattr(kernel, name, self._counted(getattr(kernel, name)), raising=False)
        patch.setattr(kernel, "clock", lambda real=kernel.clock: real() + self.shift, raising=False)
        if self.kind == "state directory full":
            real = private_file.append

            def append(fd: int, data: bytes, sync: bool = True) -> None:
                self.calls += 1
                if self.calls > self.fatal:
                    self.result.injected = True
                    raise os_error(errno.ENOSPC)
                real(fd, data, sync)

            patch.setattr(private_file, "append", append)

    def _counted(self, call: Callable[..., int]) -> Callable[..., int]:
        def counted(*arguments: Any) -> int:
            moving = len(arguments) == 4 or arguments[2] is not None
            if moving and self.kind != "state directory full":
                self.calls += 1
                if self.calls - 1 == self.fatal:
                    self.result.injected = True
                    if self.kind not in AFTER:
                        self._happen(call, arguments)
            if self.denied:
                raise os_error(errno.EPERM)
            result = call(*arguments)
            if moving and self.calls - 1 == self.fatal and self.kind in AFTER:
                self._happen(call, arguments)
            return result

        return counted

    def _happen(self, call: Callable[..., int], arguments: tuple[Any, ...]) -> None:
        machine, task = self.machine, self.one.task
        if self.kind == "process exits":
            do_exit(machine, task)
        elif self.kind == "pid is used again":
            do_exit(machine, task)
            other = spawn(machine, "other", cpu=0, uid=1000, pid=task.pid)
            self.recycled = (other, region(machine, other, {0: 12}))
        elif self.kind in ("offline source", "offline target"):
            node = (self.sources if "source" in self.kind else self.targets)[0]
            try:
                machine.run(hotplug.offline(machine, node))
            except OSError:
                self.result.injected = False
        elif self.kind == "permission lost":
            self.denied = True
        elif self.kind == "clock goes back":
            self.shift -= 3_600_000_000_000
        elif self.kind == "clock goes ahead":
            self.shift += 86_400_000_000_000
        elif self.kind == "cancelled":
            self.cancel.set()
        elif self.kind == "another program":
            self.one.kernel.program += 1
        elif self.kind == "somebody else moves":
            here = [number for number, node in enumerate(nodes_of(machine, self.one.vmas[0])) if node >= 0]
            self.one.meddle(self.rnd.randrange(4), self.rnd.sample(here, min(3, len(here))))
        elif self.kind == "kill -9":
            some = int(len(arguments[1]) * self.rnd.random()) if len(arguments) == 5 else 0
            if some:
                pid, pages, nodes, status, flags = arguments
                call(pid, pages[:some], nodes[:some], array("i", status[:some]), flags)
            raise Killed

    def _accounts(self, before: list[int], outcome: Any) -> None:
        """As much has moved as the job says."""
        others = ("offline source", "offline target", "somebody else moves", "another program")
        if self.one.task.alive and self.kind not in others and self.recycled is None:
            moved = _different(before, self.one.nodes)
            if moved * 4096 != outcome.moved:
                self.result.trouble = f"{moved} pages have moved, and it says {outcome.moved // 4096}"

    def _machine_is_sound(self) -> None:
        try:
            check_at_rest(self.machine)
        except AssertionError as exc:
            self.result.trouble = self.result.trouble or f"the machine: {exc}"
        self.result.lost += damaged_pages(self.machine)

    def _take_back(self, before: list[int]) -> None:
        jobs, problems = list_jobs(self.one.folder)
        if problems and self.kind not in ("kill -9", "state directory full"):
            self.result.trouble = problems[0]
        if not any(index_of(job) for job in jobs):
            self.result.lost += _different(before, self.one.nodes) if self.kind != "somebody else moves" else 0
            return
        if self.kind == "another program":
            return
        try:
            with small_batches():
                back = self.one.undo()
        except NumatuiError as exc:
            self.result.trouble = f"it cannot be taken back: {exc}"
            return
        allowed = sum(back.left.values()) // 4096
        if self.kind == "somebody else moves":
            allowed += 3
        self.result.lost += max(0, _different(before, self.one.nodes) - allowed)


def _different(before: list[int], after: list[int]) -> int:
    return sum(a != b for a, b in zip(before, after, strict=True))


AFTER = ("pid is used again", "another program")
"""These come between two calls: nobody can see them within one, where a pid is all that the kernel takes."""
KINDS = (
    "process exits", "pid is used again", "another program", "offline source", "offline target", "permission lost",
    "clock goes back", "clock goes ahead", "cancelled", "somebody else moves", "state directory full", "kill -9",
)  # fmt: skip


def run(kind: str, seed: int) -> Round:
    """One round, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="numatui-chaos-") as folder:
        os.chmod(folder, 0o700)
        return Chaos(kind, seed, Path(folder)).run()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print("| what happens in the middle of a job | injected | survived | pages lost |\n|---|---|---|---|")
    for kind in KINDS:
        found = [run(kind, chosen.seed + number) for number in range(chosen.rounds)]
        injected = [one for one in found if one.injected]
        survived = sum(not one.trouble for one in injected)
        print(f"| {kind} | {len(injected)} | {survived} | {sum(one.lost for one in found)} |", flush=True)
        for one in found:
            if one.trouble:
                print(f"  {one.trouble}")
                break


if __name__ == "__main__":
    main()
