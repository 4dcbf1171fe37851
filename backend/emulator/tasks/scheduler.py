"""The scheduler: the CPU of each thread, and a load balancer that also moves threads between nodes."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Generator
from typing import Any

import simpy

from backend.emulator.machine import Machine
from backend.emulator.tasks.task import Task, Thread
from backend.errors import os_error
from backend.nodeset import CpuSet


def schedule(m: Machine, task: Task, cpu: int) -> None:
    """Move all threads of a task to the CPUs of one node: the leader to `cpu`, the others to the next CPUs of its node.
    Raises ValueError (no such CPU), OSError EINVAL (CPU outside the cpuset, as sched_setaffinity())."""
    if cpu not in m.node_of_cpu:
        raise ValueError(f"there is no CPU {cpu}")
    if cpu not in task.cpus_allowed:
        raise os_error(errno.EINVAL)
    cpus = list(m.nodes[m.node_of_cpu[cpu]].cpus & task.cpus_allowed)
    first = cpus.index(cpu)
    for position, thread in enumerate(task.threads):
        thread.cpu = cpus[(first + position) % len(cpus)]


def confine(m: Machine, task: Task, cpus: CpuSet) -> None:
    """Restrict a task to `cpus` (set_cpus_allowed_ptr()). A thread on another CPU moves to the nearest of `cpus`; among
    equally near CPUs, to the one with the fewest threads of this task."""
    task.cpus_allowed = cpus
    taken: Counter[int] = Counter(thread.cpu for thread in task.threads if thread.cpu in cpus)
    for thread in task.threads:
        if cpus and thread.cpu not in cpus:
            here = m.node_of_cpu[thread.cpu]
            thread.cpu = min(cpus, key=lambda cpu: (m.distance(here, m.node_of_cpu[cpu]), taken[cpu], cpu))
            taken[thread.cpu] += 1


def load(m: Machine) -> Counter[int]:
    """Number of running threads of each CPU."""
    counts: Counter[int] = Counter(dict.fromkeys(m.node_of_cpu, 0))
    for _, thread in _running(m):
        counts[thread.cpu] += 1
    return counts


def balance(m: Machine) -> bool:
    """One round of load balancing: move a thread from the busiest CPU to the idlest if their loads differ by two or
    more. Returns whether a thread moved."""
    counts = load(m)
    busiest = max(counts, key=lambda cpu: (counts[cpu], -cpu))
    idlest = min(counts, key=lambda cpu: (counts[cpu], m.distance(m.node_of_cpu[busiest], m.node_of_cpu[cpu]), cpu))
    if counts[busiest] - counts[idlest] < 2:
        return False
    candidates = [
        (task, thread) for task, thread in _running(m) if thread.cpu == busiest and idlest in task.cpus_allowed
    ]
    if not candidates:
        return False
    _, thread = m.random.choice(candidates)
    if m.node_of_cpu[thread.cpu] != m.node_of_cpu[idlest]:
        m.count("sched_node_moves", 1)
    thread.cpu = idlest
    return True


def balancer(m: Machine, interval: float) -> Generator[simpy.Event, Any, None]:
    """Kernel path: balance every `interval` simulated seconds, forever."""
    while True:
        yield m.env.timeout(interval)
        balance(m)


def _running(m: Machine) -> list[tuple[Task, Thread]]:
    return [
        (task, thread) for task in m.tasks.values() if task.mm is not None for thread in task.threads if thread.running
    ]
