"""Confine processes to the target nodes of a migration through their cpuset, without losing the gentle way of moving.

The mems of a cpuset are changed in two steps: first they are widened to the old and the new nodes together, which moves
nothing and lets move_pages reach the targets; when the pages have moved, they are narrowed to the targets, and the
kernel moves what is left."""

from __future__ import annotations

from dataclasses import dataclass

from backend.cpuset.change import confine, predict_mems, set_mems, sharing
from backend.errors import UsageError
from backend.files.text import printable
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from backend.process.process import Process


@dataclass(frozen=True, slots=True)
class Confinement:
    """One cpuset that will have `targets` as its mems instead of `mems`; `process` is one of those in it, `others` the
    processes beside those that are migrated."""

    path: str
    mems: NodeSet
    targets: NodeSet
    process: Process
    others: tuple[Process, ...]


def predict(kernel: Kernel, processes: list[Process], targets: NodeSet) -> list[Confinement]:
    """What confining these processes will change. Raises UsageError where one of them is in the root cpuset, or the
    mems cannot be changed as needed; NotFound, NotSupported, NotPermitted."""
    out: dict[str, Confinement] = {}
    pids = {one.pid for one in processes}
    for process in processes:
        shared = sharing(kernel, process)
        if shared.is_root:
            raise UsageError(
                f"process {process.pid} is in the root cpuset, which has all nodes for good",
                "make a cpuset for it and attach it: numatui cpuset attach",
            )
        if shared.path not in out:
            others = tuple(one for one in shared.others if one.pid not in pids)
            out[shared.path] = Confinement(shared.path, shared.mems, targets, process, others)
            predict_mems(kernel, shared.path, shared.mems | targets)
    return list(out.values())


def widen(kernel: Kernel, one: Confinement) -> None:
    """Let the cpuset use the targets too: nothing moves. Raises what `backend.cpuset.change.set_mems` raises."""
    if not one.targets.issubset(one.mems):
        set_mems(kernel, one.path, one.mems | one.targets)


def narrow(kernel: Kernel, one: Confinement) -> list[str]:
    """Only the targets from now on: what is to be said of it. Raises what `backend.cpuset.change.confine` raises."""
    result = confine(kernel, one.process, one.targets)
    said = [f"cpuset {printable(one.path, 80)} has the nodes {result.effective} now, instead of {one.mems}"]
    return said + [str(error) for error in result.errors]


def left_wide(one: Confinement) -> str:
    """What to say when the migration did not come to its end."""
    name, wide = printable(one.path, 80), one.mems | one.targets
    return (
        f"cpuset {name} may use the nodes {wide} now: the migration did not come to its end; "
        f"set what you want with numatui cpuset set-mems {name} SET (it was {one.mems})"
    )
