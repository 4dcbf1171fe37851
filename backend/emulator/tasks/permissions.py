"""Who may do what: capabilities, and per profile which of them each call wants (kernel/ptrace.c, mm/mempolicy.c)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from backend.nodeset import NodeSet

if TYPE_CHECKING:
    from backend.emulator.abi.syscalls import Caller
    from backend.emulator.machine import Machine
    from backend.emulator.tasks.task import Task


class Cap(StrEnum):
    """Capabilities that something here asks for (include/uapi/linux/capability.h)."""

    SYS_NICE = "CAP_SYS_NICE"
    SYS_PTRACE = "CAP_SYS_PTRACE"
    SYS_ADMIN = "CAP_SYS_ADMIN"
    SYS_RESOURCE = "CAP_SYS_RESOURCE"
    DAC_OVERRIDE = "CAP_DAC_OVERRIDE"


ALL_CAPS = frozenset(Cap)


@dataclass(frozen=True, slots=True)
class Rights:
    """One kernel's rules. `access`: lets act on another user's task; `ptrace_like`: every uid of the task must be the
    caller's, and the capabilities it was given no more than the caller's (else: one uid that matches is enough). `leave_cpuset`: lets
    name nodes outside the task's cpuset; `move_all`, `mbind_move_all`: let move pages that others map too.
    `cut_to_caller`: migrate_pages leaves out target nodes that the caller's own cpuset has not."""

    access: Cap
    ptrace_like: bool
    leave_cpuset: Cap
    move_all: Cap
    mbind_move_all: Cap
    cut_to_caller: bool


LINUX_6 = Rights(
    Cap.SYS_PTRACE,
    ptrace_like=True,
    leave_cpuset=Cap.SYS_NICE,
    move_all=Cap.SYS_NICE,
    mbind_move_all=Cap.SYS_NICE,
    cut_to_caller=True,
)
"""kernel_migrate_pages(), kernel_move_pages(), do_mbind() of 6.1; __ptrace_may_access() and cap_ptrace_access_check()."""
LINUX_2_6_15 = Rights(
    Cap.SYS_ADMIN,
    ptrace_like=False,
    leave_cpuset=Cap.SYS_ADMIN,
    move_all=Cap.SYS_ADMIN,
    mbind_move_all=Cap.SYS_RESOURCE,
    cut_to_caller=False,
)
"""sys_migrate_pages() and do_mbind() as in 2.6.15-mm and the first 2.6.16; CAP_SYS_NICE took the place of both later."""


def may_access(m: Machine, task: Task, caller: Caller) -> bool:
    """May the caller look into this task and move its memory?"""
    rights = m.profile.rights
    if caller.can(rights.access):
        return True
    if rights.ptrace_like:
        covered = task.own_caps is None or task.own_caps <= caller.capabilities
        return covered and {caller.uid} == {task.uid, task.suid}
    return caller.uid in (task.uid, task.suid)


def may_name(m: Machine, task: Task, caller: Caller, nodes: NodeSet) -> bool:
    """May the caller name these as the target nodes for this task's pages?"""
    return nodes.issubset(m.cpusets.mems_allowed(task)) or caller.can(m.profile.rights.leave_cpuset)


def mems_of_caller(m: Machine, caller: Caller) -> NodeSet:
    """mems_allowed of the calling task; all nodes with memory for a caller that is no task of the machine."""
    task = m.tasks.get(caller.pid)
    return m.memory_nodes if task is None else m.cpusets.mems_allowed(task)


def may_write(caller: Caller) -> bool:
    """Control files belong to root and have the mode 0644."""
    return caller.uid == 0 or caller.can(Cap.DAC_OVERRIDE)
