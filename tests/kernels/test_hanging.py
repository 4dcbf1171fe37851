"""A process that keeps whoever reads its memory waiting: its readers give up, everything else goes on, and signals end
the program."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backend.errors import NotPermitted
from backend.live.kernel import LiveKernel
from backend.patience import DisposableThread, Patience
from backend.placement.numa_maps import read_placement
from tests import ROOT


def test_an_answer_or_an_error_is_passed_on() -> None:
    patience = Patience(60)
    assert patience.call(1, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        patience.call(1, lambda: 1 // 0)
    names = {patience.call(who, lambda: threading.current_thread().name) for who in range(2, 7)}
    assert len(names) == 1, "one thread does for all"
    assert names != {threading.current_thread().name}


def test_who_has_answered_is_trusted_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process is read a thousand times a second: two switches of threads for each would take longer."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    patience, here = Patience(60), threading.current_thread

    def told() -> list[bool]:
        return [patience.call(who, here) is here() for who in (1, 1, 2)]

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(told).result() == [False, True, False]
        now[0] += 1
        assert pool.submit(told).result() == [False, True, False]
    assert told() == [False, False, False], "the main thread hears signals: it never hangs"


def test_who_hangs_is_not_asked_again_until_it_answers() -> None:
    patience, free = Patience(0.05), threading.Event()
    with pytest.raises(TimeoutError):
        patience.call("hanging", free.wait)
    patience.seconds = 60
    with pytest.raises(TimeoutError):
        patience.call("hanging", lambda: 1)
    assert patience.call("other", lambda: 2) == 2
    free.set()
    while patience._hanging:
        threading.Event().wait(0.01)
    assert patience.call("hanging", lambda: 3) == 3


def test_in_a_thread_that_may_hang_it_is_called_at_once() -> None:
    found: list[bool] = []
    patience = Patience(0)
    one = DisposableThread(
        lambda: found.append(patience.call(1, threading.current_thread) is threading.current_thread())
    )
    one.start()
    one.join()
    assert found == [True]


class Hanging(LiveKernel):
    """Its process 7 does not let anybody read its maps."""

    def _read(self, path: str, offset: int, size: int) -> bytes:
        if path.startswith("/proc/7/"):
            threading.Event().wait()
        return super()._read(path, offset, size)


@pytest.fixture
def hanging() -> Any:
    kernel = Hanging()
    kernel.patience.seconds = 0.05
    return kernel


@pytest.mark.parametrize("name", ["maps", "numa_maps", "pagemap", "cmdline", "task/7/maps", "smaps"])
def test_every_file_that_needs_the_memory_map_has_a_deadline(hanging: Any, name: str) -> None:
    with pytest.raises(OSError) as caught:
        hanging.read(f"/proc/7/{name}")
    assert caught.value.errno == errno.ETIMEDOUT
    assert hanging.read(f"/proc/{os.getpid()}/maps")


def test_it_is_said_who_it_is(hanging: Any) -> None:
    with pytest.raises(NotPermitted, match="process 7 keeps whoever reads its memory waiting"):
        read_placement(hanging, 7)


STUCK = """
import sys, threading
from numatui.cli.printing.progress import cancelled_by_signals
with cancelled_by_signals() as cancel:
    print("begun", flush=True)
    sys.stdin.readline()
    while True:
        threading.Event().wait(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_third_signal_ends_what_hangs(number: signal.Signals) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", STUCK], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    while child.poll() is None:  # signals that arrive together count as one
        child.send_signal(number)
        threading.Event().wait(0.05)
    assert child.returncode == -number
    child.communicate()


INSIDE = """
import os
from backend.errors import NotSupported
from backend.live.kernel import LiveKernel
kernel = LiveKernel()
calls = kernel.capabilities()
print(calls["move_pages"].available, calls["migrate_pages"].available, calls["move_pages"].why)
try:
    kernel.pidfd_open(os.getpid())
except NotSupported as exc:
    print(exc)
"""


def test_pids_of_another_namespace_are_not_taken_for_ours(tmp_path: Path) -> None:
    """`unshare --pid --fork` without a /proc of its own."""
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", INSIDE],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr:
        pytest.skip(done.stderr)
    first, second = done.stdout.splitlines()
    assert first.startswith("False False /proc shows the processes of another PID namespace")
    assert second.startswith("/proc shows the processes of another PID namespace")
