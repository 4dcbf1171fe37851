"""Runs a scenario under several kernels and measures the five benefits of Direct Migration V8 over swap migration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.emulator.mm.fault import touch
from backend.emulator.mm.mm import PTE_PRESENT, PTE_SHIFT, Indices, Vma
from backend.emulator.mm.placing import OutOfMemory, SegmentationFault
from backend.emulator.scenario.cpuset_steps import Attach, ChangeCpuset, Echo
from backend.emulator.scenario.description import Description
from backend.emulator.scenario.memory_steps import MigratePages, MovePages
from backend.emulator.scenario.run import Built, build, finish
from backend.emulator.scenario.step import Step
from backend.emulator.tasks.cgroup import Cpuset
from backend.emulator.tasks.cpuset import Cpusets
from backend.emulator.tasks.task import Task
from backend.errors import UsageError
from backend.nodeset import NodeSet
from backend.plan.remap import remap


@dataclass(slots=True)
class _Asked:
    """Pages of one VMA that a step asked to move. `start`: address of the VMA; `index`: its pages. `source`, `wanted`:
    node of each page before the step, and node requested."""

    task: Task
    start: int
    index: Indices
    source: NDArray[np.int64]
    wanted: NDArray[np.int64]


def compare(describe: Callable[[str], Description], profiles: list[str]) -> dict[str, Any]:
    """Run the scenario under each profile and return the numbers of `benefits` for each. `describe`: gives the scenario
    for a profile. Raises UsageError if no step of the scenario moves pages."""
    described = {profile: describe(profile) for profile in profiles}
    for description in described.values():
        if not any(step.call in _MOVING for step in description.steps):
            raise UsageError(
                "nothing is moved by the steps of this scenario: there is nothing to compare",
                f"give it a step like {', '.join(sorted(_MOVING))}",
            )
    return {"profiles": {profile: benefits(one) for profile, one in described.items()}}


def benefits(description: Description) -> dict[str, Any]:
    """Run a scenario, touch every page that was asked to move, and return the numbers, benefit by benefit:

    1 `pages_asked`: pages asked to move; `pages_arrived`: those on the node last asked for, after they were touched.
    2 `seconds`: simulated time of the moving steps, of later touch steps and of the final touching.
    3 `slots_used_after`: most swap slots in use right after a moving step; `pages_not_moved`: as returned by the calls.
    4 `pages_written`: pages written to a device. 5 `groups`: source nodes; `groups_kept`: source nodes whose pages are
    still together on a node of their own."""
    asked: list[_Asked] = []
    slots = [0]
    wishes: dict[int, list[_Asked]] = {}

    def observe(built: Built, step: Step, done: bool) -> None:
        if not done:
            wishes[id(step)] = _asked(built, step)
        elif step.call in _MOVING:
            slots.append(built.machine.swap.used)
            at = next(number for number, one in enumerate(description.steps) if one is step)
            if built.outcomes[at]["errno"] not in _REFUSED:
                asked.extend(wishes.pop(id(step), []))

    built = build(description, observer=observe)
    m = built.machine
    finish(description, built)
    took = sum(outcome["seconds"] for outcome in built.outcomes if outcome["call"] in _MOVING)
    not_moved = sum(
        outcome["result"] or 0 for outcome in built.outcomes if outcome["call"] in ("migrate_pages", "move_pages")
    )
    first = next((at for at, outcome in enumerate(built.outcomes) if outcome["call"] in _MOVING), 0)
    touched = sum(outcome["seconds"] for outcome in built.outcomes[first:] if outcome["call"] == "touch")
    asked = _last_wishes(asked, m.page_size)
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


_REFUSED = ("ENOENT", "EPERM", "EACCES", "EINVAL", "ESRCH", "ENOSYS", "ENODEV")
"""Errors of steps that failed before they moved any page."""
_MOVING = ("migrate_pages", "move_pages", "mbind", "cpuset", "attach", "echo", "offline", "bad_page")


def _asked(built: Built, step: Step) -> list[_Asked]:
    """The resident pages that a step is about to move, and their target nodes. Empty for steps that name no target
    nodes, such as mbind and offline."""
    if isinstance(step.action, (ChangeCpuset, Echo)):
        found, mems = _change_of_mems(built, step.action)
        tasks = Cpusets.of(built.machine).tasks(found) if found is not None and found.memory_migrate else []
        old = found.old_mems if found is not None else NodeSet()
        return [part for task in tasks for part in _between(built, task, old, mems)]
    task = built.tasks.get(step.task)
    if task is None or task.mm is None:
        return []
    match step.action:
        case MigratePages(from_=old, to=new):
            return _between(built, task, old, new)
        case Attach(cpuset=name) if task.cpuset is not None:
            target = Cpusets.of(built.machine).named(name)
            if target is None or not target.memory_migrate:
                return []
            return _between(built, task, task.cpuset.old_mems, target.effective_mems)
        case MovePages(region=name, node=node, pages=pages):
            region = built.regions[step.task][name]
            first, last = pages or (0, region.pages - 1)
            return _to(built, task, region.start, np.arange(first, last + 1), node)
        case _:
            return []


def _change_of_mems(built: Built, action: ChangeCpuset | Echo) -> tuple[Cpuset | None, NodeSet]:
    """(cpuset, new mems) of a step that changes mems; None if it changes no cpuset's mems."""
    cpusets = Cpusets.of(built.machine)
    if isinstance(action, ChangeCpuset):
        return cpusets.named(action.cpuset), action.mems or NodeSet()
    directory, _, file = action.path.rpartition("/")
    if file != "cpuset.mems":
        return None, NodeSet()
    try:
        mems = NodeSet.parse_list(action.data.strip())
    except ValueError:
        mems = NodeSet()
    return next((one for one in cpusets.root.family() if one.parent and directory.endswith(one.path)), None), mems


