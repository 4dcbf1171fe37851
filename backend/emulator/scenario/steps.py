"""The steps of a scenario: the arguments of each, and what it does on a machine."""

from __future__ import annotations

import errno
import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.emulator.abi import policy_calls, syscalls
from backend.emulator.abi.syscalls import Caller
from backend.emulator.frames.memory_block import blocks_of
from backend.emulator.frames.page_lock import Events
from backend.emulator.migration import hotplug
from backend.emulator.mm import fork, ksm, mempolicy, mlock
from backend.emulator.mm.fault import touch
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import PTE_PRESENT, PTE_WRITE, VM, Indices, Vma
from backend.emulator.scenario import cpuset_steps
from backend.emulator.scenario.layout import find_file
from backend.emulator.scenario.region import Region
from backend.emulator.storage import file_io
from backend.emulator.storage.filesystem import MAX_PAGES, AddressSpace
from backend.emulator.storage.page_cache import truncate
from backend.emulator.storage.swapoff import swapoff
from backend.emulator.tasks.scheduler import schedule
from backend.emulator.tasks.task import Task
from backend.errors import os_error
from backend.kernel import MoveFlag
from backend.nodeset import CpuSet, NodeSet

if TYPE_CHECKING:
    from backend.emulator.machine import Machine
    from backend.emulator.scenario.describe_files import FileSpec
    from backend.emulator.scenario.describe_processes import ProcessSpec
    from backend.emulator.scenario.description import Step
    from backend.files.yaml_reader import Value


MAX_IO = 1 << 20
"""Pages of a file that one step reads or writes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step acts: a task, and a region of it where the step has one. `tasks`: all of them by the names that the
    scenario gives them."""

    machine: Machine
    task: Task
    region: Region | None
    arguments: dict[str, Any]
    forked: Callable[[str, Task], None]
    tasks: Mapping[str, Task]

    def index(self) -> Indices:
        """The page indices that the step names; all of the region by default."""
        first, last = self.arguments.get("pages") or (0, self.where.pages - 1)
        return np.arange(first, last + 1, dtype=np.int64)

    @property
    def where(self) -> Region:
        """The region, for steps that have one."""
        assert self.region is not None
        return self.region

    def spans(self) -> Iterator[tuple[Vma, Indices]]:
        """The pages that the step names, VMA by VMA."""
        mm = self.task.mm
        return mm.spans(self.where.start, self.index()) if mm is not None else iter(())


@dataclass(frozen=True, slots=True)
class Known:
    """What a step can name: nodes, CPUs with their nodes, processes so far, files by `filesystem/name`."""

    nodes: NodeSet
    cpus: Mapping[int, int]
    processes: Mapping[str, ProcessSpec]
    files: Mapping[str, FileSpec]


