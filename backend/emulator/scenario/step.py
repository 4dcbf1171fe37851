"""A step of a scenario: what it may name, what it is told, and where it acts."""

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
"""The first and the last of some pages, counted from the start of a region or file."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a step can name: nodes, CPUs with their nodes, processes so far, files by `filesystem/name`."""

    nodes: NodeSet
    cpus: Mapping[int, int]
    processes: Mapping[str, ProcessSpec]
    files: Mapping[str, FileSpec]


@dataclass(frozen=True, slots=True)
class StepContext:
    """Where a step acts: a task, and a region of it where the step names one. `tasks`: all of them by the names that
    the scenario gives them. `forked`: to be told of a child and its name."""

    machine: Machine
    task: Task
    named_region: Region | None
    forked: Callable[[str, Task], None]
    tasks: Mapping[str, Task]

    @property
    def region(self) -> Region:
        """The region, for steps that name one."""
        assert self.named_region is not None
        return self.named_region

    def index(self, pages: Pages | None) -> Indices:
        """Page indices in the region; all of it for None."""
        first, last = pages or (0, self.region.pages - 1)
        return np.arange(first, last + 1, dtype=np.int64)

    def spans(self, pages: Pages | None) -> Iterator[tuple[Vma, Indices]]:
        """The same pages, VMA by VMA."""
        mm = self.task.mm
        return mm.spans(self.region.start, self.index(pages)) if mm is not None else iter(())


@dataclass(frozen=True, slots=True)
class Action:
    """What one step does, with its arguments as fields: those without a default have to be given. A field `from_` is
    the key `from`. `of_task`: it names a task besides."""

    of_task: ClassVar[bool] = True

    def run(self, at: StepContext) -> Events:
        """Do it. Returns an int or None; OSError is an outcome too."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens at a time (simulated seconds). `given`: its arguments by key, as far as they were
    written."""

    at: float
    call: str
    task: str
    action: Action
    given: Mapping[str, object] = field(default_factory=dict[str, object])


def key_of(name: str) -> str:
    """The key in a scenario of a field of an action."""
    return name.rstrip("_")


def required_keys(kind: type[Action]) -> tuple[str, ...]:
    return tuple(key_of(one.name) for one in fields(kind) if one.default is MISSING)


def optional_keys(kind: type[Action]) -> tuple[str, ...]:
    return tuple(key_of(one.name) for one in fields(kind) if one.default is not MISSING)
