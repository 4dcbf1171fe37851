"""Build a described machine, and run its scenario to a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import simpy

from backend.emulator.description import Description, ProcessSpec, RegionSpec, Step
from backend.emulator.fault import OutOfMemory, SegmentationFault, anonymous_pages, map_new
from backend.emulator.machine import Machine
from backend.emulator.mm import PTE_PRESENT, PTE_SWAP, Vma
from backend.emulator.page_lock import Events
from backend.emulator.region import Region
from backend.emulator.scheduler import balancer
from backend.emulator.steps import STEPS, Place
from backend.emulator.task import Task
from backend.emulator.workload import run_thread
from backend.errors import UsageError, errno_name


@dataclass(frozen=True, slots=True)
class Built:
    """A machine with its tasks by name and their regions by name, and the processes of its scheduled steps."""

    machine: Machine
    tasks: dict[str, Task]
    regions: dict[str, dict[str, Region]]
    steps: list[simpy.Process]
    outcomes: list[dict[str, Any]]


def build(description: Description, with_steps: bool = True) -> Built:
    """The machine at time zero: memory laid out, workloads and steps waiting to run. Raises UsageError where the
    processes do not fit."""
    m = Machine(
        description.profile, description.nodes, description.distances, page_size=description.page_size,
        swap_pages=description.swap_pages, costs=description.costs, patches=description.patches,
        seed=description.seed, batch=description.batch,
    )  # fmt: skip
    m.name = description.name
    m.users.update(description.users)
    m.balancing.on = description.numa_balancing
    first_cpu = next(iter(m.node_of_cpu))
    m.spawn("init", cpu=first_cpu, command="/sbin/init")
    m.spawn("kthreadd", cpu=first_cpu, kernel_thread=True)
    built = Built(m, {}, {}, [], [])
    for spec in description.processes:
        _spawn(built, spec)
    if description.balance:
        m.env.process(balancer(m, description.balance))
    if with_steps:
        for step in description.steps:
            outcome: dict[str, Any] = {
                "call": step.call,
                "task": step.task,
                "at": step.at,
                "seconds": 0.0,
                "result": None,
                "errno": None,
            }
            built.outcomes.append(outcome)
            built.steps.append(m.env.process(_step(built, step, outcome)))
    return built


def run_scenario(description: Description, seed: int | None = None) -> dict[str, Any]:
    """Run all steps to their ends, and on to `run`; the report of `numatui emulate` (schema numatui/emulate/1)."""
    if seed is not None:
        description = replace(description, seed=seed)
    built = build(description)
    m = built.machine
    if built.steps:
        m.env.run(until=m.env.all_of(built.steps))
    if description.run > m.now:
        m.advance(description.run - m.now)
    return report(description, built)


def report(description: Description, built: Built) -> dict[str, Any]:
    """Placements, outcomes, counters, times."""
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


def _spawn(built: Built, spec: ProcessSpec) -> None:
    m = built.machine
    cpus = list(m.nodes[m.node_of_cpu[spec.cpu]].cpus)
    first = cpus.index(spec.cpu)
    others = [cpus[(first + number) % len(cpus)] for number in range(1, spec.threads)]
    task = m.spawn(
        spec.name, cpu=spec.cpu, uid=spec.uid, command=spec.command, threads=others, policy=spec.policy
    )
    regions = {region.name: _map_region(m, task, region) for region in spec.memory}
    built.tasks[spec.name] = task
    built.regions[spec.name] = regions
    used = [(regions[region.name], region.access) for region in spec.memory if region.access is not None]
    for thread in task.threads:
        thread.running = bool(used)
        if used:
            m.env.process(run_thread(m, task, thread, used))


def _map_region(m: Machine, task: Task, spec: RegionSpec) -> Region:
    vma = m.mmap(task, spec.pages, name=spec.name, kind=spec.kind, policy=spec.policy)
    if spec.on is not None:
        position = 0
        for node, pages in spec.on.items():
            populate(m, vma, np.arange(position, position + pages, dtype=np.int64), node)
            position += pages
    elif spec.touched:
        index = np.arange(spec.pages, dtype=np.int64)
        try:
            anonymous_pages(m, task, task.leader, vma, index)
        except OutOfMemory:
            raise UsageError(
                f"the machine has no room for '{spec.name}' of '{task.command.decode(errors='replace')}'",
                "make it smaller",
            ) from None
        m.store(vma, index)
    return Region(spec.name, spec.kind, vma.start, spec.pages)


def populate(m: Machine, vma: Vma, index: np.ndarray[tuple[int], np.dtype[np.int64]], node: int) -> None:
    """Pages written to, with frames of one node. Raises UsageError when it has no room."""
    pfns = m.frames.alloc(len(index), node, strict=True, here=node)
    if len(pfns) < len(index):
        raise UsageError(
            f"node {node} has no room for {len(index)} pages of '{vma.name}'",
            "the kernel keeps some memory free: make it smaller",
        )
    map_new(m, vma, index, pfns)
    m.store(vma, index)


def _step(built: Built, step: Step, outcome: dict[str, Any]) -> Events:
    """Wait for its time, do it, note what it returned. A task that has exited is ESRCH."""
    m = built.machine
    yield m.env.timeout(step.at)
    task = built.tasks.get(step.task) if step.task else m.tasks[1]
    began = m.now

    def forked(name: str, child: Task) -> None:
        built.tasks[name] = child
        built.regions[name] = built.regions[step.task]

    try:
        if task is None or not task.alive:
            raise ProcessLookupError(3, "No such process")
        region = built.regions.get(step.task, {}).get(step.arguments.get("region", ""))
        place = Place(m, task, region, step.arguments, forked)
        outcome["result"] = yield from STEPS[step.call].run(place)
    except OSError as exc:
        outcome["errno"] = errno_name(exc.errno or 0)
    except OutOfMemory:
        outcome["errno"] = "ENOMEM"
    except SegmentationFault:
        outcome["errno"] = "EFAULT"
    outcome["seconds"] = m.now - began