@dataclass(frozen=True, slots=True)
class StepKind:
    """One step: its arguments besides `task` (where it is `of_task`), and what it does (an int or None; OSError is its outcome too)."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    run: Callable[[Place], Events]
    of_task: bool = True

    def parse(self, at: float, call: str, body: Value, known: Known) -> Step:
        """Raises ParseError naming file, line and key."""
        from backend.emulator.scenario.description import Step

        own = ("task",) if self.of_task else ()
        keys = body.mapping((*own, *self.required, *self.optional), (*own, *self.required))
        process: ProcessSpec | None = None
        if self.of_task:
            name = keys.pop("task")
            process = known.processes.get(name.text())
            if process is None:
                name.fail(
                    f"there is no process '{name.text(100)}'",
                    f"there are {', '.join(known.processes) or 'none'}",
                )
        arguments: dict[str, Any] = {}
        regions = {region.name: region for region in process.memory} if process else {}
        for key, value in keys.items():
            arguments[key] = _ARGUMENTS[key](value, known)
        if "file" in arguments and "pages" in arguments:
            first, last = arguments["pages"]
            if last - first >= MAX_IO or last >= MAX_PAGES:
                keys["pages"].fail(
                    "is too much for one step", f"{MAX_IO} pages at most, of the first {MAX_PAGES}"
                )
        if "region" in arguments and process:
            region = regions.get(arguments["region"])
            if region is None:
                keys["region"].fail(
                    f"'{process.name}' has no region '{arguments['region']}'",
                    f"it has {', '.join(regions) or 'none'}",
                )
            if "pages" in arguments and arguments["pages"][1] >= region.pages:
                keys["pages"].fail(f"the region has the pages 0-{region.pages - 1}")
        return Step(at, call, process.name if process else "", arguments)


def _nodes(value: Value, known: Known) -> NodeSet:
    return value.through(lambda text: NodeSet.parse(text, known.nodes))


def _pages(value: Value, known: Known) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", value.text().strip())
    if not match or int(match[2] or match[1]) < int(match[1]):
        value.fail("is not a page or a range of pages", "write it like 0-99")
    return int(match[1]), int(match[2] or match[1])


def _cpu(value: Value, known: Known) -> int:
    cpu = value.integer()
    if cpu not in known.cpus:
        value.fail(f"there is no CPU {cpu}")
    return cpu


def _cpus(value: Value, known: Known) -> CpuSet:
    chosen = value.through(CpuSet.parse_list)
    if not chosen.issubset(CpuSet(known.cpus)):
        value.fail(f"there is no CPU {chosen - CpuSet(known.cpus)}")
    return chosen


def _node(value: Value, known: Known) -> int:
    node = value.integer()
    if node not in known.nodes:
        value.fail(f"there is no node {node}", f"the nodes are {known.nodes}")
    return node


def _policy(value: Value, known: Known) -> Mempolicy:
    return value.through(lambda text: mempolicy.parse(text, known.nodes))


def _file(value: Value, known: Known) -> str:
    path = value.text()
    if path not in known.files:
        value.fail(f"there is no file '{value.text(200)}'", f"there are {', '.join(known.files) or 'none'}")
    return path


def _move(value: Value, known: Known) -> str:
    if value.text() not in _MOVES:
        value.fail(f"must be one of {', '.join(_MOVES)}")
    return value.text()


_MOVES = {"none": 0, "own": int(MoveFlag.MOVE), "all": int(MoveFlag.MOVE_ALL)}
_ARGUMENTS: dict[str, Callable[[Value, Known], Any]] = {
    "from": _nodes,
    "to": _nodes,
    "node": _node,
    "cpu": _cpu,
    "policy": _policy,
    "child": lambda value, known: value.text(15),
    "move": _move,
    "strict": lambda value, known: value.truth(),
    "pages": _pages,
    "region": lambda value, known: value.text(),
    "write": lambda value, known: value.truth(),
    "all": lambda value, known: value.truth(),
    "for": lambda value, known: value.seconds(),
    "file": _file,
    "size": lambda value, known: value.size(),
    "block": lambda value, known: value.integer(0, 1 << 20),
    "value": lambda value, known: value.integer(0, 1 << 48),
    "wait": lambda value, known: value.truth(),
    "thread": lambda value, known: value.integer(0, 4095),
    "as": lambda value, known: value.integer(0, 1 << 31) if value.text().isdigit() else value.text(),
    "cpuset": lambda value, known: value.text(255),
    "mems": _nodes,
    "cpus": _cpus,
    "memory_migrate": lambda value, known: value.truth(),
    "path": lambda value, known: value.text(),
    "data": lambda value, known: value.text(),
}


def _caller(place: Place, own: bool = False) -> Caller:
    """A uid with no task (0 by default), or a process by its name; the task itself by default where `own`."""
    who: int | str | None = place.arguments.get("as")
    if isinstance(who, str):
        task = place.tasks.get(who)
        if task is None or not task.alive:
            raise os_error(errno.ESRCH)
        return syscalls.caller_of(task)
    if own and who is None:
        return syscalls.caller_of(place.task)
    return Caller(who or 0, not who, place.task.pid if own else 1)


def _touch(place: Place) -> Events:
    threads = place.task.threads
    number: int = place.arguments.get("thread", 0)
    thread = threads[number % len(threads)]
    if "value" in place.arguments and not place.arguments.get("write", True):
        raise os_error(errno.EINVAL)
    yield from touch(
        place.machine,
        place.task,
        thread,
        place.where.start,
        place.index(),
        place.arguments.get("write", True),
    )
    if "value" in place.arguments:
        _same_value(place)
    return 0


def _same_value(place: Place) -> None:
    """What was written is the same for all pages that can be written to."""
    for vma, index in place.spans():
        at = index[(vma.pte[index] & (PTE_PRESENT | PTE_WRITE)) == PTE_PRESENT | PTE_WRITE]
        vma.mark(place.machine.frames, at, write=True)
        place.machine.store(vma, at, place.arguments["value"])


def _ksm(place: Place) -> Events:
    return (yield from ksm.merge(place.machine, place.task, place.where.start, place.index()))


def _schedule(place: Place) -> Events:
    schedule(place.machine, place.task, place.arguments["cpu"])
    yield from place.machine.step("schedule", 0.0)
    return 0


def _migrate_pages(place: Place) -> Events:
    old, new = place.arguments["from"], place.arguments["to"]
    bits = max(len(old.mask()), len(new.mask())) * 8
    return (
        yield from syscalls.migrate_pages(
            place.machine, _caller(place), place.task.pid, old.maxnode(bits), old.mask(bits), new.mask(bits)
        )
    )


def _move_pages(place: Place) -> Events:
    size = place.machine.page_size
    pages = array("Q", (place.where.start + place.index() * size).astype(np.uint64).tobytes())
    nodes = array("i", [place.arguments["node"]]) * len(pages)
    status = array("i", [0]) * len(pages)
    flags = MoveFlag.MOVE_ALL if place.arguments.get("all") else MoveFlag.MOVE
    return (
        yield from syscalls.move_pages(
            place.machine, _caller(place), place.task.pid, pages, nodes, status, flags
        )
    )


def _set_mempolicy(place: Place) -> Events:
    policy: Mempolicy = place.arguments["policy"]
    caller = syscalls.caller_of(place.task)
    nodes = policy.asked or policy.nodes
    return (
        yield from policy_calls.set_mempolicy(
            place.machine, caller, policy.mode | policy.flags, nodes.maxnode(), nodes.mask()
        )
    )


def _mbind(place: Place) -> Events:
    policy: Mempolicy = place.arguments["policy"]
    index = place.index()
    size = place.machine.page_size
    flags = _MOVES[place.arguments.get("move", "none")] | (
        MoveFlag.STRICT if place.arguments.get("strict") else 0
    )
    nodes = policy.asked or policy.nodes
    return (
        yield from policy_calls.mbind(
            place.machine, _caller(place, own=True), place.where.start + int(index[0]) * size,
            len(index) * size, policy.mode | policy.flags, nodes.maxnode(), nodes.mask(), flags,
        )
    )  # fmt: skip


def _dontneed(place: Place) -> Events:
    """madvise(MADV_DONTNEED): EINVAL for locked memory and huge pages of the pool."""
    m, mm = place.machine, place.task.mm
    if mm is None:
        raise os_error(errno.ESRCH)
    yield from mm.lock.down_read(m.env)
    try:
        yield from m.step("dontneed", 0.0)
        spans = list(place.spans())
        if any(vma.flags & (VM.LOCKED | VM.HUGETLB | VM.IO) for vma, _ in spans):
            raise os_error(errno.EINVAL)
        for vma, index in spans:
            m.zap(vma, index, place.task.leader.cpu)
    finally:
        mm.lock.up_read()
    return 0


def _pin(place: Place) -> Events:
    """Hold the resident ones of the pages, as get_user_pages() does for I/O, for a time."""
    m = place.machine
    held: list[int] = []
    for vma, index in place.spans():
        held += vma.pfns(index[(vma.pte[index] & PTE_PRESENT) != 0]).tolist()
    for pfn in held:
        m.locks.get_page(pfn)
    yield from m.step("pinned", place.arguments["for"])
    for pfn in held:
        m.locks.put_page(pfn)
    return len(held)


def _mlock(place: Place) -> Events:
    first, count = place.index()[0], len(place.index())
    address = place.where.start + int(first) * place.machine.page_size
    return (yield from mlock.mlock(place.machine, place.task, address, count))


def _munlock(place: Place) -> Events:
    first, count = place.index()[0], len(place.index())
    address = place.where.start + int(first) * place.machine.page_size
    return (yield from mlock.munlock(place.machine, place.task, address, count))


def _fork(place: Place) -> Events:
    """The pid of the child, which later steps know by its name."""
    child: Task = yield from fork.fork(place.machine, place.task, place.arguments["child"])
    place.forked(place.arguments["child"], child)
    return child.pid


def _block(place: Place) -> int:
    """A node's memory block by its position."""
    blocks = blocks_of(place.machine.frames, place.arguments["node"])
    position: int = place.arguments["block"]
    if position >= len(blocks):
        raise os_error(errno.ENOENT)
    return blocks[position]


