"""One scenario under several kernels: the five benefits of Direct Migration V8 over swap migration, in numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.emulator.description import Description, Step
from backend.emulator.fault import touch
from backend.emulator.mm import PTE_PRESENT, Indices, Vma
from backend.emulator.placing import OutOfMemory, SegmentationFault
from backend.emulator.run import Built, build, finish
from backend.emulator.task import Task
from backend.nodeset import NodeSet
from backend.remap import remap


@dataclass(slots=True)
class _Asked:
    """Pages that a step asked to move: where they were, where they should be."""

    task: Task
    start: int
    index: Indices
    source: NDArray[np.int64]
    wanted: NDArray[np.int64]


def compare(describe: Callable[[str], Description], profiles: list[str]) -> dict[str, Any]:
    """Run the scenario under each profile (`describe` gives it for one), then touch every page that was to move. The five
    benefits for each: see `benefits`."""
    return {"profiles": {profile: benefits(describe(profile)) for profile in profiles}}


def benefits(description: Description) -> dict[str, Any]:
    """The numbers of one run, benefit by benefit:

    1 `pages_asked` to move and `pages_arrived` on the node asked for, after all of them were touched again; 2 `seconds`
    that the moving steps and that touching took; 3 swap slots in use right after moving, and pages left behind for want of
    one or of anything else; 4 pages written to a device meanwhile; 5 source nodes, and how many of them still have their
    pages together on a node of their own.
    """
    asked: list[_Asked] = []
    slots = [0]

    def observe(built: Built, step: Step, done: bool) -> None:
        if not done:
            asked.extend(_asked(built, step))
        elif step.call in _MOVING:
            slots.append(built.machine.swap.used)

    built = build(description, observer=observe)
    m = built.machine
    finish(description, built)
    took = sum(outcome["seconds"] for outcome in built.outcomes if outcome["call"] in _MOVING)
    not_moved = sum(outcome["result"] or 0 for outcome in built.outcomes if outcome["call"] in _MOVING)
    first = next((at for at, outcome in enumerate(built.outcomes) if outcome["call"] in _MOVING), 0)
    touched = sum(outcome["seconds"] for outcome in built.outcomes[first:] if outcome["call"] == "touch")
    began = m.now
    for part in asked:
        if part.task.alive:
            m.run(_touch(built, part))
    touching = touched + m.now - began
    arrived = [_where(built, part) for part in asked]
    return {
        "pages_asked": sum(len(part.index) for part in asked),
        "pages_arrived": sum(
            int(np.count_nonzero(where == part.wanted)) for part, where in zip(asked, arrived, strict=True)
        ),
        "seconds": took + touching,
        "seconds_moving": took,
        "seconds_touching": touching,
        "slots_used_after": max(slots),
        "pages_not_moved": not_moved,
        "pages_written": m.counters.get("nr_written", 0) + m.counters.get("pswpout", 0),
        **_groups(asked, arrived),
    }


_MOVING = ("migrate_pages",)


def _asked(built: Built, step: Step) -> list[_Asked]:
    """The resident pages that a migrate_pages step is about to move, with the nodes where they should end."""
    task = built.tasks.get(step.task)
    if step.call not in _MOVING or task is None or task.mm is None:
        return []
    sources: NodeSet = step.arguments["from"]
    targets: NodeSet = step.arguments["to"]
    goal = {move.source: move.target for move in remap(sources, targets, "direct-v8")}
    out: list[_Asked] = []
    for vma in task.mm.vmas:
        index = np.nonzero((vma.pte & PTE_PRESENT) != 0)[0]
        where = built.machine.frames.nid[vma.pfns(index)].astype(np.int64)
        moving = np.isin(where, list(goal))
        if moving.any():
            source = where[moving]
            wanted = np.array([goal[node] for node in source.tolist()], np.int64)
            out.append(_Asked(task, vma.start, index[moving], source, wanted))
    return out


def _touch(built: Built, part: _Asked) -> Any:
    try:
        yield from touch(built.machine, part.task, part.task.leader, part.start, part.index, write=False)
    except (OutOfMemory, SegmentationFault):
        return


def _where(built: Built, part: _Asked) -> NDArray[np.int64]:
    """The node of each page now, -1 where it is not in memory."""
    out = np.full(len(part.index), -1, np.int64)
    mm = part.task.mm
    vma: Vma | None = mm.find(part.start) if mm is not None else None
    if vma is None or not part.task.alive:
        return out
    inside = part.index < vma.pages
    pte = vma.pte[part.index[inside]]
    present = (pte & PTE_PRESENT) != 0
    out[np.nonzero(inside)[0][present]] = built.machine.frames.nid[pte[present] >> 8]
    return out


def _groups(asked: list[_Asked], arrived: list[NDArray[np.int64]]) -> dict[str, int]:
    """Source nodes, and those whose pages are still together, on a node that no other group shares unless it was asked to."""
    if not asked:
        return {"groups": 0, "groups_kept": 0}
    source = np.concatenate([part.source for part in asked])
    wanted = np.concatenate([part.wanted for part in asked])
    where = np.concatenate(arrived)
    homes: dict[int, int] = {}
    for node in np.unique(source).tolist():
        mine = where[source == node]
        if (mine == mine[0]).all() and mine[0] >= 0:
            homes[node] = int(mine[0])
    asked_home = {node: int(wanted[source == node][0]) for node in np.unique(source).tolist()}
    kept = sum(
        all(
            (homes[node] == homes.get(other, -2)) == (asked_home[node] == asked_home[other])
            for other in asked_home
        )
        for node in homes
    )
    return {"groups": len(asked_home), "groups_kept": kept}
