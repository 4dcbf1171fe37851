"""Credentials: capabilities, who calls, and which capability each kernel's calls ask for (kernel/cred.c)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
    caller's, and the capabilities it was given no more than the caller's (else: one uid that matches is enough).
    `leave_cpuset`: lets name nodes outside the task's cpuset; `move_all`, `mbind_move_all`: let move pages that others
    map too. `cut_to_caller`: migrate_pages leaves out target nodes that the caller's own cpuset has not."""

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
"""sys_migrate_pages() and do_mbind() as in 2.6.15-mm and the first 2.6.16; CAP_SYS_NICE took the place of both
later."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: effective uid, with which capabilities, and as which task. `privileged`: all of them or none, where
    `caps` does not say which."""

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
