"""What takes a job back: a plan whose pages are those of its journal."""

from __future__ import annotations

from backend.cgroup.cpuset_tree import read_cpusets
from backend.cpuset.confinement import confined_below
from backend.errors import NotFound, NotSupported, NumatuiError
from backend.files.text import printable
from backend.job.parts.held import HeldProcess
from backend.job.parts.source_pages import source_pages
from backend.job.parts.undo_part import still_there
from backend.journal.past_job import JournaledCpuset, JournaledPart, PastJob, index_of, read_chunks
from backend.kernel import Kernel
from backend.machine.kernel_info import boot_id
from backend.machine.topology import read_topology
from backend.plan.conditions import read_conditions
from backend.plan.plan import Confinement, Plan, PlannedMove, ProcessPlan, Warning
from backend.plan.planner import confining_moves, plan_of_parts
from backend.plan.remap import Move, expected_after
from backend.process.process import Process, read_process


def check_undo(kernel: Kernel, job: PastJob) -> None:
    """Raises NotFound, NotSupported, NumatuiError with the reason if this job cannot be undone."""
    if job.state == "running":
        raise NumatuiError(f"job {job.job} is still running", "stop it first")
    if job.undone_by:
        raise NumatuiError(
            f"job {job.job} was undone already, by {printable(job.undone_by, 80)}",
            "numatui jobs lists all",
        )
    if job.boot != boot_id(kernel):
        raise NotFound(
            f"the machine was rebooted after job {job.job}: its processes are gone",
            "nothing is left to undo",
        )
    if job.counted:
        raise NotSupported(
            f"job {job.job} recorded how many pages it moved, but not which (it had neither root nor move_pages)",
            "move by nodes instead: numatui migrate PID --from … --to …",
        )
    if not kernel.capabilities()["move_pages"].available:
        raise NotSupported(
            "only move_pages can move single pages back, and it is not available here",
            "move by nodes instead: numatui migrate",
        )


def plan_undo(kernel: Kernel, job: PastJob, max_rate: int = 0) -> Plan:
    """What would go back now: pages that are still where the job put them, and the mems of cpusets. Raises what
    `check_undo` raises; NotFound if every process has ended or runs another program, and no cpuset is to be restored;
    NotPermitted, ParseError."""
    check_undo(kernel, job)
    topology = read_topology(kernel)
    index = index_of(job)
    parts: list[ProcessPlan] = []
    gone: list[NotFound] = []
    confinements = [made for one in job.cpusets if (made := _restored(kernel, one, job)) is not None]
    for number in range(len(job.parts) - 1, -1, -1):
        part = job.parts[number]
        if number not in index and not part.confined and not confinements:
            continue
        try:
            process, held = _held(kernel, job, part)
        except NotFound as exc:
            gone.append(exc)
            continue
        try:
            pages = source_pages(kernel, process.pid, held.check)
            before = pages.placement(process.rss).bytes_by_node
            still = still_there(pages, read_chunks(job, index, number)).by_move
        finally:
            held.close()
        moves = [
            PlannedMove(move.source, move.target, amount // kernel.page_size, amount)
            for move, amount in still.items()
            if amount
        ]
        steps = [*still]
        after = before
        for move in moves:
            after = {**after, move.source: after.get(move.source, 0) - move.bytes}
            after[move.target] = after.get(move.target, 0) + move.bytes
        runs_on = topology.node_of_cpu.get(process.cpu)
        for one in confinements:
            if process.pid in one.pids:
                steps += confining_moves(one)
                after = expected_after(after, confining_moves(one))
        after = {node: amount for node, amount in sorted(after.items()) if amount}
        parts.append(ProcessPlan(process, runs_on, tuple(moves), before, after, tuple(steps), confined=part.confined))
    if gone and not parts and not confinements:
        raise gone[0]
    warnings = [Warning("ended", one.what, one.fix) for one in gone]
    conditions = read_conditions(kernel, topology, "move_pages")
    moves = tuple(dict.fromkeys(Move(step.target, step.source) for step in reversed(job.moves)))
    return plan_of_parts(
        parts, moves, topology, conditions, kernel.page_size, max_rate, confinements, undoes=job.job, told=warnings
    )


def _held(kernel: Kernel, job: PastJob, part: JournaledPart) -> tuple[Process, HeldProcess]:
    """The process of a part, if it is still the same one with the same program. Raises NotFound, NotPermitted."""
    process = read_process(kernel, part.identity.pid)
    if process.identity != part.identity:
        raise NotFound(
            f"process {process.pid} has ended and another has its number now",
            f"nothing is left of what job {job.job} moved",
        )
    held = HeldProcess(kernel, process)
    try:
        held.check_told(held.program, part.program)
        if held.program[: len(part.program)] != part.program:
            raise NotFound(
                f"process {process.pid} has started another program since job {job.job}",
                "nothing is left of what it moved",
            )
    except BaseException:
        held.close()
        raise
    return process, held


def _restored(kernel: Kernel, one: JournaledCpuset, job: PastJob) -> Confinement | None:
    """The cpuset as it is now and as it was before the job; None if it is gone, or as before already."""
    tree = read_cpusets(kernel)
    if one.path not in tree.cpusets:
        return None
    cpuset = tree.at(one.path)
    if cpuset.mems == one.written:
        return None
    above = tree.deciding(cpuset.parent).effective_mems
    targets = one.written & above or above
    pids = frozenset(part.identity.pid for part in job.parts)
    others = confined_below(kernel, tree, cpuset, cpuset.effective_mems | targets, one.written, pids)
    return Confinement(one.path, cpuset.effective_mems, cpuset.mems, targets, one.written, pids, others)
