"""Credentials: capabilities, the caller, and the capabilities that each kernel's calls require (kernel/cred.c)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cap(StrEnum):
    """The capabilities that the emulated calls check (include/uapi/linux/capability.h)."""

    SYS_NICE = "CAP_SYS_NICE"
    SYS_PTRACE = "CAP_SYS_PTRACE"
    SYS_ADMIN = "CAP_SYS_ADMIN"
    SYS_RESOURCE = "CAP_SYS_RESOURCE"
    KILL = "CAP_KILL"
    DAC_OVERRIDE = "CAP_DAC_OVERRIDE"


ALL_CAPS = frozenset(Cap)


@dataclass(frozen=True, slots=True)
class Rights:
    """One kernel's rules. `access`: capability to act on another user's task. `ptrace_like`: all uids of the task must
    equal the caller's, and its explicit capabilities must be a subset of the caller's; else one matching uid is enough.
    `leave_cpuset`: capability to name nodes outside the task's cpuset. `move_all`, `mbind_move_all`: capability to move
    pages that other processes map too. `cut_to_caller`: migrate_pages drops target nodes outside the caller's own
    cpuset."""

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
"""kernel_migrate_pages(), kernel_move_pages(), do_mbind() of 6.1; __ptrace_may_access() and
cap_ptrace_access_check()."""
LINUX_2_6_15 = Rights(
    Cap.SYS_ADMIN,
    ptrace_like=False,
    leave_cpuset=Cap.SYS_ADMIN,
    move_all=Cap.SYS_ADMIN,
    mbind_move_all=Cap.SYS_RESOURCE,
    cut_to_caller=False,
)
"""sys_migrate_pages() and do_mbind() of 2.6.15-mm and the first 2.6.16. CAP_SYS_NICE later replaced both
capabilities."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a system call. `uid`: effective uid. `pid`: the calling task. `privileged`: has all capabilities,
    else none; ignored if `caps` is given."""

    uid: int = 0
    privileged: bool = True
    pid: int = 1
    caps: frozenset[Cap] | None = None

    @property
    def capabilities(self) -> frozenset[Cap]:
        if self.caps is None:
            return ALL_CAPS if self.privileged else frozenset()
        return self.caps

    def can(self, cap: Cap) -> bool:
        return cap in self.capabilities
