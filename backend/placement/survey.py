"""Reads all processes with their pages per node, repeatedly: what the process table and `ps` show.

Small processes are read each time, large ones seldom and within a budget (`backend.placement.locate`). A process that
cannot be read keeps its last known numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from backend.errors import NotFound, NotPermitted, ParseError
from backend.kernel import Kernel, read_ahead
from backend.machine.topology import Topology
from backend.placement.first_policy import first_policy
from backend.placement.locate import BUDGET_NS, Located, Locator, Way, by_numa_maps, large_from
from backend.placement.placement import weighted_local_share
from backend.placement.readers import Readers, reader_count
from backend.process.process import (
    HERTZ,
    Identity,
    Process,
    Stat,
    bare_process,
    pids,
    read_process,
    read_stat,
)
from backend.process.running import MOST_THREADS, Running, read_running

REST_NS = 2_000_000_000
"""Nanoseconds until a large process is read again, at least."""
REST_SHARE = 20
"""A large process is read again after this many times the duration of its last reading, at least."""
REFRESH_NS = 1_000_000_000
"""Nanoseconds that a refresh may spend on large processes, in each reader."""
LEAST_NS = 10_000_000
"""Nanoseconds that a large process gets at least, when many share `REFRESH_NS`."""
LOAD_NS = 100_000_000
"""Shortest interval in nanoseconds over which CPU load is computed."""
STILL_NS = 9_000_000_000
"""Nanoseconds until a small process that has neither run, faulted nor grown is read again; at the latest after `SLOW`
refreshes. Another process may have moved its pages."""
SLOW = 8
"""Refreshes between two readings of what changes seldom: user, command line, swap, cpuset, cgroup."""
STATS = ("/proc/", "/proc/[0-9]*/stat")
"""What is read of all processes at each reading."""
ALL_THREADS = 4096
"""Threads that are read in one refresh, of all processes together."""


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process and where its memory lies. `by_node`: bytes, ascending by node; None if unknown. `policy`: the policy
    of its VMAs, or the first that is not the default, with `+` if there are more; of a large process that of its first
    VMA (`backend.placement.first_policy`); `?` if unknown.

    `way`: how the numbers were read; "" if they were not. `age`: nanoseconds since then. `error`: node → bytes by which
    95 % of sampled numbers are off at most; empty if they are exact. `hidden`: bytes that NUMA balancing hides.

    `runs_on`: node → share of the running time of its threads since the last reading (at the first: share of the
    threads), without the `threads_left_out` threads that were not read. `node`: where its main thread last ran. `load`:
    CPUs that it kept busy since the last reading, for example 1.5; None at the first."""

    process: Process
    by_node: dict[int, int] | None
    node: int | None
    policy: str
    way: Way = ""
    age: int = 0
    error: dict[int, int] = field(default_factory=dict[int, int])
    hidden: int = 0
    runs_on: dict[int, float] = field(default_factory=dict[int, float])
    threads_left_out: int = 0
    load: float | None = None
    resident: int = field(init=False, default=0, compare=False)
    """Bytes. Kept, not added up each time: thousands of rows are sorted by it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "resident", sum(self.by_node.values()) if self.by_node else self.process.rss)

    @property
    def far(self) -> int | None:
        """Bytes of its memory that are not on the nodes where it runs; None if that is not known."""
        if self.by_node is None or not self.places:
            return None
        share = self.local
        return 0 if share is None else round(sum(self.by_node.values()) * (1 - share))

    @property
    def local(self) -> float | None:
        """The share of its memory on the nodes it runs on, each weighted by its share of the running time."""
        return weighted_local_share(self.by_node, self.places) if self.by_node else None

    @property
    def places(self) -> dict[int, float]:
        """`runs_on`, or the main thread's node if `runs_on` is empty."""
        return self.runs_on or ({} if self.node is None else {self.node: 1.0})

    @property
    def sampled(self) -> bool:
        """Whether its numbers have an error."""
        return self.way == "sampled"


