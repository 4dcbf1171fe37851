"""Rounds of the automatic mover: read, advise, decide by the policy, move (or only report)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backend.advice.advice import CONFIDENCES, Advice, Limits, Proposal
from backend.advice.applying import plan_of
from backend.advice.gathering import Adviser
from backend.advice.observing import ObservationHistory
from backend.errors import Busy, NotFound, NotPermitted, NumatuiError
from backend.heat.choosing import HeatWish
from backend.job.job import Job
from backend.job.options import Options
from backend.job.outcome import Outcome
from backend.job.parts.rate_limit import RateLimit
from backend.kernel import Kernel
from backend.machine.psi import memory_pressure
from backend.machine.topology import read_topology
from backend.mover.ledger import Ledger
from backend.mover.policy import Policy
from backend.mover.watched_move import WatchedMove
from backend.placement.survey import Surveyor
from backend.process.process import Process, Program, read_process, still_the_same

Action = Literal["moved", "would-move", "held", "failed"]
HoldCode = Literal[
    "confidence", "readings", "cooldown", "round", "hour", "quiet", "pressure", "stopped",
]  # fmt: skip


_TOO_MUCH = "it would exceed max_per_hour"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was done about one process with a proposal. `code`, `text`: why it was held or failed. `outcome`: the result
    of a move."""

    process: Process
    proposal: Proposal
    action: Action
    code: HoldCode | Literal["", "error"] = ""
    text: str = ""
    outcome: Outcome | None = None


def _nothing(*_: object) -> None:
    return


