"""Creation and exit of tasks (kernel/fork.c, kernel/exit.c do_exit())."""

from __future__ import annotations

from collections.abc import Sequence

from backend.emulator.machine import Machine
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import Mm
from backend.emulator.mm.mmap import mmput
from backend.emulator.tasks.cgroup import Cpuset
from backend.emulator.tasks.credentials import Cap
from backend.emulator.tasks.scheduler import confine
from backend.emulator.tasks.task import Task, Thread


def spawn(
    m: Machine,
    name: str | bytes,
    *,
    cpu: int,
    uid: int = 0,
    command: str | bytes = b"",
    threads: Sequence[int] = (),
    ppid: int = 1,
    policy: Mempolicy | None = None,
    kernel_thread: bool = False,
    pid: int | None = None,
    cpuset: Cpuset | None = None,
    suid: int | None = None,
    caps: frozenset[Cap] | None = None,
) -> Task:
    """Create a task on `cpu`, without memory. `threads`: CPUs of further threads, one each. `pid`: a free pid to use;
    the default is the next unused pid. `cpuset`: the root by default. Raises ValueError if the pid is in use."""
    raw = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
    line = command.encode("utf-8", "surrogateescape") if isinstance(command, str) else command
    if pid is None:
        pid = m.next_pid()
    elif pid in m.tasks:
        raise ValueError(f"pid {pid} is in use")
    where = cpuset or m.cpusets.root
    tids = [pid, *(m.next_pid() for _ in threads)]
    task = Task(
        pid=pid,
        name=raw[:15],  # TASK_COMM_LEN is 16 bytes with the terminating NUL.
        command=line,
        uid=uid,
        start_time=m.next_start_time(),
        mm=None if kernel_thread else Mm(m.page_size, m.node_slots, m.rmap),
        threads=[Thread(tid, raw[:15], on) for tid, on in zip(tids, (cpu, *threads), strict=True)],
        ppid=0 if pid <= 2 else ppid,  # init and kthreadd have no parent.
        cpus_allowed=where.effective_cpus,
        saved_uid=suid,
        own_caps=caps,
        cpuset=where,
    )
    if task.mm is not None:
        task.mm.cgroup = where.id
    confine(m, task, where.effective_cpus)
    if policy is not None:
        task.policy = policy
    m.tasks[pid] = task
    return task


def do_exit(m: Machine, task: Task, why: str = "exited") -> None:
    """End a task. The last user of the address space frees its memory (mmput())."""
    if task.exited:
        return
    task.exited = why
    m.tasks.pop(task.pid, None)
    m.pagevecs.lru_add_drain(task.leader.cpu)
    if task.mm is not None:
        mmput(m, task.mm)
