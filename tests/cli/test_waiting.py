"""Work beside the main thread: signals are heard while it hangs."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from numatui.cli.printing.waiting import beside


def test_it_returns_and_raises_what_the_work_does() -> None:
    assert beside(lambda: threading.current_thread() is threading.main_thread()) is False
    with pytest.raises(ZeroDivisionError):
        beside(lambda: 1 // 0)
    with pytest.raises(SystemExit):
        beside(lambda: exit(3))


def test_a_signal_is_heard_while_the_work_hangs() -> None:
    free = threading.Event()

    def hang() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        free.wait()

    with pytest.raises(KeyboardInterrupt):
        beside(hang)
    free.set()


def test_a_signal_that_does_not_wake_the_main_thread_is_heard() -> None:
    """As one that comes right before it falls asleep: here another thread gets it, which can run no handler."""
    heard = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.set())

    def work() -> bool:
        _until_asleep(os.getpid())
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        return heard.wait(5)

    try:
        assert beside(work)
    finally:
        signal.signal(signal.SIGUSR1, before)


def _until_asleep(tid: int) -> None:
    """Until a thread of this process has not run for a while."""
    known, same = b"", 0
    while same < 10:
        time.sleep(0.005)
        status = Path(f"/proc/self/task/{tid}/status").read_bytes()
        switches = status.partition(b"voluntary_ctxt_switches:")[2]
        same, known = same + 1 if switches == known else 0, switches
