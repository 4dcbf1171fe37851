"""Threads that work off a queue: how many there are, what becomes of their errors, and that none is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.job.parts import worker_pool
from backend.job.parts.rate_limit import RateLimit
from backend.job.parts.worker_pool import ConcurrencyTuner, WorkerPool
from tests.emulator.machines import machine

PATIENCE = 20.0
MiB = 1 << 20


def movers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "numatui-mover"]


def submit_often(made: WorkerPool[Any], piece: Any) -> None:
    """Until that raises."""
    while True:
        made.submit(piece)


@contextmanager
def pool_of(work: Callable[[Any], int], workers: int | None, **how: Any) -> Iterator[WorkerPool[Any]]:
    made: WorkerPool[Any] = WorkerPool(work, workers, how.get("most", 4), how.get("clock", lambda: 0))
    try:
        yield made
    finally:
        made.close()
    assert movers() == []


class Watched(threading.Condition):
    """A condition that tells when a thread other than the pool's own has to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_for = threading.Event()

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        if threading.current_thread() not in movers() and not predicate():
            self.waited_for.set()
        return super().wait_for(predicate, timeout)


class Meeting:
    """Work that waits until so many are at it at once."""

    def __init__(self, parties: int) -> None:
        self.barrier = threading.Barrier(parties, timeout=PATIENCE)
        self.threads: set[int] = set()

    def __call__(self, piece: int) -> int:
        self.threads.add(threading.get_ident())
        self.barrier.wait()
        return piece


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_so_many_work_at_once_and_no_more(workers: int) -> None:
    meeting = Meeting(workers)
    with pool_of(meeting, workers) as made:
        for piece in range(workers * 3):
            made.submit(piece)
        made.join()
        assert len(movers()) == workers
    assert len(meeting.threads) == workers
    assert threading.get_ident() not in meeting.threads


def test_without_workers_all_is_done_where_it_is_submitted() -> None:
    done: list[tuple[int, int]] = []

    def work(piece: int) -> int:
        done.append((piece, threading.get_ident()))
        return 1

    with pool_of(work, 0) as made:
        for piece in range(5):
            made.submit(piece)
            assert done[-1] == (piece, threading.get_ident())
        made.join()
        assert movers() == []


@pytest.mark.parametrize("workers", [0, 1, 4, None])
def test_each_piece_is_done_once(workers: int | None) -> None:
    lock = threading.Lock()
    done: list[int] = []

    def work(piece: int) -> int:
        with lock:
            done.append(piece)
        return 1

    with pool_of(work, workers) as made:
        for piece in range(500):
            made.submit(piece)
        made.join()
        assert sorted(done) == list(range(500))


def test_submitting_waits_while_there_is_enough_to_do() -> None:
    began, go = threading.Event(), threading.Event()
    submitted: list[int] = []

    def work(_: int) -> int:
        began.set()
        assert go.wait(PATIENCE)
        return 1

    with pool_of(work, 1) as made:
        made._changed = changed = Watched()
        made.submit(0)
        assert began.wait(PATIENCE)

        def submit() -> None:
            for piece in range(1, 10):
                made.submit(piece)
                submitted.append(piece)

        submitter = threading.Thread(target=submit, daemon=True)
        try:
            submitter.start()
            assert changed.waited_for.wait(PATIENCE), f"{len(submitted)} were taken at once, with one at work"
            assert submitted == [1, 2], "as many as there are workers, and one more"
        finally:
            go.set()
            submitter.join(PATIENCE)
        assert submitted == list(range(1, 10))


