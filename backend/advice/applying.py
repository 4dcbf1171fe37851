"""Turns advice into a plan. The plan is made anew, and advice that no longer holds is refused."""

from __future__ import annotations

from backend.advice.advice import Advice
from backend.errors import NumatuiError
from backend.job.together import plan_one
from backend.kernel import Kernel
from backend.plan.plan import Method, Plan


def plan_of(kernel: Kernel, advice: Advice, method: Method = "auto", max_rate: int = 0) -> Plan:
    """The plan for one process with a proposal. Raises NotFound, NotPermitted; NumatuiError if the advice no longer
    holds."""
    proposal, process = advice.proposal, advice.process
    assert proposal is not None
    only = proposal.heat.stretches if proposal.heat is not None else None
    made = plan_one(kernel, process, proposal.sources, proposal.targets, method, max_rate, only)
    now = made.processes[0]
    if now.process.threads == 1 and now.runs_on is not None and now.runs_on not in advice.places:
        raise NumatuiError(
            f"{process.pid} runs on node {now.runs_on} now: its memory was left where it is",
            "watch it longer (--observe)",
        )
    if any(not room.enough for room in made.room):
        raise NumatuiError(f"there is no room any more for the memory of {process.pid}", "run numatui advise again")
    return made