def _offline(place: Place) -> Events:
    if "block" in place.arguments:
        return (yield from hotplug.offline_block(place.machine, _block(place)))
    return (yield from hotplug.offline(place.machine, place.arguments["node"]))


def _online(place: Place) -> Events:
    if "block" in place.arguments:
        return (yield from hotplug.online_block(place.machine, _block(place)))
    return (yield from hotplug.online(place.machine, place.arguments["node"]))


def _bad_page(place: Place) -> Events:
    """The frame that holds the first of the pages is found to be bad."""
    for vma, index in place.spans():
        present = index[(vma.pte[index] & PTE_PRESENT) != 0]
        if len(present):
            return (yield from hotplug.bad_page(place.machine, int(vma.pfns(present)[0])))
    raise os_error(errno.EFAULT)


def _file_of(place: Place) -> AddressSpace:
    space = find_file(place.machine, place.arguments["file"])
    if space is None:
        raise os_error(errno.ENOENT)
    return space


def _pages_of_file(place: Place, space: AddressSpace) -> Indices:
    first, last = place.arguments.get("pages") or (0, min(space.size, MAX_IO) - 1)
    return np.arange(first, last + 1, dtype=np.int64)


def _read(place: Place) -> Events:
    space = _file_of(place)
    index = _pages_of_file(place, space)
    return (yield from file_io.read(place.machine, place.task, place.task.leader, space, index))