class TestErrors:
    def test_an_error_reaches_the_submitter_and_what_waited_is_not_done(self) -> None:
        done: list[int] = []
        wrong = threading.Event()

        def work(piece: int) -> int:
            if piece == 0:
                wrong.set()
                raise KeyError(piece)
            done.append(piece)
            return 1

        with pool_of(work, 1) as made:
            made.submit(0)
            assert wrong.wait(PATIENCE)
            with pytest.raises(KeyError):
                submit_often(made, 1)
            made.join()
            assert len(done) <= 1
            made.submit(2)
            made.join()
            assert done[-1] == 2

    def test_what_was_waiting_when_one_raised_is_dropped(self) -> None:
        began, go = threading.Event(), threading.Event()
        done: list[int] = []

        def work(piece: int) -> int:
            if piece == 0:
                began.set()
                assert go.wait(PATIENCE)
                raise KeyError(piece)
            done.append(piece)
            return 1

        with pool_of(work, 1) as made:
            made.submit(0)
            assert began.wait(PATIENCE)
            made.submit(1)
            made.submit(2)
            go.set()
            with pytest.raises(KeyError):
                made.join()
            made.join()
            assert done == []

    def test_an_error_of_the_last_piece_is_raised_by_join(self) -> None:
        def work(_: int) -> int:
            raise SystemExit(9)

        with pool_of(work, 2) as made:
            made.submit(1)
            with pytest.raises(SystemExit):
                made.join()
            made.join()

    def test_of_several_that_raise_at_once_none_is_lost(self) -> None:
        barrier = threading.Barrier(3, timeout=PATIENCE)

        def work(piece: int) -> int:
            barrier.wait()
            raise ValueError(piece)

        raised: list[int] = []
        with pool_of(work, 3) as made:
            for piece in range(3):
                made.submit(piece)
            while True:
                try:
                    made.join()
                    break
                except ValueError as exc:
                    raised.append(exc.args[0])
        assert sorted(raised) == [0, 1, 2]

    def test_join_waits_for_those_that_are_at_work_when_one_raises(self) -> None:
        both = threading.Barrier(2, timeout=PATIENCE)
        raised, finished = threading.Event(), threading.Event()

        def work(piece: int) -> int:
            both.wait()
            if piece == 0:
                raised.set()
                raise ValueError
            assert raised.wait(PATIENCE)
            finished.set()
            return 1

        with pool_of(work, 2) as made:
            made.submit(0)
            made.submit(1)
            with pytest.raises(ValueError):
                made.join()
            assert finished.is_set()

    def test_closing_waits_for_the_work_in_hand_and_drops_the_rest(self) -> None:
        began, go = threading.Event(), threading.Event()
        done: list[int] = []

        def work(piece: int) -> int:
            began.set()
            assert go.wait(PATIENCE)
            done.append(piece)
            return 1

        made = WorkerPool(work, 1, 4, lambda: 0)
        made.submit(0)
        assert began.wait(PATIENCE)
        made.submit(1)
        (worker,) = made._threads
        real, joined = worker.join, threading.Event()

        def join(timeout: float | None = None) -> None:
            joined.set()
            real(timeout)

        worker.join = join  # type: ignore[method-assign]
        closer = threading.Thread(target=made.close, daemon=True)
        try:
            closer.start()
            assert joined.wait(PATIENCE), "closing does not wait"
            assert closer.is_alive()
        finally:
            go.set()
            closer.join(PATIENCE)
        assert done == [0]
        assert movers() == []

    def test_where_there_may_be_no_more_threads_those_that_are_do_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        done: list[int] = []
        real = threading.Thread.start
        allowed = [0]

        def start(thread: threading.Thread) -> None:
            if allowed[0] == 0:
                raise RuntimeError("can't start new thread")
            allowed[0] -= 1
            real(thread)

        monkeypatch.setattr(threading.Thread, "start", start)
        for number in (0, 1):
            allowed[0] = number
            done.clear()

            def work(piece: int) -> int:
                done.append(piece)
                return 1

            with pool_of(work, 3) as made:
                for piece in range(6):
                    made.submit(piece)
                made.join()
                assert len(movers()) == number
            assert sorted(done) == list(range(6))


