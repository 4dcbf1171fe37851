"""Permission checks on another task's memory (kernel/ptrace.c __ptrace_may_access(), mm/mempolicy.c
kernel_migrate_pages())."""

from __future__ import annotations

from backend.emulator.machine import Machine
from backend.emulator.tasks.credentials import ALL_CAPS, Caller, Cap
from backend.emulator.tasks.task import Task
from backend.nodeset import NodeSet


def caller_of(task: Task) -> Caller:
    """The credentials of a task that makes a call itself."""
    return Caller(task.uid, task.caps == ALL_CAPS, task.pid, task.caps)


def may_access(m: Machine, task: Task, caller: Caller) -> bool:
    """Whether the caller may read this task's placement and move its memory."""
    rights = m.profile.rights
    if caller.can(rights.access):
        return True
    if rights.ptrace_like:
        covered = task.own_caps is None or task.own_caps <= caller.capabilities
        return covered and {caller.uid} == {task.uid, task.suid}
    return caller.uid in (task.uid, task.suid)


def may_name(m: Machine, task: Task, caller: Caller, nodes: NodeSet) -> bool:
    """Whether the caller may name these nodes as targets for this task's pages."""
    return nodes.issubset(m.cpusets.mems_allowed(task)) or caller.can(m.profile.rights.leave_cpuset)


def mems_of_caller(m: Machine, caller: Caller) -> NodeSet:
    """mems_allowed of the calling task; all nodes with memory if the caller is not a task of the machine."""
    task = m.tasks.get(caller.pid)
    return m.memory_nodes if task is None else m.cpusets.mems_allowed(task)


def may_write(caller: Caller) -> bool:
    """Whether the caller may write control files, which belong to root and have mode 0644."""
    return caller.uid == 0 or caller.can(Cap.DAC_OVERRIDE)
