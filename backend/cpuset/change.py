"""Changes of cpusets: the prediction, the change itself, and its result.

cgroup v2 moves pages at once when mems change or a process is attached; v1 only if cpuset.memory_migrate is 1. Both
rewrite memory policies (kernel/cgroup/cpuset.c: update_nodemasks_hier(), cpuset_attach(), cpuset_migrate_mm()). Pages
keep their relative positions by the rule of `backend.plan.remap`. Pages that other processes map too also move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from backend.cgroup.cgroups import cgroup_of
from backend.cgroup.cpuset_tree import UNIT_SUFFIXES, CpusetInfo, CpusetTree, file_name, pids_in, read_cpusets
from backend.cgroup.named_cpuset import find_cpuset
from backend.cpuset.rules import check_mems, check_own, check_room_for_tasks, write_file
from backend.errors import (
    NotFound,
    NotPermitted,
    NotSupported,
    NumatuiError,
    ParseError,
    UsageError,
)  # fmt: skip
from backend.files.shell_word import shell_word
from backend.files.text import printable
from backend.kernel import Kernel
from backend.machine.kernel_info import release
from backend.machine.topology import Topology, read_topology
from backend.nodeset import NodeSet
from backend.placement.numa_maps import read_placement
from backend.placement.placement import sum_by_node
from backend.plan.remap import Move, landing, remap, rule_of
from backend.process.process import Process, read_process, still_the_same

_NO_NODES = ("default", "local")  # memory policies without a nodemask


@dataclass(frozen=True, slots=True)
class Predicted:
    """Effect of a change on one process. `old`, `new`: the nodes it may use before and after. `moves`: the kernel's
    moves, in order; empty if it moves no pages. `before`: node → bytes, None without permission. `policies`: its memory
    policies with nodes, which the kernel rewrites."""

    process: Process
    cpuset: str
    old: NodeSet
    new: NodeSet
    moves: tuple[Move, ...]
    before: dict[int, int] | None
    policies: tuple[str, ...] = ()

    @property
    def after(self) -> dict[int, int] | None:
        """Node → bytes after all moves."""
        if self.before is None:
            return None
        return sum_by_node({landing(self.moves, node): amount} for node, amount in self.before.items())

    @property
    def ways(self) -> dict[tuple[int, int], int]:
        """(from, to) → bytes that move."""
        ends = {node: (landing(self.moves, node), amount) for node, amount in (self.before or {}).items()}
        return {(node, end): amount for node, (end, amount) in ends.items() if amount and end != node}


@dataclass(frozen=True, slots=True)
class Change:
    """New mems for a cpuset, or processes to attach (`mems` is None). `memory_migrate`: the value to which v1's flag is
    set first; None: unchanged. `effective`: the effective mems afterwards. `notes`: warnings for the user."""

    path: str
    version: str
    mems: NodeSet | None
    memory_migrate: bool | None
    effective: NodeSet
    processes: tuple[Predicted, ...]
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Upper bound of the bytes that move. A page that several processes map counts for each."""
        return sum(sum(one.ways.values()) for one in self.processes)


