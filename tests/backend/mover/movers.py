"""Ways to place memory by itself, side by side on machines of the same scenario: nothing, the automatic mover, numad's
way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.scenario.open import open_scenario
from backend.emulator.tasks.scheduler import confine, load, schedule
from backend.mover.mover import Mover
from backend.mover.policy import parse_policy
from backend.nodeset import NodeSet

SECONDS = 90
STEP = 0.25
POLICY = "{interval: 2s, settle: 4s, readings: 2, cooldown: 30s, min_size: 4M, max_rate: 0}"
"""As the usual one, but for machines that are looked at for a minute and a half."""


@dataclass
class Run:
    """`work`: accesses a second of all tasks, on average; `pages`: moved; `moves`: how often each process was moved."""

    work: float = 0.0
    pages: int = 0
    moves: Counter[int] = field(default_factory=Counter[int])


def run(name: str, way: Callable[[EmulatedKernel, Run, int], None], seconds: int = SECONDS) -> Run:
    """`way` is called every two seconds of the machine."""
    kernel = open_scenario(name)
    machine, out = kernel.machine, Run()
    done, due, turn = 0.0, 0.0, 0
    while machine.now < seconds:
        if machine.now >= due:
            before = machine.now
            way(kernel, out, turn)
            done += rate(kernel) * (machine.now - before)
            due, turn = due + 2.0, turn + 1
        machine.advance(STEP)
        done += rate(kernel) * STEP
    out.work = done / machine.now
    out.pages = moved_pages(kernel)
    return out


def rate(kernel: EmulatedKernel) -> float:
    return sum(thread.rate for task in kernel.machine.tasks.values() for thread in task.threads)


def moved_pages(kernel: EmulatedKernel) -> int:
    for line in kernel.read("/proc/vmstat").split(b"\n"):
        if line.startswith(b"pgmigrate_success "):
            return int(line.split()[1])
    return 0


def nothing(kernel: EmulatedKernel, out: Run, turn: int) -> None:
    return


class OurMover:
    """`numatui watch --apply`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mover: Mover | None = None

    def __call__(self, kernel: EmulatedKernel, out: Run, turn: int) -> None:
        if self.mover is None:
            self.mover = Mover(kernel, parse_policy(POLICY), dry=False, journal_dir=self.folder)
        for one in self.mover.round(0.0):
            if one.outcome is not None and one.outcome.moved:
                out.moves[one.process.pid] += 1


class Numad:
    """As numad(8) goes about it: every process that is busy and large enough is bound, with its threads and all its
    memory, to the node where most is free of CPUs and memory together; one a round, the busiest first; again where it
    does not fit any more."""

    def __init__(self) -> None:
        self.bound: dict[int, int] = {}

    def __call__(self, kernel: EmulatedKernel, out: Run, turn: int) -> None:
        machine = kernel.machine
        if turn % 3:
            return
        busy = [
            task
            for task in machine.tasks.values()
            if task.mm is not None and task.threads and sum(thread.rate for thread in task.threads) > 0
        ]
        used = load(machine)
        for task in sorted(busy, key=lambda one: -sum(thread.rate for thread in one.threads)):
            if task.pid in self.bound:
                continue
            resident = sum(vma.pages for vma in task.mm.vmas) if task.mm is not None else 0
            free = {
                node: (
                    machine.frames.zones[node].free if node in machine.frames.zones else 0,
                    sum(not used[cpu] for cpu in machine.nodes[node].cpus),
                )
                for node in machine.nodes
            }
            fits = [node for node, (pages, cpus) in free.items() if pages > resident and machine.nodes[node].cpus]
            if not fits:
                continue
            best = max(fits, key=lambda node: (free[node][0] * (free[node][1] + 0.1), -node))
            cpus = machine.nodes[best].cpus & task.cpus_allowed
            if not cpus:
                continue
            schedule(machine, task, next(iter(cpus)))
            confine(machine, task, cpus)
            others = NodeSet(machine.nodes) - NodeSet([best])
            try:
                kernel.migrate_pages(task.pid, 65, others.mask(), NodeSet([best]).mask())
            except OSError:
                continue
            self.bound[task.pid] = best
            out.moves[task.pid] += 1
            return
