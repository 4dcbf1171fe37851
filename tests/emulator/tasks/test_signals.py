"""Signals and nice values of emulated tasks, as signal(7) and setpriority(2) say."""

from __future__ import annotations

import errno
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.machine import Machine
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.signals import LAST, send_signal, set_priority
from backend.emulator.tasks.task import Task
from tests.emulator.machines import machine, region

ROOT, OWNER, OTHER = Caller(), Caller(1001, privileged=False), Caller(1002, privileged=False)
ENDING = [
    one for one in signal.Signals
    if one.name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGTERM", "SIGUSR1", "SIGALRM", "SIGPIPE", "SIGIO")
]  # fmt: skip
STOPPING = [signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU]
IGNORED = [signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT]


@pytest.fixture
def m() -> Machine:
    return machine("linux-6", pages=256)


@pytest.fixture
def task(m: Machine) -> Task:
    made = spawn(m, "t", cpu=0, uid=1001, threads=[1], pid=50)
    region(m, made, {0: 8})
    return made


@pytest.mark.parametrize("number", ENDING)
def test_what_ends_a_process_frees_its_memory(m: Machine, task: Task, number: signal.Signals) -> None:
    send_signal(m, ROOT, task, number)
    assert task.exited == f"killed by {number.name}"
    assert task.pid not in m.tasks
    with pytest.raises(OSError) as refused:
        send_signal(m, ROOT, task, 0)
    assert refused.value.errno == errno.ESRCH


@pytest.mark.parametrize("number", [0, *IGNORED])
def test_others_change_nothing(m: Machine, task: Task, number: int) -> None:
    send_signal(m, ROOT, task, number)
    assert task.alive
    assert not task.stopped


@pytest.mark.parametrize("number", STOPPING)
def test_a_stopped_process_says_so_and_continues(m: Machine, task: Task, number: signal.Signals) -> None:
    kernel = EmulatedKernel(m)
    send_signal(m, ROOT, task, number)
    assert kernel.read(f"/proc/{task.pid}/stat").split(b") ")[1][:1] == b"T"
    assert b"State:\tT (stopped)" in kernel.read(f"/proc/{task.pid}/status")
    send_signal(m, ROOT, task, signal.SIGCONT)
    assert kernel.read(f"/proc/{task.pid}/stat").split(b") ")[1][:1] != b"T"


def test_what_ends_it_waits_while_it_is_stopped_but_sigkill(m: Machine, task: Task) -> None:
    send_signal(m, ROOT, task, signal.SIGSTOP)
    send_signal(m, ROOT, task, signal.SIGTERM)
    assert task.alive
    send_signal(m, ROOT, task, signal.SIGCONT)
    assert task.exited == "killed by SIGTERM"
    other = spawn(m, "o", cpu=0, pid=60)
    send_signal(m, ROOT, other, signal.SIGSTOP)
    send_signal(m, ROOT, other, signal.SIGKILL)
    assert other.exited == "killed by SIGKILL"


def test_whose_signals_are_taken(m: Machine, task: Task) -> None:
    with pytest.raises(OSError) as refused:
        send_signal(m, OTHER, task, signal.SIGTERM)
    assert refused.value.errno == errno.EPERM
    send_signal(m, OWNER, task, signal.SIGTERM)
    assert not task.alive


def test_init_and_kernel_threads_stay(m: Machine) -> None:
    init = spawn(m, "init", cpu=0, pid=1)
    thread = spawn(m, "kswapd0", cpu=0, kernel_thread=True)
    for one in (init, thread):
        send_signal(m, ROOT, one, signal.SIGKILL)
        assert one.alive


@given(st.integers(-3, 70))
def test_numbers_that_are_no_signals(number: int) -> None:
    m = machine("linux-6", pages=64)
    one = spawn(m, "t", cpu=0, pid=50)
    if 0 <= number <= LAST:
        send_signal(m, ROOT, one, number)
    else:
        with pytest.raises(OSError) as refused:
            send_signal(m, ROOT, one, number)
        assert refused.value.errno == errno.EINVAL


def test_a_nice_value_is_of_one_thread_and_stands_in_its_stat(m: Machine, task: Task) -> None:
    kernel, second = EmulatedKernel(m), task.threads[1]
    set_priority(m, ROOT, second.tid, 99)
    assert (task.leader.nice, second.nice) == (0, 19)
    fields = kernel.read(f"/proc/{task.pid}/task/{second.tid}/stat").split(b") ")[1].split()
    assert fields[15:17] == [b"39", b"19"]
    assert kernel.read(f"/proc/{task.pid}/stat").split(b") ")[1].split()[15:17] == [b"20", b"0"]


@pytest.mark.parametrize(
    ("caller", "nice", "number"), [(OTHER, 5, errno.EPERM), (OWNER, -1, errno.EACCES), (ROOT, -20, 0), (OWNER, 5, 0)]
)
def test_who_may_set_it(m: Machine, task: Task, caller: Caller, nice: int, number: int) -> None:
    if number:
        with pytest.raises(OSError) as refused:
            set_priority(m, caller, task.pid, nice)
        assert refused.value.errno == number
    else:
        set_priority(m, caller, task.pid, nice)
        assert task.leader.nice == nice


def test_a_thread_that_nobody_has(m: Machine) -> None:
    with pytest.raises(OSError) as refused:
        set_priority(m, ROOT, 99_999, 0)
    assert refused.value.errno == errno.ESRCH
