"""Signals with their default actions, stops, and nice values (kernel/signal.c, kernel/sys.c). No task has handlers."""

from __future__ import annotations

import errno
import signal

from backend.emulator.machine import Machine
from backend.emulator.tasks.credentials import Caller, Cap
from backend.emulator.tasks.life import do_exit
from backend.emulator.tasks.task import Task, Thread
from backend.errors import os_error

LAST = 64
"""_NSIG"""
INIT = 1
_IGNORED = frozenset({signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT})
_STOPPING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
_LEAST, _MOST = -20, 19


def send_signal(m: Machine, caller: Caller, task: Task, number: int) -> None:
    """group_send_sig_info(). 0 only checks. A stopped task gets what would end it when it continues, SIGKILL at once.
    Raises OSError EINVAL, EPERM, ESRCH."""
    if not 0 <= number <= LAST:
        raise os_error(errno.EINVAL)
    if not task.alive:
        raise os_error(errno.ESRCH)
    if not (caller.can(Cap.KILL) or caller.uid in (task.uid, task.suid)):
        raise os_error(errno.EPERM)
    # Kernel threads ignore all signals; init those that it has no handler for (SIGNAL_UNKILLABLE).
    if number == 0 or task.mm is None or task.pid == INIT:
        return
    if number in _STOPPING:
        task.stopped = True
    elif number == signal.SIGCONT:
        task.stopped = False
        if task.pending:
            do_exit(m, task, _why(task.pending))
    elif number not in _IGNORED:
        if task.stopped and number != signal.SIGKILL:
            task.pending = task.pending or number
        else:
            do_exit(m, task, _why(number))


def set_priority(m: Machine, caller: Caller, tid: int, nice: int) -> None:
    """setpriority(2) with PRIO_PROCESS: one thread. The emulated scheduler does not weigh by it. Raises OSError ESRCH,
    EPERM, EACCES."""
    task, thread = _thread(m, tid)
    if not (caller.can(Cap.SYS_NICE) or caller.uid == task.uid):
        raise os_error(errno.EPERM)
    nice = max(_LEAST, min(_MOST, nice))
    if nice < thread.nice and not caller.can(Cap.SYS_NICE):
        raise os_error(errno.EACCES)
    thread.nice = nice


def _thread(m: Machine, tid: int) -> tuple[Task, Thread]:
    for task in m.tasks.values():
        for thread in task.threads:
            if thread.tid == tid:
                return task, thread
    raise os_error(errno.ESRCH)


def _why(number: int) -> str:
    try:
        return f"killed by {signal.Signals(number).name}"
    except ValueError:
        return f"killed by signal {number}"
