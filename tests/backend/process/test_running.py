"""Where threads run: at first where they are, then by the time each of them used."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.placement.placement import weighted_local_share
from backend.process.process import parse_stat
from backend.process.running import Running, read_running

NODE_OF_CPU = {cpu: cpu // 4 for cpu in range(16)}


class Threads:
    """A process 100 with threads: tid → (CPU, ticks)."""

    def __init__(self, threads: dict[int, tuple[int, int]]) -> None:
        self.threads = threads
        self.reads = 0

    def line(self, tid: int) -> bytes:
        cpu, ticks = self.threads[tid]
        fields = ["S", *["0"] * 50]
        fields[11], fields[17], fields[19], fields[36] = str(ticks), str(len(self.threads)), "5", str(cpu)
        return f"{tid} (t) {' '.join(fields)}\n".encode()

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        self.reads += 1
        tid = int(path.split("/")[-2])
        if tid not in self.threads:
            raise OSError(errno.ESRCH, "no")
        return self.line(tid)

    def listdir(self, path: str) -> list[str]:
        self.reads += 1
        return [str(tid) for tid in self.threads]

    def running(self, last: Running | None = None, most: int = 100) -> Running:
        return read_running(self, parse_stat(self.line(100)), NODE_OF_CPU, last, most)  # type: ignore[arg-type]


def test_one_thread_costs_no_read() -> None:
    kernel = Threads({100: (5, 7)})
    assert kernel.running().shares == {1: 1.0}
    assert kernel.reads == 0


def test_first_by_where_threads_are_then_by_their_time() -> None:
    kernel = Threads({100: (0, 50), 101: (4, 0), 102: (5, 900), 103: (12, 3)})
    first = kernel.running()
    assert first.shares == {0: 0.25, 1: 0.5, 3: 0.25}
    kernel.threads = {100: (0, 60), 101: (4, 0), 102: (8, 920), 103: (12, 13)}
    second = kernel.running(first)
    assert second.shares == {0: 0.25, 2: 0.5, 3: 0.25}
    idle = kernel.running(second)
    assert idle.shares == second.shares


def test_new_threads_count_all_their_time_and_ended_ones_nothing() -> None:
    kernel = Threads({100: (0, 50), 101: (4, 10)})
    first = kernel.running()
    kernel.threads = {100: (0, 60), 102: (8, 30)}
    assert kernel.running(first).shares == {0: 0.25, 2: 0.75}


def test_of_many_threads_the_same_few_are_looked_at() -> None:
    kernel = Threads({100 + number: (number % 16, 0) for number in range(1000)})
    first = kernel.running(most=40)
    assert kernel.reads == 41
    assert first.left_out == 960
    assert sum(first.shares.values()) == pytest.approx(1)
    kernel.threads = {tid: (cpu, ticks + 5) for tid, (cpu, ticks) in kernel.threads.items()}
    second = kernel.running(first, most=40)
    assert second.ticks.keys() == first.ticks.keys()
    assert second.timed


def test_without_room_for_its_threads_the_last_known_stays() -> None:
    kernel = Threads({100: (0, 50), 101: (4, 10)})
    first = kernel.running()
    kernel.reads = 0
    assert kernel.running(first, most=1) == first
    assert kernel.running(None, most=1) == Running({0: 1.0}, 1)
    assert kernel.reads == 0


def test_unknown_cpus_count_nowhere() -> None:
    assert Threads({100: (99, 0)}).running().shares == {}
    assert Threads({100: (99, 0), 101: (4, 0)}).running().shares == {1: 1.0}


nodes = st.dictionaries(st.integers(0, 3), st.integers(1, 1 << 40), min_size=1)


@given(memory=nodes, times=nodes)
def test_the_local_share_is_the_chance_to_find_a_page_where_one_runs(
    memory: dict[int, int], times: dict[int, int]
) -> None:
    total = sum(times.values())
    share = weighted_local_share(memory, {node: time / total for node, time in times.items()})
    assert share is not None
    wanted = sum(memory.get(node, 0) * time for node, time in times.items()) / total / sum(memory.values())
    assert share == pytest.approx(wanted)
    assert -1e-9 <= share <= 1 + 1e-9
    assert weighted_local_share(memory, {}) is None
    assert weighted_local_share({}, {0: 1.0}) is None
