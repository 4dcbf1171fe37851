"""Sums of processes by user or by cgroup. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from backend.placement.placement import sum_by_node
from backend.placement.survey import ProcessRow
from backend.process.process import Identity, Process

Grouping = Literal["", "user", "cgroup"]
GROUPINGS: tuple[Grouping, ...] = ("", "user", "cgroup")


@dataclass(frozen=True, slots=True)
class GroupRow(ProcessRow):
    """A row with the sums of `members`. The pid of its identity is negative."""

    members: tuple[ProcessRow, ...] = ()

    @property
    def local(self) -> float | None:
        return overall_local(self.members)

    def __post_init__(self) -> None:
        object.__setattr__(self, "resident", self.process.rss)

    @property
    def sampled(self) -> bool:
        return any(row.sampled for row in self.members)


def overall_local(rows: Iterable[ProcessRow]) -> float | None:
    """Share of all memory that is on nodes where its process runs."""
    near, total = 0.0, 0
    for row in rows:
        if row.by_node and (share := row.local) is not None:
            here = sum(row.by_node.values())
            near += share * here
            total += here
    return near / total if total else None


def name_of(row: ProcessRow, grouping: Grouping) -> str:
    """Name of the group that a process belongs to."""
    return row.process.user if grouping == "user" else row.process.cgroup


def summed(members: Sequence[ProcessRow], grouping: Grouping, number: int) -> GroupRow:
    """The row of one group. `number`: identifies the group; it must be the same at every reading."""
    processes = [row.process for row in members]
    name = name_of(members[0], grouping)
    known = [row for row in members if row.by_node is not None]
    running: dict[int, float] = {}
    for row in known:
        weight = row.resident or 1
        for node, share in row.places.items():
            running[node] = running.get(node, 0) + share * weight
    whole = sum(running.values())
    policies = {row.policy for row in members}
    return GroupRow(
        process=Process(
            identity=Identity(-number, 0), ppid=0, comm=name, command=name, uid=-1,
            user=name if grouping == "user" else "", state="", threads=sum(one.threads for one in processes), cpu=-1,
            rss=sum(row.resident for row in members), swap=sum(one.swap for one in processes), cpus_allowed=None,
            mems_allowed=None, cpuset="", is_kernel_thread=False, cgroup=name if grouping == "cgroup" else "",
            ticks=sum(one.ticks for one in processes),
        ),
        by_node=sum_by_node(row.by_node or {} for row in known) if known else None,
        node=None,
        policy=next(iter(policies)) if len(policies) == 1 else "",
        age=max(row.age for row in members),
        runs_on={node: share / whole for node, share in sorted(running.items())} if whole else {},
        load=sum(row.load or 0 for row in members) if any(row.load is not None for row in members) else None,
        members=tuple(members),
    )  # fmt: skip


def as_groups(rows: Iterable[ProcessRow], grouping: Grouping, numbers: dict[str, int]) -> list[GroupRow]:
    """The groups, ordered by first member in `rows`. `numbers` keeps the number of each group between readings."""
    members: dict[str, list[ProcessRow]] = {}
    for row in rows:
        members.setdefault(name_of(row, grouping), []).append(row)
    return [
        summed(some, grouping, numbers.setdefault(f"{grouping} {name}", len(numbers) + 1))
        for name, some in members.items()
    ]
