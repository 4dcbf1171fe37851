"""Steps of a scenario: their arguments, and the context in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import ClassVar

import numpy as np

from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import Indices, Vma
from backend.emulator.mm.region import Region
from backend.emulator.scenario.describe_files import FileSpec
from backend.emulator.scenario.describe_processes import ProcessSpec
from backend.emulator.tasks.task import Task
from backend.nodeset import NodeSet

Pages = tuple[int, int]
"""(first, last) page index, inclusive, from the start of a region or file."""


@dataclass(frozen=True, slots=True)
class Known:
    """The names that a step may use. `cpus`: CPU → node. `processes`: by name, as far as known so far. `files`: by
    `filesystem/name`."""

    nodes: NodeSet
    cpus: Mapping[int, int]
    processes: Mapping[str, ProcessSpec]
    files: Mapping[str, FileSpec]


@dataclass(frozen=True, slots=True)
class StepContext:
    """Context in which a step runs. `named_region`: the task's region, if the step names one. `tasks`: all tasks by
    their names in the scenario. `forked`: to be called with the name and task of a new child."""

    machine: Machine
    task: Task
    named_region: Region | None
    forked: Callable[[str, Task], None]
    tasks: Mapping[str, Task]

    @property
    def region(self) -> Region:
        """The named region; only for steps that name one."""
        assert self.named_region is not None
        return self.named_region

    def index(self, pages: Pages | None) -> Indices:
        """Page indices in the region; None means all of them."""
        first, last = pages or (0, self.region.pages - 1)
        return np.arange(first, last + 1, dtype=np.int64)

    def spans(self, pages: Pages | None) -> Iterator[tuple[Vma, Indices]]:
        """The same pages as (VMA, indices in the VMA)."""
        mm = self.task.mm
        return mm.spans(self.region.start, self.index(pages)) if mm is not None else iter(())


@dataclass(frozen=True, slots=True)
class Action:
    """The action of a step. Its fields are the step's arguments; fields without a default are required. The field
    `from_` is the key `from`. `of_task`: the step also has the key `task`."""

    of_task: ClassVar[bool] = True

    def run(self, at: StepContext) -> Events:
        """Kernel path of the action. Returns an int or None. An OSError becomes the step's outcome."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Step:
    """A step. `at`: start time in simulated seconds. `call`: name of its action. `given`: the arguments in the
    scenario, by key."""

    at: float
    call: str
    task: str
    action: Action
    given: Mapping[str, object] = field(default_factory=dict[str, object])


def key_of(name: str) -> str:
    """The scenario key of a field of an action."""
    return name.rstrip("_")


def required_keys(kind: type[Action]) -> tuple[str, ...]:
    return tuple(key_of(one.name) for one in fields(kind) if one.default is MISSING)


def optional_keys(kind: type[Action]) -> tuple[str, ...]:
    return tuple(key_of(one.name) for one in fields(kind) if one.default is not MISSING)
