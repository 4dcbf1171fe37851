"""Partitions of cpuset v2: cpuset.cpus.partition gives a cgroup's CPUs to it alone (kernel/cgroup/cpuset.c of 6.1,
update_prstate(), update_parent_subparts_cpumask())."""

from __future__ import annotations

from typing import get_args

from backend.emulator.machine import Machine
from backend.emulator.tasks.cgroup import Cpuset, Partition
from backend.nodeset import CpuSet

_EMPTY = "cpuset.cpus is empty"
_NOT_EXCLUSIVE = "Cpu list in cpuset.cpus not exclusive"
_INVALID_PARENT = "Parent is an invalid partition root"
_NO_PARENT = "Parent is not a partition root"
_OUTSIDE = "Invalid cpu list in cpuset.cpus"
_NO_CPUS = "Parent unable to distribute cpu downstream"
STATES: tuple[Partition, ...] = get_args(Partition)


def show(cs: Cpuset) -> str:
    """The text of cpuset.cpus.partition."""
    return f"{cs.partition} invalid ({cs.invalid})\n" if cs.invalid else f"{cs.partition}\n"


def valid(cs: Cpuset) -> bool:
    """Whether its CPUs are its own now; the root's are."""
    return cs.parent is None or (cs.partition != "member" and not cs.invalid)


def total(cs: Cpuset) -> CpuSet:
    """The CPUs of a valid partition before its own partitions took some."""
    return cs.cpus if cs.parent is None else cs.cpus & total(cs.parent)


def given_away(cs: Cpuset) -> CpuSet:
    """The CPUs that its children's partitions have."""
    out = CpuSet()
    for child in cs.children.values():
        if valid(child):
            out |= total(child)
    return out


def set_state(m: Machine, cs: Cpuset, state: Partition) -> None:
    """A write to cpuset.cpus.partition. It succeeds whatever the state; one that cannot be is told as invalid, and an
    invalid one stays so."""
    if state == "member":
        cs.invalid = ""
    elif cs.partition == "member":
        cs.invalid = _EMPTY if not cs.cpus else _overlap(cs) or _refused(m, cs)
    cs.partition = state
    _follow(cs)


def cpus_changed(m: Machine, cs: Cpuset) -> None:
    """cpuset.cpus was written: partitions beside it that it overlaps become invalid, as it does, if it is one. One that
    was invalid may become valid."""
    assert cs.parent is not None
    conflicts = [one for one in _siblings(cs) if valid(one) and one.cpus & cs.cpus]
    for one in conflicts:
        one.invalid = _NOT_EXCLUSIVE
        _follow(one)
    if cs.partition == "member":
        return
    if conflicts:
        cs.invalid = _NOT_EXCLUSIVE
    elif cs.cpus:
        cs.invalid = _refused(m, cs) or _overlap(cs)
    else:
        cs.invalid = cs.invalid or _EMPTY
    _follow(cs)


def _siblings(cs: Cpuset) -> list[Cpuset]:
    return [one for one in cs.parent.children.values() if one is not cs] if cs.parent is not None else []


def _overlap(cs: Cpuset) -> str:
    return _NOT_EXCLUSIVE if any(one.cpus & cs.cpus for one in _siblings(cs)) else ""


def _refused(m: Machine, cs: Cpuset) -> str:
    """Why the parent gives it no CPUs."""
    parent = cs.parent
    assert parent is not None
    if not valid(parent):
        return _INVALID_PARENT if parent.invalid else _NO_PARENT
    if not cs.cpus & total(parent):
        return _OUTSIDE
    left = total(parent) - given_away(parent) - cs.cpus
    populated = any(
        task.cpuset is parent or (parent.parent is None and task.cpuset is None) for task in m.tasks.values()
    )
    return _NO_CPUS if not left and populated else ""


def _follow(cs: Cpuset) -> None:
    """Partitions below one that is none any more become invalid."""
    for child in cs.children.values():
        if child.partition != "member" and not child.invalid and not valid(cs):
            child.invalid = _INVALID_PARENT if cs.invalid else _NO_PARENT
        _follow(child)