class Mover:
    """`dry`: reports what it would move, and continues as if it had. `cancel`: ends a move after the current call.
    `announce`: called right before a move; if it raises, nothing is moved. `alive`: called at each round, and each
    second of a move. `stopped`: why nothing is moved any more; empty while it is active."""

    def __init__(
        self,
        kernel: Kernel,
        policy: Policy,
        dry: bool = True,
        cancel: threading.Event | None = None,
        journal_dir: Path | None = None,
        announce: Callable[[Process, Proposal], None] = _nothing,
        alive: Callable[[], None] = _nothing,
    ) -> None:
        self.kernel, self.dry = kernel, dry
        self.announce, self.alive = announce, alive
        self.cancel = cancel or threading.Event()
        self.journal_dir = journal_dir
        self.ledger = Ledger()
        self._history = ObservationHistory()
        self._surveyor = Surveyor(kernel, read_topology(kernel))
        self.load(policy)

    def load(self, policy: Policy) -> None:
        """Switches to another policy. What is remembered of processes stays. Ends a stop."""
        self.policy = policy
        self.stopped = ""
        self._errors = 0
        limits = Limits(
            least=policy.min_size,
            settled=policy.settle,
            ratio=policy.min_gain,
            ratio_spread=max(policy.min_gain, Limits().ratio_spread),
        )
        heat = HeatWish("hot") if policy.heat else None
        self._adviser = Adviser(self.kernel, limits, heat=heat, cancel=self.cancel)
        self._limit = RateLimit(self.kernel, policy.max_rate)

    def round(self, wall: float) -> list[Decision]:
        """One reading and the moves that follow from it. `wall`: seconds since 1970. Raises NumatuiError, OSError if
        the kernel cannot be read."""
        kernel = self.kernel
        self._began = wall, kernel.clock()
        self.alive()
        topology = self._surveyor.topology = read_topology(kernel)
        rows = self._surveyor.read(self._may_move)
        observations = self._history.add(kernel.clock(), rows)
        advised = [one for one in self._adviser.advise(observations, topology) if one.proposal is not None]
        self.ledger.reading(advised, observations.keys())
        why_none = self._why_none()
        out: list[Decision] = []
        done = 0
        for one in advised:
            proposal = one.proposal
            assert proposal is not None
            if self.cancel.is_set():
                break
            code, text = why_none or self._why_not(one, proposal, done)
            if code:
                out.append(Decision(one.process, proposal, "held", code, text))
                continue
            done += 1
            out.append(self._pretend(one, proposal) if self.dry else self._move(one, proposal))
            why_none = self._why_none()
        return out

    def _may_move(self, process: Process) -> bool:
        """Itself never: its pages are those that the calls are made with."""
        return process.pid != self.kernel.traits.own_pid and self.policy.may_move(self.kernel, process)

    def _why_none(self) -> tuple[HoldCode, str] | None:
        """Why no process at all may be moved now, as long as this round takes already."""
        wall, began = self._began
        if self.stopped:
            return "stopped", self.stopped
        if self.policy.is_quiet(wall + (self.kernel.clock() - began) / 1e9):
            return "quiet", "these are quiet hours"
        pressure = memory_pressure(self.kernel)
        if pressure is not None and pressure >= self.policy.stop_pressure:
            return "pressure", f"tasks wait for memory {pressure:.0%} of the time"
        return None

    def _why_not(self, one: Advice, proposal: Proposal, done: int) -> tuple[HoldCode | Literal[""], str]:
        policy, now = self.policy, self.kernel.clock() / 1e9
        if CONFIDENCES.index(proposal.confidence) < CONFIDENCES.index(policy.confidence):
            doubts = "; ".join(doubt.text for doubt in proposal.doubts)
            return "confidence", f"its confidence is {proposal.confidence}: {doubts}"
        if rest := self.ledger.resting(one.process.identity, now):
            return "cooldown", f"it was tried recently and rests for {rest:.0f} s more"
        streak = self.ledger.streak(one.process.identity)
        if streak < policy.readings:
            return "readings", f"advised {streak} times of {policy.readings} in a row"
        if done >= policy.max_per_round:
            return "round", f"{done} were moved in this round"
        if proposal.bytes > self._left_this_hour():
            return "hour", _TOO_MUCH
        return "", ""

    def _left_this_hour(self) -> int:
        """Bytes that may still be moved."""
        return self.policy.max_per_hour - self.ledger.moved_lately(self.kernel.clock() / 1e9)

    def _forbidden(self, process: Process) -> str:
        """Why a move that has begun may not go on; empty if it may. Raises nothing."""
        self.alive()
        try:
            now = read_process(self.kernel, process.pid)
        except NumatuiError:
            return ""  # the job sees for itself that it has ended
        if now.identity == process.identity and not self.policy.may_move(self.kernel, now):
            return "the policy does not allow this process any more"
        why = self._why_none()
        return why[1] if why is not None else ""

    def _pretend(self, one: Advice, proposal: Proposal) -> Decision:
        self._tried(one, proposal.bytes)
        return Decision(one.process, proposal, "would-move")

    def _move(self, one: Advice, proposal: Proposal) -> Decision:
        policy = self.policy
        options = Options(
            budget=int(policy.max_stall * 1e9),
            workers=policy.workers,
            limit=self._limit,
            journal_dir=self.journal_dir,
        )
        try:
            # Not migrate_pages: with CAP_SYS_NICE it moves what other users map (docs/reliability.md).
            plan = plan_of(self.kernel, one, "move_pages", policy.max_rate)
        except NumatuiError as exc:
            return self._could_not(one, proposal, exc)
        most = self._left_this_hour()
        if plan.bytes > most:
            return Decision(one.process, proposal, "held", "hour", _TOO_MUCH)
        self.announce(one.process, proposal)
        watched = WatchedMove(self.kernel, self.cancel, most, lambda: self._forbidden(one.process))
        program = self._program(one.process)
        try:
            outcome = Job(self.kernel, plan, options).run(watched, watched)
        except NumatuiError as exc:
            return self._could_not(one, proposal, exc)
        self._tried(one, outcome.moved)
        if watched.reason:
            action: Action = "moved" if outcome.moved else "held"
            return Decision(one.process, proposal, action, "stopped", f"it was ended: {watched.reason}", outcome)
        if outcome.errors or not outcome.moved:
            # A process can end, call exec or share its pages whenever it likes: that stops nobody else's moves.
            if outcome.errors and program is not None and program == self._program(one.process):
                self._failed()
            text = "; ".join(outcome.errors) or "nothing could be moved"
            return Decision(one.process, proposal, "failed", "error", text, outcome)
        self._errors = 0
        return Decision(one.process, proposal, "moved", outcome=outcome)

    def _could_not(self, one: Advice, proposal: Proposal, exc: NumatuiError) -> Decision:
        self._tried(one, 0)
        if not isinstance(exc, NotFound | NotPermitted | Busy):
            self._failed()
        return Decision(one.process, proposal, "failed", "error", str(exc))

    def _program(self, process: Process) -> Program | None:
        """Which program it is now; None if it has ended, or may not be read."""
        try:
            return still_the_same(self.kernel, process.identity).program
        except NumatuiError:
            return None

    def _tried(self, one: Advice, moved: int) -> None:
        self.ledger.tried(one.process.identity, self.kernel.clock() / 1e9, self.policy.cooldown, moved)

    def _failed(self) -> None:
        self._errors += 1
        if self._errors >= self.policy.stop_errors:
            self.stopped = f"{self._errors} moves in a row failed: SIGHUP, or a new start, goes on"
