"""Turns advice into a plan. The plan is made anew, and advice that no longer holds is refused."""

from __future__ import annotations

from backend.advice.advice import Advice
from backend.errors import NotFound, NumatuiError
from backend.job.planning import plan
from backend.job.request import MoveRequest
from backend.kernel import Kernel
from backend.plan.plan import Method, Plan
from backend.selection.selection import Selection


def plan_of(kernel: Kernel, advice: Advice, method: Method = "auto", max_rate: int = 0) -> Plan:
    """The plan for one process with a proposal. Raises NotFound, NotPermitted; NumatuiError if the advice no longer
    holds."""
    proposal, process = advice.proposal, advice.process
    assert proposal is not None
    request = MoveRequest(
        Selection((process.pid,)), str(proposal.sources), str(proposal.targets), method=method, max_rate=max_rate
    )
    made = plan(kernel, request)
    now = made.processes[0]
    if now.process.identity != process.identity:
        raise NotFound(
            f"process {process.pid} has ended and another has its number now",
            "nothing was done to it: look at numatui ps",
        )
    if now.process.threads == 1 and now.runs_on is not None and now.runs_on not in advice.places:
        raise NumatuiError(
            f"{process.pid} runs on node {now.runs_on} now: its memory was left where it is",
            "watch it longer (--observe)",
        )
    if any(not room.enough for room in made.room):
        raise NumatuiError(f"there is no room any more for the memory of {process.pid}", "run numatui advise again")
    return made