@dataclass(frozen=True, slots=True)
class _Known:
    """What is kept of a process, by identity. `read_at`, `due`: when its memory was read, and when it is read again.
    `since`: (ticks, time) from which `load` is computed. `looked_like`: its `stat` when its memory was read."""

    process: Process
    running: Running
    located: Located | None = None
    read_at: int = 0
    due: int = 0
    large: bool = False
    since: tuple[int, int] | None = None
    load: float | None = None
    looked_like: Stat | None = None


class Surveyor:
    """Reads all processes. What changes seldom (name, user, command line) is kept by identity. On a live machine
    several threads read; a read that hangs does not stop the others. `large`: processes with more base pages are read
    gently."""

    def __init__(
        self,
        kernel: Kernel,
        topology: Topology,
        kernel_threads: bool = False,
        large: int | None = None,
        readers: Readers[int] | None = None,
    ) -> None:
        self.kernel = kernel
        self.topology = topology
        self.kernel_threads = kernel_threads
        self.large = large_from(kernel) if large is None else large
        self.readers: Readers[int] = readers or Readers(reader_count() if kernel.traits.parallel_calls else 0)
        self.locator = Locator(kernel, topology)
        self._known: dict[Identity, _Known] = {}
        self._refreshes = 0
        self._all_anew = False
        self._threads_left = 0
        self._lock = threading.Lock()
        self._page_size = kernel.page_size
        self._near = kernel
        """The kernel, with what this reading has read ahead."""

    def expire(self) -> None:
        """The next reading reads everything of all processes again."""
        self._all_anew = True
        self._known = {key: replace(one, due=0) for key, one in self._known.items()}

    def read(
        self, wanted: Callable[[Process], bool] = lambda _: True, kernel: Kernel | None = None
    ) -> list[ProcessRow]:
        """A row for each process that is `wanted` and still there, ascending by pid. `wanted` is called by one thread
        at a time. `kernel`: the same one, with what was read ahead. Raises NotSupported, ParseError only where /proc
        itself cannot be listed."""
        self._near = read_ahead(kernel or self.kernel, "processes", STATS)
        try:
            return self._read(wanted)
        finally:
            self._near = self.kernel

    def _read(self, wanted: Callable[[Process], bool]) -> list[ProcessRow]:
        now = self.kernel.clock()
        self._refreshes += 1
        self._threads_left = ALL_THREADS
        self.locator.renew(self.topology)
        listed = pids(self._near)
        answered = self._answers(listed, now, wanted)
        found = {pid: one for pid, one in answered.items() if one is not None}
        self._walk_large(found, now)
        found.update(self._left_behind(set(listed) - answered.keys(), wanted))
        self._remember((one for one, _ in found.values()), now)
        return [self._row(self._known[one.process.identity], now) for _, (one, shown) in sorted(found.items()) if shown]

    def _answers(
        self, listed: list[int], now: int, wanted: Callable[[Process], bool]
    ) -> dict[int, tuple[_Known, bool] | None]:
        """What each process tells, but for the memory of large ones: those that have not changed from `stat` alone, the
        others by the readers. None for those that are not shown; those whose reading hangs are missing."""
        answered = self._still(listed, now, wanted) if self._known and self.readers.count else {}
        rest = [pid for pid in listed if pid not in answered]
        if self.kernel.traits.far:
            self._near = read_ahead(self._near, "looked at", self._files(rest))
        answered.update(self.readers.run(rest, lambda pid: self._look(pid, now, wanted)))
        return answered

    def _files(self, rest: Iterable[int]) -> list[str]:
        """What `_look` will read of these processes: of kernel threads nothing but `stat`, of large ones all but where
        their memory lies."""
        out: list[str] = []
        for pid in rest:
            try:
                stat = read_stat(self._near, pid)
            except (NotFound, NotPermitted, ParseError):
                continue
            if stat.is_kernel_thread and not self.kernel_threads:
                continue
            out += [f"/proc/{pid}/{name}" for name in ("status", "cmdline", "cpuset", "cgroup")]
            if 1 < stat.threads <= MOST_THREADS:
                out += [f"/proc/{pid}/task/", f"/proc/{pid}/task/[0-9]*/stat"]
            if stat.rss <= self.large:
                out.append(f"/proc/{pid}/numa_maps")
        return out

    def _walk_large(self, found: dict[int, tuple[_Known, bool]], now: int) -> None:
        """Look gently at the large processes whose turn it is, those that wait longest first. Those that ended
        meanwhile leave `found`."""
        due = [pid for pid, (one, shown) in found.items() if shown and one.large and one.due <= now]
        if not due:
            return
        due.sort(key=lambda pid: (found[pid][0].read_at, pid))
        budget = max(LEAST_NS, min(BUDGET_NS, REFRESH_NS * max(1, self.readers.count) // len(due)))
        self.locator.prepare()
        looked = self.readers.run(due, lambda pid: self._look_gently(found[pid][0], now, budget))
        for pid, one in looked.items():
            if one is None:
                del found[pid]
            else:
                found[pid] = (one, True)

    def _remember(self, known: Iterable[_Known], now: int) -> None:
        """For the next reading; with the CPU load since the last one."""
        self._all_anew = False
        before = self._known
        self._known = {one.process.identity: _timed(one, before.get(one.process.identity), now) for one in known}

    def _still(
        self, listed: Iterable[int], now: int, wanted: Callable[[Process], bool]
    ) -> dict[int, tuple[_Known, bool] | None]:
        """Processes for which reading `stat`, which never hangs, is enough: usually most. Needs no other thread."""
        out: dict[int, tuple[_Known, bool] | None] = {}
        for pid in listed:
            try:
                stat = read_stat(self._near, pid)
            except (NotFound, NotPermitted, ParseError):
                out[pid] = None
                continue
            known = self._known.get(stat.identity)
            if stat.is_kernel_thread and not self.kernel_threads:
                out[pid] = None
            elif known and self._is_still(known, stat, now):
                process, running = self._updated(known.process, stat), self._running(stat, known.running)
                same = process is known.process and running == known.running
                kept = known if same else replace(known, process=process, running=running)
                out[pid] = (kept, wanted(process))
        return out

    def _look(self, pid: int, now: int, wanted: Callable[[Process], bool]) -> tuple[_Known, bool] | None:
        """Read a process. Returns what is known of it and whether it is wanted; the memory of a large one is read
        later. None if it is not shown."""
        try:
            stat = read_stat(self._near, pid)
            if stat.is_kernel_thread and not self.kernel_threads:
                return None
            known = self._known.get(stat.identity)
            process = self._process(stat, known.process if known else None)
            with self._lock:
                shown = wanted(process)
            if not shown:
                return (replace(known, process=process) if known else _Known(process, Running())), False
            running = self._running(stat, known.running if known and known.located else None)
            if process.is_kernel_thread:
                return _Known(process, running, Located({}, "", ""), now), True
            if stat.rss > self.large:
                last = known or _Known(process, running)
                return replace(last, process=process, running=running, large=True), True
            located = by_numa_maps(self._near, pid)
            return _Known(process, running, located, now, looked_like=stat), True
        except (NotFound, NotPermitted, ParseError):
            return None

    def _is_still(self, known: _Known, stat: Stat, now: int) -> bool:
        """Whether the last reading of its memory still holds. Only on a live machine, where reading numa_maps stalls
        the process."""
        last = known.looked_like
        return (
            self.kernel.traits.reading_stalls
            and not self._all_anew
            and (stat.identity.pid + self._refreshes) % SLOW != 0
            and last is not None
            and (last.rss, last.faults, last.ticks, last.program) == (stat.rss, stat.faults, stat.ticks, stat.program)
            and now - known.read_at < STILL_NS
        )

    def _look_gently(self, one: _Known, now: int, budget: int) -> _Known | None:
        """Read a large process. Keeps the last numbers if the budget is not enough for new ones."""
        before = self.kernel.clock()
        try:
            located = self.locator.locate(one.process, self._refreshes, budget)
        except NotFound:
            return None
        due = now + max(REST_NS, (self.kernel.clock() - before) * REST_SHARE)
        last = one.located
        if located.by_node is None and last is not None and last.by_node is not None:
            return replace(one, due=due)
        if located.policy == "?":
            # What is known, for example from when the process was small, stays.
            known = last is not None and not last.policy.endswith("?")
            policy = last.policy if last is not None and known else first_policy(self.kernel, one.process.pid)
            located = replace(located, policy=policy)
        return replace(one, located=located, read_at=now, due=due)

    def _left_behind(self, hanging: Iterable[int], wanted: Callable[[Process], bool]) -> dict[int, tuple[_Known, bool]]:
        """Processes whose reading hangs: their last known numbers with a new `stat`, which never hangs."""
        out: dict[int, tuple[_Known, bool]] = {}
        for pid in hanging:
            try:
                stat = read_stat(self._near, pid)
            except (NotFound, NotPermitted, ParseError):
                continue
            known = self._known.get(stat.identity)
            process = self._updated(known.process, stat) if known else bare_process(stat, self.kernel.page_size)
            known = replace(known, process=process) if known else _Known(process, Running())
            out[pid] = (known, wanted(process))
        return out

    def _process(self, stat: Stat, known: Process | None) -> Process:
        due = self._all_anew or (stat.identity.pid + self._refreshes) % SLOW == 0
        if known is None or known.comm != stat.comm or known.uid < 0 or due:
            return read_process(self._near, stat.identity.pid, stat)
        return self._updated(known, stat)

    def _updated(self, known: Process, stat: Stat) -> Process:
        rss = stat.rss * self._page_size
        if (known.ticks, known.cpu, known.state, known.threads, known.rss, known.ppid) == (
            stat.ticks, stat.cpu, stat.state, stat.threads, rss, stat.ppid,
        ):  # fmt: skip
            return known
        return replace(
            known,
            ppid=stat.ppid,
            state=stat.state,
            threads=stat.threads,
            cpu=stat.cpu,
            rss=rss,
            ticks=stat.ticks,
        )

    def _running(self, stat: Stat, last: Running | None) -> Running:
        most = 1
        if stat.threads > 1:
            with self._lock:
                most = min(MOST_THREADS, stat.threads, self._threads_left)
                self._threads_left -= most
        return read_running(self._near, stat, self.topology.node_of_cpu, last, most)

    def _row(self, one: _Known, now: int) -> ProcessRow:
        node = self.topology.node_of_cpu.get(one.process.cpu)
        located = one.located
        runs_on, left_out = one.running.shares, one.running.left_out
        if located is None:
            return ProcessRow(one.process, None, node, "?", runs_on=runs_on, threads_left_out=left_out, load=one.load)
        return ProcessRow(
            one.process, located.by_node, node, located.policy, located.way, max(0, now - one.read_at),
            located.error, located.hidden, runs_on, left_out, one.load,
        )  # fmt: skip


def _timed(one: _Known, before: _Known | None, now: int) -> _Known:
    """Sets the load since the last time that it was computed."""
    fresh = (one.process.ticks, now)
    if before is None or before.since is None:
        return replace(one, since=fresh)
    ticks, then = before.since
    if now - then < LOAD_NS:
        return replace(one, since=before.since, load=before.load)
    return replace(one, since=fresh, load=max(0, one.process.ticks - ticks) / HERTZ / ((now - then) / 1e9))
