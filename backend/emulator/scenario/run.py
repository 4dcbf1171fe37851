"""Builds the machine of a scenario, runs its steps and reports the result."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import simpy

from backend.emulator.boot import boot
from backend.emulator.frames.page_lock import Events
from backend.emulator.inspect.audit import damaged_pages
from backend.emulator.inspect.trace import Tracer, find_page
from backend.emulator.machine import Machine
from backend.emulator.mm.file_fault import BusError
from backend.emulator.mm.huge_pages import fill_pool
from backend.emulator.mm.mm import PTE_PRESENT, PTE_SWAP
from backend.emulator.mm.placing import OutOfMemory, SegmentationFault
from backend.emulator.mm.region import Region
from backend.emulator.scenario.describe_processes import ProcessSpec, RegionSpec
from backend.emulator.scenario.description import Description
from backend.emulator.scenario.layout import map_region
from backend.emulator.scenario.step import Step, StepContext
from backend.emulator.storage.file_io import create, mount
from backend.emulator.storage.filesystem import AddressSpace
from backend.emulator.storage.writeback import flusher
from backend.emulator.tasks.cgroup import Cpuset
from backend.emulator.tasks.cpuset import Cpusets
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.scheduler import balancer
from backend.emulator.tasks.task import Task
from backend.emulator.tasks.workload import run_thread
from backend.errors import UsageError, errno_name, os_error
from backend.files.yaml_reader import MAX_SECONDS


@dataclass(frozen=True, slots=True)
class Built:
    """A built machine. `tasks`: by name. `regions`: by task and region name. `steps`: the simpy processes of its steps.
    `outcomes`: a dict for each step, filled when the step runs."""

    machine: Machine
    tasks: dict[str, Task]
    regions: dict[str, dict[str, Region]]
    steps: list[simpy.Process]
    outcomes: list[dict[str, Any]]


Observer = Callable[[Built, Step, bool], object]
_LONGEST = 2 * MAX_SECONDS  # Simulated seconds for all steps; the last may start at MAX_SECONDS.


def build(
    description: Description,
    with_steps: bool = True,
    observer: Observer = lambda built, step, done: None,
    watch: bool = False,
) -> Built:
    """Build the machine at time zero: memory filled, workloads and steps waiting to run. `observer`: called before each
    step (False) and after it (True). `watch`: record the last value written to every page. Raises UsageError if the
    processes do not fit, or if the host has too little memory."""
    try:
        return _build(description, with_steps, observer, watch)
    except MemoryError:
        raise _too_large() from None


def _build(description: Description, with_steps: bool, observer: Observer, watch: bool) -> Built:
    m = boot(replace(description.machine, watch=watch))
    m.balancing.mode = description.numa_balancing
    m.demotion = description.demotion
    first_cpu = next(iter(m.node_of_cpu))
    spawn(m, "init", cpu=first_cpu, command="/sbin/init")
    spawn(m, "kthreadd", cpu=first_cpu, kernel_thread=True)
    built = Built(m, {}, {}, [], [])
    for node, pages in description.hugepages.items():
        if fill_pool(m, node, pages) < pages:
            raise UsageError(f"node {node} has no room for {pages} huge pages", "make the pool smaller")
    for filesystem in description.filesystems:
        mounted = mount(m, filesystem.name, filesystem.type, filesystem.write, filesystem.read)
        for file in filesystem.files:
            create(m, mounted, f"/{file.path}", file.pages)
        if description.writeback:
            m.start(flusher(m, mounted, description.writeback), "pdflush")
    cpusets: dict[str, Cpuset] = {"": m.cpusets.root}
    for one in description.cpusets:
        cpusets[one.name] = Cpusets.of(m).create(one.name, cpusets[one.parent], one.mems, one.cpus, one.memory_migrate)
    m.number_from(max((spec.pid + 1 for spec in description.processes if spec.pid is not None), default=0))
    for spec in description.processes:
        _spawn(built, spec, cpusets[spec.cpuset])
    m.pagevecs.flush()
    if description.balance:
        m.start(balancer(m, description.balance), "scheduler")
    if with_steps:
        for step in description.steps:
            outcome: dict[str, Any] = {
                "call": step.call,
                "task": step.task,
                "arguments": {name: _argument(value) for name, value in step.given.items()},
                "at": step.at,
                "seconds": 0.0,
                "result": None,
                "errno": None,
            }
            built.outcomes.append(outcome)
            built.steps.append(m.start(_step(built, step, outcome, observer), f"{step.call} {step.task}".strip()))
    return built


def run_scenario(description: Description, seed: int | None = None, trace: str = "") -> dict[str, Any]:
    """Run all steps to their end, and on to the description's `run` time. Returns the report of `numatui emulate`
    (schema numatui/emulate/1). `trace`: a page to trace (`trace.find_page`); its rows are added to the report. Raises
    UsageError."""
    if seed is not None:
        description = replace(description, machine=replace(description.machine, seed=seed))
    built = build(description, watch=True)
    tracer = None
    if trace:
        task, address = find_page(built.machine, built.tasks, built.regions, trace)
        tracer = built.machine.tracer = Tracer(built.machine, task, address)
        tracer.see("start")
    finish(description, built)
    out = report(description, built)
    if tracer is not None:
        tracer.see("end")
        out["trace"] = tracer.report()
    return out


def finish(description: Description, built: Built) -> None:
    """Run until all steps are done, and on to the description's `run` time. Raises UsageError."""
    m = built.machine
    try:
        if built.steps:
            done = m.env.all_of(built.steps)
            m.env.run(until=done | m.env.timeout(_LONGEST))
            if not done.processed:
                raise UsageError(
                    f"the steps are not done after {_LONGEST:g} simulated seconds", "make the costs smaller"
                )
        if description.run > m.now:
            m.advance(description.run - m.now)
    except MemoryError:
        raise _too_large() from None