def settled(rates: dict[int, float], most: int = 8) -> list[int]:
    """The numbers of workers that were tried, where so many bytes a nanosecond are moved by one more."""
    gain, now, seen = ConcurrencyTuner(most), 0, [1]
    for _ in range(5000):
        piece = 1 * MiB
        now += int(piece / rates[gain.workers])
        gain.done(piece, now)
        if gain.workers != seen[-1]:
            seen.append(gain.workers)
    return seen


class TestAuto:
    def test_it_grows_as_long_as_one_more_brings_something(self) -> None:
        assert settled({1: 1, 2: 2, 3: 3, 4: 3.1, 5: 9}) == [1, 2, 3, 4, 3]

    def test_one_is_kept_where_two_are_no_faster(self) -> None:
        assert settled({1: 1, 2: 1.05}) == [1, 2, 1]

    def test_it_never_has_more_than_are_allowed(self) -> None:
        assert settled({n: n for n in range(1, 9)}, most=3) == [1, 2, 3]
        assert settled({1: 1}, most=1) == [1]

    def test_a_number_is_judged_by_an_epoch_and_not_by_one_piece(self) -> None:
        gain = ConcurrencyTuner(4)
        for now in range(0, worker_pool._EPOCH // 2, worker_pool._EPOCH // 100):
            gain.done(MiB, now)
        assert gain.workers == 1
        slow = ConcurrencyTuner(4)
        slow.done(MiB, 0)
        slow.done(MiB, worker_pool._EPOCH * 5)
        assert slow.workers == 1, "one piece, however long, is not enough"

    def test_a_pool_grows_by_its_own_clock(self) -> None:
        now = [0]
        lock = threading.Lock()

        def clock() -> int:
            with lock:
                now[0] += worker_pool._EPOCH // 10
                return now[0]

        with pool_of(lambda _: MiB, None, most=3, clock=clock) as made:
            tried: set[int] = set()
            for piece in range(400):
                made.submit(piece)
                tried.add(made.workers)
            made.join()
            assert made.workers in (1, 2, 3)
            assert {1, 2} <= tried
            assert len(movers()) == max(tried)

    def test_there_are_never_more_than_the_most(self) -> None:
        made = WorkerPool(lambda _: 1, None, 1000, lambda: 0)
        assert made._gain is not None
        assert made._gain.most == worker_pool.MOST
        made.close()


class TestRate:
    """A limit that several jobs and threads share."""

    def limit(self, rate: int) -> tuple[RateLimit, EmulatedKernel]:
        kernel = EmulatedKernel(machine(pages=16))
        return RateLimit(kernel, rate), kernel

    @pytest.mark.parametrize("threads", [1, 4])
    def test_several_threads_together_keep_to_it(self, threads: int) -> None:
        limit, kernel = self.limit(MiB)
        never = threading.Event()

        def spend() -> None:
            for _ in range(8):
                limit.spend(MiB // 8, never)

        crowd = [threading.Thread(target=spend) for _ in range(threads)]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join(PATIENCE)
        seconds = kernel.clock() / 1e9
        assert seconds >= threads * 0.999, "each spent a second's worth"
        assert limit._due / 1e9 == pytest.approx(threads, rel=0.001)

    def test_what_was_not_used_is_not_saved_up(self) -> None:
        limit, kernel = self.limit(MiB)
        kernel.pause(10_000_000_000)
        limit.spend(MiB, threading.Event())
        assert kernel.clock() >= 11_000_000_000

    def test_a_batch_is_a_tenth_of_a_second_of_it(self) -> None:
        limit, _ = self.limit(10 * MiB)
        assert limit.largest(32 * MiB) == MiB
        assert limit.largest(4096) == 4096
        assert self.limit(1)[0].largest(4096) == 1
        assert self.limit(0)[0].largest(4096) == 4096

    def test_no_limit_costs_no_time(self) -> None:
        limit, kernel = self.limit(0)
        limit.spend(1 << 50, threading.Event())
        assert kernel.clock() == 0
