"""Signals and nice values reach the process that was meant, and no other; errors are one line."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Generator

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.emulator.tasks.task import Task
from backend.errors import NotFound, NotPermitted, NotSupported, NumatuiError, UsageError
from backend.live.kernel import LiveKernel
from backend.process.control import Reniced, renice, send_signal
from backend.process.process import Identity, read_stat
from tests.emulator.machines import machine, region
from tests.kernels.fake_kernel import FakeKernel

OWNER = Caller(1001, privileged=False)


@pytest.fixture
def kernel() -> EmulatedKernel:
    return EmulatedKernel(machine("linux-6", pages=256))


@pytest.fixture
def task(kernel: EmulatedKernel) -> Task:
    made = spawn(kernel.machine, "t", cpu=0, uid=1001, threads=[1, 2], pid=50)
    region(kernel.machine, made, {0: 8})
    return made


def identity(task: Task) -> Identity:
    return Identity(task.pid, task.start_time)


def test_a_signal_ends_it_and_no_descriptor_stays_open(kernel: EmulatedKernel, task: Task) -> None:
    send_signal(kernel, identity(task), signal.SIGTERM)
    assert task.exited
    assert not kernel._pidfds
    with pytest.raises(NotFound):
        send_signal(kernel, identity(task), signal.SIGTERM)
    assert not kernel._pidfds


def test_another_with_its_number_is_left_alone(kernel: EmulatedKernel, task: Task) -> None:
    do_exit(kernel.machine, task)
    other = spawn(kernel.machine, "other", cpu=0, pid=task.pid)
    with pytest.raises(NotFound, match="another has its number"):
        send_signal(kernel, identity(task), signal.SIGKILL)
    with pytest.raises(NotFound, match="another has its number"):
        renice(kernel, identity(task), 1)
    assert other.alive
    assert other.leader.nice == 0


def test_all_threads_get_the_new_value(kernel: EmulatedKernel, task: Task) -> None:
    assert renice(kernel, identity(task), 3) == Reniced(0, 3, 3, 0)
    assert [thread.nice for thread in task.threads] == [3, 3, 3]
    assert renice(kernel, identity(task), 30).after == 19
    assert renice(kernel, identity(task), -60).after == -20


def test_what_the_kernel_refuses_is_said_in_one_line(kernel: EmulatedKernel, task: Task) -> None:
    kernel.caller = OWNER
    with pytest.raises(NotPermitted, match="more processor time") as refused:
        renice(kernel, identity(task), -1)
    assert "\n" not in str(refused.value)
    kernel.caller = Caller(1002, privileged=False)
    with pytest.raises(NotPermitted, match="owner"):
        send_signal(kernel, identity(task), signal.SIGTERM)
    kernel.caller = Caller()
    with pytest.raises(UsageError, match="no such signal"):
        send_signal(kernel, identity(task), 99)
    assert task.alive


@pytest.mark.parametrize("source", ["replay", "live"])
def test_kernels_that_cannot(source: str) -> None:
    fake = FakeKernel()
    fake.source = source  # type: ignore[assignment]
    with pytest.raises(NotSupported):
        send_signal(fake, Identity(1200, 100), 0)


@pytest.fixture
def sleeper() -> Generator[subprocess.Popen[bytes]]:
    """A process that runs until it is ended."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as one:
        yield one
        one.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_on_this_linux(sleeper: subprocess.Popen[bytes]) -> None:
    live = LiveKernel()
    who = read_stat(live, sleeper.pid).identity
    before = os.getpriority(os.PRIO_PROCESS, sleeper.pid)
    new = renice(live, who, 2)
    assert (new.before, new.after) == (before, before + 2)
    assert os.getpriority(os.PRIO_PROCESS, sleeper.pid) == before + 2
    wrong = Identity(sleeper.pid, who.start_time + 1)
    with pytest.raises(NotFound):
        send_signal(live, wrong, signal.SIGKILL)
    send_signal(live, who, signal.SIGTERM)
    assert sleeper.wait(60) == -signal.SIGTERM
    with pytest.raises(NumatuiError):
        send_signal(live, who, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_the_seam_gives_errnos_of_this_linux(sleeper: subprocess.Popen[bytes]) -> None:
    live = LiveKernel()
    fd = live.pidfd_open(sleeper.pid)
    try:
        live.pidfd_send_signal(fd, 0)
        with pytest.raises(OSError) as refused:
            live.pidfd_send_signal(fd, 65)
        assert refused.value.errno == errno.EINVAL
    finally:
        live.pidfd_close(fd)