@dataclass(frozen=True, slots=True)
class Result:
    """Result for one process. `predicted.before` and `after` are both read from the kernel, node → bytes; `after` is
    None if the process has ended or may not be read. `left`: node → bytes that should have left it and have not."""

    predicted: Predicted
    after: dict[int, int] | None
    left: dict[int, int]
    error: str = ""


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """Result of a change. `effective`: the cpuset's effective mems as read afterwards. `errors`: one for each process
    that was not attached."""

    change: Change
    effective: NodeSet
    processes: tuple[Result, ...]
    errors: tuple[NumatuiError, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.errors and not any(one.left for one in self.processes)


def predict_mems(kernel: Kernel, name: str, mems: NodeSet, memory_migrate: bool | None = None) -> Change:
    """Predict the effect of new mems. `name`: as for `find_cpuset`. Raises UsageError, NotFound (no such cgroup or
    node), NotSupported (not a cpuset), NotPermitted for a change that the kernel would refuse, or accept and ignore."""
    tree, topology = read_cpusets(kernel), read_topology(kernel)
    cpuset, note = find_cpuset(kernel, tree, name)
    check_own(tree, cpuset)
    check_mems(tree, cpuset, mems, topology)
    migrate = _migrates(tree, cpuset, memory_migrate)
    effective = effective_after(tree, cpuset, mems)
    affected: list[Predicted] = []
    for one in tree.below(cpuset.path):
        if not one.own or effective[one.path] == one.effective_mems:
            continue
        old = _online(tree, one, {}, topology)
        new = _online(tree, one, effective, topology)
        for pid in pids_in(kernel, tree, one.path) or ():
            with suppress(NotFound, ParseError):
                affected.append(_predict(kernel, pid, one, old, new, migrate))
    return _change(tree, cpuset, mems, memory_migrate, effective[cpuset.path], affected, topology, note)


def effective_after(tree: CpusetTree, cpuset: CpusetInfo, mems: NodeSet) -> dict[str, NodeSet]:
    """Path → effective mems of a cpuset and of those below it, if its mems become these."""
    out: dict[str, NodeSet] = {}
    for one in tree.below(cpuset.path):
        if not one.own:
            continue
        above = tree.deciding(one.parent)
        have = out.get(above.path, above.effective_mems)
        wanted = mems if one is cpuset else one.mems
        # update_nodemasks_hier(): in v2 a cpuset whose mems have no node of its parent's inherits the parent's.
        out[one.path] = wanted & have or (have if tree.hierarchy.version == "v2" else wanted & have)
    return out


def predict_attach(kernel: Kernel, name: str, pids: Sequence[int], memory_migrate: bool | None = None) -> Change:
    """Predict the effect of attaching processes to a cpuset. Raises as `predict_mems`."""
    tree, topology = read_cpusets(kernel), read_topology(kernel)
    cpuset, note = find_cpuset(kernel, tree, name)
    check_own(tree, cpuset)
    check_room_for_tasks(tree, cpuset)
    migrate = _migrates(tree, cpuset, memory_migrate)
    new = _online(tree, cpuset, {}, topology)
    coming: list[Predicted] = []
    left: set[str] = set()
    for pid in dict.fromkeys(pids):
        path = cgroup_of(kernel, tree.hierarchy, pid, "cpuset")
        old = _online(tree, tree.deciding(path), {}, topology)
        process = read_process(kernel, pid)
        if process.is_kernel_thread:
            raise NotSupported(f"{pid} is a kernel thread: it stays where the kernel put it", "choose a process")
        coming.append(_predict(kernel, pid, cpuset, old, new, migrate))
        left |= {path} - {cpuset.path}
    change = _change(tree, cpuset, None, memory_migrate, cpuset.effective_mems, coming, topology, note)
    if left and tree.hierarchy.version == "v2":
        text = (
            "in v2 that also leaves the other limits of "
            f"{', '.join(printable(one, 80) for one in sorted(left))}; memory stays charged there"
        )
        change = replace(change, notes=(*change.notes, text))
    return change


def apply(kernel: Kernel, change: Change) -> ChangeResult:
    """Make a predicted change and read the result. Processes that joined the cpuset meanwhile are moved and reported
    too. Raises as `predict_mems` and `predict_attach`, and NumatuiError if the kernel refuses."""
    if change.mems is not None:
        return set_mems(kernel, change.path, change.mems, change.memory_migrate)
    tree = read_cpusets(kernel)
    return _attach(kernel, tree, tree.at(change.path), change)


def set_mems(kernel: Kernel, name: str, mems: NodeSet, memory_migrate: bool | None = None) -> ChangeResult:
    """Set the mems of a cpuset and read the result for its processes. Raises as `apply`."""
    change = predict_mems(kernel, name, mems, memory_migrate)
    tree = read_cpusets(kernel)
    cpuset = tree.at(change.path)
    _set_flag(kernel, tree, cpuset, change)
    write_file(kernel, tree, cpuset, file_name(tree.hierarchy, "mems"), f"{mems}\n")
    result = tuple(_result(kernel, one) for one in change.processes)
    return ChangeResult(change, read_cpusets(kernel).at(change.path).effective_mems, result)


def write_mems(kernel: Kernel, path: str, mems: NodeSet, known: Sequence[NodeSet]) -> None:
    """Write the mems of a cpuset, if its file still says what one of `known` says: otherwise somebody else has changed
    it since. Empty mems inherit those above (v2). Raises NumatuiError, also if the kernel does not take them."""
    tree = read_cpusets(kernel)
    cpuset = tree.at(path)
    check_own(tree, cpuset)
    if cpuset.mems == mems:
        return
    if cpuset.mems not in known:
        raise NumatuiError(
            f"the cpuset {printable(path, 80)} was left alone: somebody else has given it the nodes "
            f"{cpuset.mems or 'of the cpuset above'} since",
            f"numatui cpuset set-mems {shell_word(path)} {mems}",
        )
    write_file(kernel, tree, cpuset, file_name(tree.hierarchy, "mems"), f"{mems}\n")


def _attach(kernel: Kernel, tree: CpusetTree, cpuset: CpusetInfo, change: Change) -> ChangeResult:
    """Attach the processes one by one. A failure for one process does not stop the others."""
    _set_flag(kernel, tree, cpuset, change)
    result: list[Result] = []
    errors: list[NumatuiError] = []
    name = "cgroup.procs" if "cgroup.procs" in cpuset.directory.names else "tasks"
    for one in change.processes:
        pid = one.process.pid
        try:
            before = _placed(kernel, pid)
            still_the_same(kernel, one.process.identity)
            write_file(kernel, tree, cpuset, name, f"{pid}\n", pid)
        except NumatuiError as exc:
            errors.append(exc)
            continue
        result.append(_result(kernel, replace(one, before=before)))
        if cgroup_of(kernel, tree.hierarchy, pid, "cpuset") != cpuset.path:
            errors.append(
                NumatuiError(f"process {pid} is not in {printable(cpuset.path, 80)}", "something moved it on")
            )
    if errors and not result:
        raise errors[0]
    return ChangeResult(change, read_cpusets(kernel).at(change.path).effective_mems, tuple(result), tuple(errors))


def _migrates(tree: CpusetTree, cpuset: CpusetInfo, memory_migrate: bool | None) -> bool:
    """Whether pages will move. Raises UsageError for `memory_migrate` False in v2, which has no such flag."""
    if tree.hierarchy.version == "v2" and memory_migrate is False:
        raise UsageError("cgroup v2 always moves pages", "leave --no-memory-migrate out")
    return cpuset.memory_migrate if memory_migrate is None else memory_migrate


def _online(tree: CpusetTree, cpuset: CpusetInfo, effective: dict[str, NodeSet], topology: Topology) -> NodeSet:
    """guarantee_online_mems(): the nodes with memory in the effective mems of the cpuset, or else of the nearest
    ancestor that has such nodes. `effective`: path → changed effective mems."""
    while True:
        found = effective.get(cpuset.path, cpuset.effective_mems) & topology.memory_ids
        if found or cpuset.path == "/":
            return found or topology.memory_ids
        cpuset = tree.at(cpuset.parent)


def _predict(kernel: Kernel, pid: int, cpuset: CpusetInfo, old: NodeSet, new: NodeSet, migrate: bool) -> Predicted:
    moves = remap(old, new, rule_of(release(kernel))) if migrate and old != new else ()
    process = read_process(kernel, pid)
    if process.is_kernel_thread:
        raise NotFound(f"{pid} is a kernel thread")
    try:
        placement = read_placement(kernel, pid)
    except NotPermitted:
        return Predicted(process, cpuset.path, old, new, moves, None)
    policies = tuple(one for one in placement.policies if one.partition("=")[0] not in _NO_NODES)
    return Predicted(process, cpuset.path, old, new, moves, placement.bytes_by_node, policies)


def _change(
    tree: CpusetTree,
    cpuset: CpusetInfo,
    mems: NodeSet | None,
    memory_migrate: bool | None,
    effective: NodeSet,
    processes: Iterable[Predicted],
    topology: Topology,
    note: str,
) -> Change:
    change = Change(cpuset.path, tree.hierarchy.version, mems, memory_migrate, effective, tuple(processes))
    notes = [note] if note else []
    changed = [one for one in change.processes if one.old != one.new]
    if changed and not _migrates(tree, cpuset, memory_migrate):
        notes.append("cpuset.memory_migrate is 0: pages stay where they are (--memory-migrate moves them)")
    if any(one.before is None for one in changed):
        notes.append("? = other users' processes: run as root to see which of their pages move")
    policies = sorted({policy for one in changed for policy in one.policies})
    if policies:
        more = f" and {len(policies) - 3} more" if len(policies) > 3 else ""
        notes.append(f"memory policies follow to the new nodes: {', '.join(map(printable, policies[:3]))}{more}")
    unit = cpuset.directory.name
    if mems and unit.endswith(UNIT_SUFFIXES) and tree.hierarchy.version == "v2":
        notes.append(
            f"systemd may write it again: systemctl set-property -- {shell_word(unit)} AllowedMemoryNodes={mems} "
            "keeps it"
        )
    incoming: dict[int, int] = {}
    for one in change.processes:
        for (source, target), amount in one.ways.items():
            incoming[target] = incoming.get(target, 0) + amount
            incoming[source] = incoming.get(source, 0) - amount
    notes += [
        f"node {node.id} has less room than needed: what does not fit stays"
        for node in topology.nodes
        if node.free is not None and incoming.get(node.id, 0) > node.free
    ]
    return replace(change, notes=tuple(notes))


def _set_flag(kernel: Kernel, tree: CpusetTree, cpuset: CpusetInfo, change: Change) -> None:
    """Set v1's memory_migrate if it changes."""
    if change.memory_migrate is not None and change.memory_migrate != cpuset.memory_migrate:
        name = file_name(tree.hierarchy, "memory_migrate")
        write_file(kernel, tree, cpuset, name, f"{int(change.memory_migrate)}\n")


def _placed(kernel: Kernel, pid: int) -> dict[int, int] | None:
    """Node → bytes, None without permission. Raises NotFound."""
    try:
        return read_placement(kernel, pid).bytes_by_node
    except NotPermitted:
        return None


def _result(kernel: Kernel, predicted: Predicted) -> Result:
    """Read the placement again and compare it with the prediction."""
    try:
        after = _placed(kernel, predicted.process.pid)
        still_the_same(kernel, predicted.process.identity)
    except NumatuiError as exc:
        return Result(predicted, None, {}, exc.what)
    meant = predicted.after
    left: dict[int, int] = {}
    for source, _ in predicted.ways if after is not None and meant is not None else ():
        stayed = min((after or {}).get(source, 0) - (meant or {}).get(source, 0), (predicted.before or {})[source])
        if stayed > 0:
            left[source] = stayed
    return Result(predicted, after, left)