def _between(built: Built, task: Task, sources: NodeSet, targets: NodeSet) -> list[_Asked]:
    """The resident pages of a task on `sources`, with their targets as this kernel maps `sources` to `targets`."""
    goal = {move.source: move.target for move in remap(sources, targets, built.machine.profile.rule)}
    out: list[_Asked] = []
    for vma in task.mm.vmas if task.mm is not None else ():
        index = np.nonzero((vma.pte & PTE_PRESENT) != 0)[0]
        where = built.machine.frames.nid[vma.pfns(index)].astype(np.int64)
        moving = np.isin(where, list(goal))
        if moving.any():
            source = where[moving]
            wanted = np.array([goal[node] for node in source.tolist()], np.int64)
            out.append(_Asked(task, vma.start, index[moving], source, wanted))
    return out


def _to(built: Built, task: Task, start: int, index: Indices, node: int) -> list[_Asked]:
    """The resident pages among `index`, counted from `start`, with the same target node."""
    out: list[_Asked] = []
    for vma, local in task.mm.spans(start, index) if task.mm is not None else ():
        at = local[(vma.pte[local] & PTE_PRESENT) != 0]
        source = built.machine.frames.nid[vma.pfns(at)].astype(np.int64)
        if len(at):
            out.append(_Asked(task, vma.start, at, source, np.full(len(at), node, np.int64)))
    return out


def _last_wishes(asked: list[_Asked], page_size: int) -> list[_Asked]:
    """Count a page that several steps asked to move only for the last of them."""
    seen: dict[int, NDArray[np.int64]] = {}
    out: list[_Asked] = []
    for part in reversed(asked):
        pages = part.start // page_size + part.index
        before = seen.get(id(part.task), pages[:0])
        new = ~np.isin(pages, before)
        seen[id(part.task)] = np.concatenate([before, pages[new]])
        if new.any():
            out.append(_Asked(part.task, part.start, part.index[new], part.source[new], part.wanted[new]))
    return out[::-1]


def _touch(built: Built, part: _Asked) -> Any:
    try:
        yield from touch(built.machine, part.task, part.task.leader, part.start, part.index, write=False)
    except (OutOfMemory, SegmentationFault):
        return


def _where(built: Built, part: _Asked) -> NDArray[np.int64]:
    """The present node of each page; -1 if it is not in memory."""
    out = np.full(len(part.index), -1, np.int64)
    mm = part.task.mm
    vma: Vma | None = mm.find(part.start) if mm is not None else None
    if vma is None or not part.task.alive:
        return out
    inside = part.index < vma.pages
    pte = vma.pte[part.index[inside]]
    present = (pte & PTE_PRESENT) != 0
    out[np.nonzero(inside)[0][present]] = built.machine.frames.nid[pte[present] >> PTE_SHIFT]
    return out


def _groups(asked: list[_Asked], arrived: list[NDArray[np.int64]]) -> dict[str, int]:
    """`groups`: number of source nodes. `groups_kept`: source nodes whose pages are together on one node, which two
    groups share exactly if they were asked to."""
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
        all((homes[node] == homes.get(other, -2)) == (asked_home[node] == asked_home[other]) for other in asked_home)
        for node in homes
    )
    return {"groups": len(asked_home), "groups_kept": kept}
