"""Signals and nice values of another process, on a real kernel and on the emulated machine alike."""

from __future__ import annotations

import errno
import signal
import time
from collections.abc import Callable

import pytest

from backend.process.control import renice, send_signal
from backend.process.process import Identity, read_stat, read_threads
from tests.guest.inside.contract.boxes import Box, Victim

PATIENCE = 60.0


def identity(box: Box, one: Victim) -> Identity:
    return read_stat(box.kernel, one.pid).identity


def until(condition: Callable[[], bool]) -> None:
    """A process stops and continues when it next comes to run."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def stop(box: Box, one: Victim) -> None:
    send_signal(box.kernel, identity(box, one), signal.SIGSTOP)
    until(lambda: read_stat(box.kernel, one.pid).state == "T")


def test_a_stopped_process_says_so_keeps_its_memory_and_continues(box: Box) -> None:
    one = box.victim({0: 50, 1: 30})
    stop(box, one)
    assert one.pages() == {0: 50, 1: 30}
    send_signal(box.kernel, identity(box, one), signal.SIGCONT)
    until(lambda: read_stat(box.kernel, one.pid).state != "T")
    one.verify()


def test_memory_of_a_stopped_process_moves(box: Box) -> None:
    one = box.victim({0: 50})
    stop(box, one)
    done = box.numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json")
    assert done.code == 0, done
    assert one.pages() == {2: 50}
    send_signal(box.kernel, identity(box, one), signal.SIGCONT)
    one.verify()


@pytest.mark.parametrize("number", [0, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH])
def test_what_is_ignored_changes_nothing(box: Box, number: int) -> None:
    one = box.victim({0: 10})
    send_signal(box.kernel, identity(box, one), number)
    assert one.pages() == {0: 10}
    one.verify()


def test_nice_values_of_all_threads_and_their_limits(box: Box) -> None:
    one = box.victim({0: 10})
    who = identity(box, one)
    before = read_stat(box.kernel, one.pid).nice
    assert renice(box.kernel, who, 3).after == before + 3
    assert {thread.nice for thread in read_threads(box.kernel, one.pid)} == {before + 3}
    assert renice(box.kernel, who, 100).after == 19
    assert renice(box.kernel, who, -100).after == -20


def test_errnos(box: Box) -> None:
    one = box.victim({0: 10})
    fd = box.kernel.pidfd_open(one.pid)
    try:
        with pytest.raises(OSError) as refused:
            box.kernel.pidfd_send_signal(fd, 65)
        assert refused.value.errno == errno.EINVAL
    finally:
        box.kernel.pidfd_close(fd)
    with pytest.raises(OSError) as refused:
        box.kernel.setpriority((1 << 22) - 5, 0)
    assert refused.value.errno == errno.ESRCH