def _too_large() -> UsageError:
    return UsageError(
        "this computer has not enough memory to emulate that", "make it smaller, or choose a larger page_size"
    )


def report(description: Description, built: Built) -> dict[str, Any]:
    """The report: placement of pages, outcomes of steps, counters, times."""
    m = built.machine
    return {
        "scenario": description.name,
        "profile": m.profile.name,
        "seconds": m.now,
        "page_size": m.page_size,
        "nodes": [
            {
                "id": node.id,
                "pages": node.pages,
                "kept_out": m.frames.zones[node.id].kept_out,
                "free": m.frames.zones[node.id].free,
                **m.frames.zones[node.id].numastat,
            }
            for node in m.nodes.values()
        ],
        "steps": built.outcomes,
        "tasks": {
            name: {
                "pid": task.pid,
                "node": m.node_of_cpu[task.leader.cpu],
                "exited": task.exited or None,
                "throughput": round(sum(thread.rate for thread in task.threads)),
                "vmas": [_region_report(m, task, region) for region in built.regions[name].values()],
            }
            for name, task in built.tasks.items()
        },
        "files": [_file_report(m, space) for fs in m.filesystems.values() for space in fs.files.values()],
        "damaged_pages": damaged_pages(m),
        "counters": {"swap_slots_used": m.swap.used, **dict(sorted(m.counters.items()))},
    }


def _region_report(m: Machine, task: Task, region: Region) -> dict[str, Any]:
    counts = np.zeros(m.node_slots, np.int64)
    swap = 0
    policies: list[str] = []
    for vma, index in region.spans(task.mm):
        pte = vma.pte[index]
        counts += np.bincount(m.frames.nid[vma.pfns(index[(pte & PTE_PRESENT) != 0])], minlength=m.node_slots)
        swap += int(np.count_nonzero(pte & PTE_SWAP))
        policies.append(str(vma.policy or task.policy))
    return {
        "name": region.name,
        "kind": region.kind,
        "policy": ", ".join(dict.fromkeys(policies)) or str(task.policy),
        "pages": region.pages,
        "nodes": {str(node): int(counts[node]) for node in np.nonzero(counts)[0].tolist()},
        "swap": swap,
    }


def _argument(value: object) -> object:
    """An argument of a step as JSON data; a page range becomes `first-last`."""
    if isinstance(value, tuple):
        return "-".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _file_report(m: Machine, space: AddressSpace) -> dict[str, Any]:
    """A file's pages in the page cache, by node."""
    pfns = space.pages[space.pages >= 0]
    counts = np.bincount(m.frames.nid[pfns], minlength=m.node_slots)
    return {
        "path": space.path.lstrip("/"),
        "type": space.fs.type.name,
        "pages": space.size,
        "nodes": {str(node): int(counts[node]) for node in np.nonzero(counts)[0].tolist()},
        "dirty": int(np.count_nonzero(space.dirty)),
    }


def _spawn(built: Built, spec: ProcessSpec, cpuset: Cpuset) -> None:
    m = built.machine
    task = spawn(m,
        spec.name, cpu=spec.cpus[0], uid=spec.uid, command=spec.command, threads=spec.cpus[1:], policy=spec.policy,
        cpuset=cpuset, suid=spec.suid, caps=spec.caps, pid=spec.pid,
    )  # fmt: skip
    regions = {region.name: map_region(m, task, region, _shared_object(built, region)) for region in spec.memory}
    built.tasks[spec.name] = task
    built.regions[spec.name] = regions
    used = [(regions[region.name], region.access) for region in spec.memory if region.access is not None]
    for thread in task.threads:
        thread.running = bool(used)
        if used:
            m.start(run_thread(m, task, thread, used), f"{spec.name}/{thread.tid}")


def _shared_object(built: Built, spec: RegionSpec) -> AddressSpace | None:
    """The object of the region of the same name in the process `shared_with`."""
    if not spec.shared_with:
        return None
    region = built.regions[spec.shared_with][spec.name]
    mm = built.tasks[spec.shared_with].mm
    vma = mm.find(region.start) if mm is not None else None
    return vma.file if vma is not None else None


def _step(built: Built, step: Step, outcome: dict[str, Any], observer: Observer) -> Events:
    """Kernel path of a step: wait until its time, run it, and store its result or errno in `outcome`. The errno is
    ESRCH if the task has exited."""
    m = built.machine
    yield m.env.timeout(step.at)
    task = built.tasks.get(step.task) if step.task else m.tasks[1]
    began = m.now

    def forked(name: str, child: Task) -> None:
        built.tasks[name] = child
        built.regions[name] = built.regions[step.task]

    try:
        if task is None or not task.alive:
            raise os_error(errno.ESRCH)
        observer(built, step, False)
        region = built.regions.get(step.task, {}).get(str(step.given.get("region", "")))
        outcome["result"] = yield from step.action.run(StepContext(m, task, region, forked, built.tasks))
    except OSError as exc:
        outcome["errno"] = errno_name(exc.errno or 0)
    except OutOfMemory:
        outcome["errno"] = "ENOMEM"
    except BusError:
        outcome["errno"] = "SIGBUS"
    except SegmentationFault:
        outcome["errno"] = "EFAULT"
    outcome["seconds"] = m.now - began
    observer(built, step, True)
