"""The same move on many hosts: planned on each, done a few hosts at a time, stopped at the first surprise, taken back
as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from backend.errors import Busy, NotFound, NumatuiError, Refused
from backend.fleet.reach import Answer
from backend.fleet.record import Record
from backend.job.call import check_call
from backend.job.job import Job
from backend.job.options import Options
from backend.job.outcome import Outcome, exit_code
from backend.job.planning import plan
from backend.job.request import MoveRequest
from backend.job.undo import plan_undo
from backend.journal.past_jobs import find_job
from backend.kernel import Kernel
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from backend.plan.plan import Plan
from backend.process.process import Identity

_GROWN = 1.1
_LEAST = 16 << 20
"""Bytes by which a plan may grow until it is carried out; beyond that it is another one."""


@dataclass(frozen=True, slots=True)
class Announced:
    """What was said before: bytes, and of which processes."""

    bytes: int
    processes: frozenset[Identity]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a host. `code`: 0 if it went as its plan said (`backend.job.outcome.exit_code`). `began`: as in
    `PastJob.at`, 0 if it is not known."""

    plan: Plan
    outcome: Outcome
    code: int
    began: float = 0.0


def plan_there(kernel: Kernel, request: MoveRequest) -> Plan | None:
    """None: the host has no such process. What nothing of would move has an empty plan. Raises as `plan` and
    `check_call`: also for nodes that are not there."""
    topology = read_topology(kernel)
    NodeSet.parse(request.targets, topology.ids, same=NodeSet.parse(request.sources, topology.ids))
    try:
        made = plan(kernel, request)
    except NotFound:
        return None
    if has_work(made):
        check_call(kernel, made)
    return made


def has_work(made: Plan | None) -> bool:
    """Whether carrying it out would do anything."""
    return made is not None and bool(made.bytes or made.confinements)


def announced(made: Plan) -> Announced:
    return Announced(made.bytes, frozenset(one.process.identity for one in made.processes))


def ways(made: Plan) -> str:
    """From where to where, each way once: `0→2 1→3`."""
    return " ".join(sorted({f"{move.source}→{move.target}" for one in made.processes for move in one.moves}))


def move_there(
    kernel: Kernel, request: MoveRequest, said: Announced, options: Options, cancel: threading.Event
) -> Done:
    """Plans again, and moves if that is what was announced. Raises Refused if it is not; else as `Job.run`."""
    made = plan_there(kernel, request)
    if made is None or not has_work(made):
        raise Refused("what was to move is no longer there", "look again, and plan anew")
    new = {one.process.pid for one in made.processes if one.process.identity not in said.processes}
    if new:
        raise Refused(f"process {min(new)} has come meanwhile, and was not announced", "plan anew")
    if made.bytes > max(said.bytes * _GROWN, said.bytes + _LEAST):
        raise Refused(f"{made.bytes >> 20} MiB would move now, {said.bytes >> 20} MiB were announced", "plan anew")
    return _run(kernel, made, options, cancel)


def _run(kernel: Kernel, made: Plan, options: Options, cancel: threading.Event) -> Done:
    outcome = Job(kernel, made, options).run(cancel=cancel)
    began = 0.0
    with suppress(NumatuiError, OSError):  # what was done counts, also if its journal cannot be read again
        began = find_job(kernel.files.jobs_dir(), outcome.job, kernel.files).at
    return Done(made, outcome, exit_code(made, outcome), began)


def undo_plan_there(kernel: Kernel, job: str, began: float = 0.0) -> Plan | None:
    """None: it was taken back already, or nothing of it is where the job had put it. Raises Refused if that job over
    there is not the one that `began` then (0: not known)."""
    past = find_job(kernel.files.jobs_dir(), job, kernel.files)
    if began and past.at != began:
        raise Refused(f"job {job} there is another one now", "numatui --host HOST jobs lists what is there")
    if past.undone_by:
        return None
    made = plan_undo(kernel, past)
    return made if has_work(made) else None


def undo_there(kernel: Kernel, job: str, began: float, options: Options, cancel: threading.Event) -> Done | None:
    made = undo_plan_there(kernel, job, began)
    return None if made is None else _run(kernel, made, options, cancel)


Told = Callable[[Answer[Done]], None]
Ask = Callable[[Sequence[str], Told], list[Answer[Done]]]
"""Moves on these hosts, all at the same time; tells of each as it ends."""


class Roll:
    """A few hosts at a time. `unwritten`: why the record could not be written, which ends it as a surprise does."""

    def __init__(self, rolling: int, ask: Ask, record: Record, cancel: threading.Event) -> None:
        self._rolling, self._ask, self._record, self._cancel = rolling, ask, record, cancel
        self.unwritten: OSError | None = None

    def run(self, hosts: Sequence[str]) -> Iterator[Answer[Done]]:
        """Each host's end, as far as it comes. Ends after the hosts among which one has not gone as announced, or is
        not known to have. Raises OSError if not even the first ones can be recorded; nothing was done then."""
        for at in range(0, len(hosts), self._rolling):
            some = list(hosts[at : at + self._rolling])
            try:
                self._record.begins(some)
            except OSError as exc:
                if not at:
                    raise
                self.unwritten = exc
                return
            answers = self._ask(some, self._ended)
            yield from answers
            surprise = any(one.error is not None or (one.value and one.value.code) for one in answers)
            if surprise or self.unwritten is not None or self._cancel.is_set():
                return

    def _ended(self, one: Answer[Done]) -> None:
        try:
            if one.value is not None:
                self._record.ended(one.host, one.value.outcome.job, one.value.began)
            elif one.error is None or isinstance(one.error, Refused | Busy):
                self._record.ended(one.host, "")
        except OSError as exc:  # the disk is full: what was done is told all the same, and no more is
            self.unwritten = exc
