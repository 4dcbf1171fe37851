"""Several threads at once: one that hangs costs nothing but itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from backend.placement.readers import Readers


def test_all_results_whatever_the_number_of_threads() -> None:
    for count in (0, 1, 2, 5, 50):
        readers: Readers[int] = Readers(count)
        assert readers.run([3, 1, 2], lambda item: item * 10) == {1: 10, 2: 20, 3: 30}
        assert readers.run([], lambda item: item) == {}


def test_without_threads_the_caller_does_it_in_order() -> None:
    seen: list[tuple[int, threading.Thread]] = []
    Readers[int](0).run([3, 1, 2], lambda item: seen.append((item, threading.current_thread())))
    assert seen == [(item, threading.current_thread()) for item in (3, 1, 2)]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_failure_is_the_callers(count: int) -> None:
    def work(item: int) -> int:
        raise KeyError(item)

    with pytest.raises(KeyError):
        Readers[int](count).run([1, 2, 3], work)


@pytest.mark.parametrize("count", [1, 3])
def test_what_hangs_is_left_behind_and_read_again_when_it_has_come_back(count: int) -> None:
    """The clock jumps after the first item was begun: it alone has been waited for too long."""
    release = threading.Event()

    def work(item: int) -> int:
        if item == 2:
            release.wait()
        return item

    readers: Readers[int] = Readers(count, patience=1.0, clock=jumping())
    assert readers.run([2, 0, 1, 3, 4], work) == {0: 0, 1: 1, 3: 3, 4: 4}
    assert readers.hanging == {2}
    assert readers.run([2, 0], work) == {0: 0}
    release.set()
    deadline = time.monotonic() + 60
    while readers.hanging:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert readers.run([2], work) == {2: 2}


def jumping() -> Callable[[], float]:
    """A clock that says 0, then 100 for ever."""
    times = iter([0.0])
    return lambda: next(times, 100.0)
