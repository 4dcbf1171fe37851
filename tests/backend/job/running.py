"""Jobs on one process, as tests of the engine run them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.job.events import Event, Progressed
from backend.job.job import Job
from backend.job.options import Options
from backend.job.outcome import Outcome, Progress
from backend.machine.kernel_info import release
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from backend.placement.numa_maps import read_placement
from backend.plan.conditions import read_conditions
from backend.plan.plan import Method, Plan, Subject
from backend.plan.planner import make_plan
from backend.plan.remap import rule_of
from backend.process.process import Process, read_process


@dataclass
class Told:
    """The outcome of a job with one process: what its part has, and the name of the job."""

    whole: Outcome

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole.parts[0], name)

    @property
    def job(self) -> str:
        return self.whole.job

    @property
    def moved(self) -> int:
        return self.whole.moved

    @property
    def left(self) -> dict[Any, int]:
        return self.whole.left

    @property
    def error(self) -> str:
        return "; ".join(self.whole.errors)

    @property
    def complete(self) -> bool:
        return self.whole.complete


def plan_for(
    kernel: Any,
    process: Process,
    sources: Sequence[int],
    targets: Sequence[int],
    method: Method = "auto",
    move_all: bool = False,
    max_rate: int = 0,
) -> Plan:
    topology = read_topology(kernel)
    return make_plan(
        [Subject(process, read_placement(kernel, process.pid))], NodeSet(sources), NodeSet(targets), topology,
        rule=rule_of(release(kernel)), method=method, move_all=move_all, page_size=kernel.page_size, max_rate=max_rate,
        conditions=read_conditions(kernel, topology, method),
    )  # fmt: skip


def run_job(
    kernel: Any,
    plan: Plan,
    folder: Path,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    **options: Any,
) -> Told:
    """`folder`: of the journals."""

    def on_event(event: Event) -> None:
        if on_progress is not None and isinstance(event, Progressed):
            on_progress(event.progress)

    return Told(Job(kernel, plan, Options(journal_dir=folder, **options)).run(on_event, cancel))


PLANNED = ("method", "move_all", "max_rate")


def move(kernel: Any, pid: int, sources: Sequence[int], targets: Sequence[int], tmp_path: Path, **options: Any) -> Told:
    """Plan, and carry it out; `options` of both."""
    how = {name: options.pop(name) for name in PLANNED if name in options}
    plan = plan_for(kernel, read_process(kernel, pid), sources, targets, **how)
    return run_job(kernel, plan, tmp_path / "jobs", **options)
