"""Measures page migration on this machine: the memory of a process of its own is moved back and forth, in several
ways."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backend.errors import NotSupported, NumatuiError, UsageError
from backend.files.text import printable
from backend.job.parts.worker_pool import allowed_cpus
from backend.kernel import Kernel, MoveFlag
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.plan.plan import Called
from backend.plan.rates import Rate
from backend.process.page_calls import call_migrate_pages, call_move_pages

MIB = 1 << 20
_HUGE = 2 * MIB
_SPARE = 64 * MIB
"""Bytes that a node keeps free beyond its watermarks during a measurement."""


class Target(Protocol):
    """A process whose memory is moved, and which times its own stalls (`live.stall_target`). `address`: where its
    memory begins. `worst`: seconds of its longest round since `begin`. `intact`: its memory holds what was written."""

    pid: int

    def begin(self) -> None: ...
    @property
    def address(self) -> int: ...
    @property
    def worst(self) -> float: ...
    @property
    def intact(self) -> bool: ...


OpenTarget = Callable[[int, int, int, bool], AbstractContextManager[Target]]
"""Starts a target: bytes, node, CPU, huge pages."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way of moving. `batch`: bytes per call, 0 for migrate_pages, which moves everything at once."""

    method: Called
    workers: int
    batch: int


def ways(cpus: int, quick: bool) -> list[Way]:
    """The ways to compare, the simplest first."""
    if quick:
        return [Way("migrate_pages", 1, 0), Way("move_pages", 1, 8 * MIB), Way("move_pages", 2, 8 * MIB)][
            : 2 + (cpus > 1)
        ]
    workers = [count for count in (1, 2, 4, 8) if count <= cpus]
    return [
        Way("migrate_pages", 1, 0),
        *(Way("move_pages", 1, size * MIB) for size in (1, 4)),
        *(Way("move_pages", count, 16 * MIB) for count in workers),
    ]


def pairs(sources: NodeSet, targets: NodeSet) -> list[tuple[int, int]]:
    """All pairs of different nodes; each is measured in both directions."""
    return sorted({(min(a, b), max(a, b)) for a in sources for b in targets if a != b})


def bench(
    kernel: Kernel, topology: Topology, sources: NodeSet, targets: NodeSet, size: int, open_target: OpenTarget, *,
    quick: bool = False, cancel: threading.Event | None = None, on_progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Rate]:  # fmt: skip
    """Measures one way after the other, `size` bytes at a time. Raises NotSupported (not live, fewer than two nodes, no
    system call), UsageError for sets without a pair, NumatuiError if a node has no room or the memory was corrupted."""
    if kernel.traits.far:
        raise NotSupported(
            "bench measures with a process of its own, and that would be here",
            f"run numatui bench on {printable(kernel.name, 80)} itself: what it measures is used from here too",
        )
    if not kernel.traits.is_host:
        raise NotSupported(
            "bench measures the live machine: an emulated one takes its times from its description",
            "numatui bench, without --demo or --replay",
        )
    if len(topology.memory_ids) < 2:
        raise NotSupported(
            "this machine has one node with memory: there is nowhere to move pages to",
            "run it on a NUMA machine",
        )
    chosen = pairs(sources & topology.memory_ids, targets & topology.memory_ids)
    if not chosen:
        raise UsageError(
            "there is no pair of different nodes with memory in these sets",
            f"the nodes are {topology.memory_ids}",
        )
    for node in NodeSet(node for pair in chosen for node in pair):
        room = (topology.node(node).free or 0) - topology.low_watermarks.get(node, 0) * kernel.page_size - _SPARE
        if size > room:
            raise NumatuiError(
                f"node {node} has {max(0, room) // MIB} MiB to spare, and {size // MIB} MiB are to be moved there",
                "take less with --size",
            )
    compared = ways(allowed_cpus(kernel), quick)
    can = kernel.capabilities()
    compared = [one for one in compared if can[one.method].available]
    if not compared:
        raise NotSupported(f"pages cannot be moved here: {can['move_pages'].why}", "numatui doctor explains it")
    for number, (low, high) in enumerate(chosen):
        for huge in (False, True):
            on_progress(f"node {low} and {high}, {'huge' if huge else 'small'} pages")
            cpu = next(iter(topology.node(low).cpus), 0)
            with open_target(size, low, cpu, huge) as target:
                for source, end in ((low, high), (high, low)):
                    # Warm-up, not reported.
                    _measure(kernel, target, size, huge, compared[-1], source, end)
                for way in compared if number == 0 else _best_known(compared):
                    for source, end in ((low, high), (high, low)):
                        if cancel is not None and cancel.is_set():
                            return
                        yield _measure(kernel, target, size, huge, way, source, end)


def _best_known(compared: list[Way]) -> list[Way]:
    """The ways for all pairs but the first: migrate_pages, and move_pages as a job uses it."""
    return [compared[0], compared[-1]] if len(compared) > 1 else compared


def _measure(kernel: Kernel, target: Target, size: int, huge: bool, way: Way, source: int, end: int) -> Rate:
    target.begin()
    began = time.monotonic_ns()
    if way.method == "migrate_pages":
        call_migrate_pages(kernel, target.pid, NodeSet([source]), NodeSet([end]))
    else:
        _move(kernel, target, size, _HUGE if huge else kernel.page_size, way, end)
    took = time.monotonic_ns() - began
    stall = target.worst
    target.begin()
    if not target.intact:
        raise NumatuiError("moved memory does not hold what was written to it", "do not migrate on this kernel")
    return Rate(
        source,
        end,
        huge,
        way.method,
        way.workers,
        way.batch,
        max(1, size * 1_000_000_000 // max(1, took)),
        int(stall * 1e9),
    )


def _move(kernel: Kernel, target: Target, size: int, step: int, way: Way, node: int) -> None:
    addresses = np.arange(target.address, target.address + size, step, dtype=np.uint64)
    count = max(1, way.batch // step)

    def work(part: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> None:
        for position in range(0, len(part), count):
            batch = part[position : position + count]
            call_move_pages(kernel, target.pid, batch, node, int(MoveFlag.MOVE))

    parts = np.array_split(addresses, way.workers)
    threads = [threading.Thread(target=work, args=(part,)) for part in parts[1:]]
    for thread in threads:
        thread.start()
    work(parts[0])
    for thread in threads:
        thread.join()