def _write(place: Place) -> Events:
    space = _file_of(place)
    index = _pages_of_file(place, space)
    if not len(index):
        return 0
    return (yield from file_io.write(place.machine, place.task, place.task.leader, space, index))


def _fsync(place: Place) -> Events:
    return (yield from file_io.fsync(place.machine, _file_of(place)))


def _msync(place: Place) -> Events:
    wait = place.arguments.get("wait", True)
    return (yield from file_io.msync(place.machine, place.task, place.where.start, place.index(), wait))


def _truncate(place: Place) -> Events:
    pages = -(-place.arguments["size"] // place.machine.page_size)
    return (yield from truncate(place.machine, _file_of(place), pages, place.task.leader.cpu))


def _unlink(place: Place) -> Events:
    return (yield from file_io.unlink(place.machine, _file_of(place), place.task.leader.cpu))


def _swapoff(place: Place) -> Events:
    return (yield from swapoff(place.machine))


def _exit(place: Place) -> Events:
    place.machine.exit(place.task)
    yield from place.machine.step("exit", 0.0)
    return 0


STEPS: dict[str, StepKind] = {
    "touch": StepKind(("region",), ("pages", "write", "thread", "value"), _touch),
    "schedule": StepKind(("cpu",), (), _schedule),
    "migrate_pages": StepKind(("from", "to"), ("as",), _migrate_pages),
    "move_pages": StepKind(("region", "node"), ("pages", "all", "as"), _move_pages),
    "set_mempolicy": StepKind(("policy",), (), _set_mempolicy),
    "mbind": StepKind(("region", "policy"), ("pages", "move", "strict", "as"), _mbind),
    "dontneed": StepKind(("region",), ("pages",), _dontneed),
    "pin": StepKind(("region", "for"), ("pages",), _pin),
    "fork": StepKind(("child",), (), _fork),
    "mlock": StepKind(("region",), ("pages",), _mlock),
    "munlock": StepKind(("region",), ("pages",), _munlock),
    "ksm": StepKind(("region",), ("pages",), _ksm),
    "offline": StepKind(("node",), ("block",), _offline, of_task=False),
    "online": StepKind(("node",), ("block",), _online, of_task=False),
    "bad_page": StepKind(("region",), ("pages",), _bad_page),
    "read": StepKind(("file",), ("pages",), _read),
    "write": StepKind(("file",), ("pages",), _write),
    "fsync": StepKind(("file",), (), _fsync, of_task=False),
    "msync": StepKind(("region",), ("pages", "wait"), _msync),
    "truncate": StepKind(("file", "size"), (), _truncate, of_task=False),
    "unlink": StepKind(("file",), (), _unlink, of_task=False),
    "swapoff": StepKind((), (), _swapoff, of_task=False),
    "cpuset": StepKind(("cpuset",), ("mems", "cpus", "memory_migrate"), cpuset_steps.change, of_task=False),
    "attach": StepKind(("cpuset",), (), cpuset_steps.attach),
    "echo": StepKind(
        ("path", "data"), ("as",), lambda place: cpuset_steps.write(place, _caller(place)), of_task=False
    ),
    "exit": StepKind((), (), _exit),
}
