"""On which nodes the threads of a process run between two reads of /proc/PID/task/TID/stat (proc(5))."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.kernel import Kernel
from backend.process.process import Identity, Stat, read_threads, thread_ids

MOST_THREADS = 128
"""Largest number of threads read of one process, to bound the time. Of more, a hash of the tid chooses the same ones
each time."""


@dataclass(frozen=True, slots=True)
class Running:
    """`shares`: node → share of the threads' CPU time since the previous read, 0 to 1; of the number of threads at the
    first read or if none has run since. `left_out`: number of threads not read. `ticks`: thread → CPU time in clock
    ticks. `timed`: `shares` are of CPU time."""

    shares: dict[int, float] = field(default_factory=dict[int, float])
    left_out: int = 0
    ticks: dict[Identity, int] = field(default_factory=dict[Identity, int])
    timed: bool = False


def read_running(
    kernel: Kernel, stat: Stat, node_of_cpu: Mapping[int, int], last: Running | None, most: int = MOST_THREADS
) -> Running:
    """`stat` suffices for a process with one thread, or if `most` is less than two. Never raises OSError."""
    if stat.threads > 1 and most > 1:
        threads, left_out = _threads(kernel, stat.identity.pid, most)
        if threads:
            return _weigh(threads, left_out, node_of_cpu, last)
    if stat.threads > 1 and last is not None:
        return last
    node = node_of_cpu.get(stat.cpu)
    return Running({} if node is None else {node: 1.0}, stat.threads - 1)


def _threads(kernel: Kernel, pid: int, most: int) -> tuple[list[Stat], int]:
    """(at most `most` threads, number of the others)."""
    tids = thread_ids(kernel, pid)
    left_out = max(0, len(tids) - most)
    if left_out:
        tids = heapq.nsmallest(most, tids, key=_hash)
    return read_threads(kernel, pid, tids), left_out


def _hash(tid: int) -> int:
    # Fibonacci hashing, 2^64 / golden ratio: spreads consecutive tids (compare include/linux/hash.h).
    return (tid * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 32


def _weigh(threads: list[Stat], left_out: int, node_of_cpu: Mapping[int, int], last: Running | None) -> Running:
    ticks = {one.identity: one.ticks for one in threads}
    whole = last is not None and not last.left_out  # then a thread that `last` lacks is new: all its ticks count
    spent: dict[int, float] = {}
    for one in threads if last is not None and last.ticks else ():
        node = node_of_cpu.get(one.cpu)
        before = last.ticks.get(one.identity, 0 if whole else one.ticks) if last is not None else 0
        if node is not None and one.ticks > before:
            spent[node] = spent.get(node, 0) + one.ticks - before
    timed = bool(spent)
    if not timed and last is not None and last.timed:
        return Running(last.shares, left_out, ticks, True)
    if not timed:
        for one in threads:
            node = node_of_cpu.get(one.cpu)
            if node is not None:
                spent[node] = spent.get(node, 0) + 1
    ran = sum(spent.values())
    shares = {node: amount / ran for node, amount in sorted(spent.items())}
    return Running(shares, left_out, ticks, timed)
