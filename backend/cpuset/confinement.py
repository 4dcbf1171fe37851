"""Confine processes to the target nodes of a migration through their cpuset, in two steps.

A change of mems to the targets alone would make the kernel move all pages at once. So mems are first widened to the old
and the new nodes together. That moves nothing and allows move_pages(2) to use the targets. After the migration, mems
are narrowed to the targets, and the kernel moves the remaining pages."""

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
    """A cpuset whose mems change from `mems` to `targets`. `process`: one of the migrated processes in it. `others`:
    processes in it that are not migrated but confined too."""

    path: str
    mems: NodeSet
    targets: NodeSet
    process: Process
    others: tuple[Process, ...]


def predict(kernel: Kernel, processes: list[Process], targets: NodeSet) -> list[Confinement]:
    """The changes that confine these processes. Raises UsageError if a process is in the root cpuset or the mems cannot
    be changed; NotFound, NotSupported, NotPermitted."""
    out: dict[str, Confinement] = {}
    pids = {one.pid for one in processes}
    for process in processes:
        shared = sharing(kernel, process)
        if shared.is_root:
            raise UsageError(
                f"process {process.pid} is in the root cpuset, whose nodes cannot be changed",
                "make a cpuset for it and attach it: numatui cpuset attach",
            )
        if shared.path not in out:
            others = tuple(one for one in shared.others if one.pid not in pids)
            out[shared.path] = Confinement(shared.path, shared.mems, targets, process, others)
            predict_mems(kernel, shared.path, shared.mems | targets)
    return list(out.values())


def widen(kernel: Kernel, one: Confinement) -> None:
    """Add the targets to the cpuset's mems; nothing moves. Raises as `backend.cpuset.change.set_mems`."""
    if not one.targets.issubset(one.mems):
        set_mems(kernel, one.path, one.mems | one.targets)


def narrow(kernel: Kernel, one: Confinement) -> list[str]:
    """Reduce the cpuset's mems to the targets. Returns messages for the user. Raises as
    `backend.cpuset.change.confine`."""
    result = confine(kernel, one.process, one.targets)
    said = [f"cpuset {printable(one.path, 80)} has the nodes {result.effective} now, instead of {one.mems}"]
    return said + [str(error) for error in result.errors]


def left_wide(one: Confinement) -> str:
    """The message for the user if the migration did not finish."""
    name, wide = printable(one.path, 80), one.mems | one.targets
    return (
        f"cpuset {name} may use the nodes {wide} now: the migration did not finish; "
        f"set what you want with numatui cpuset set-mems {name} SET (it was {one.mems})"
    )
