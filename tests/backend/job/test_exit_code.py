"""The exit code of a job: what the plan had announced is no failure (docs/commands.md#exit-codes)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.errors import NotFound, NotPermitted
from backend.job.outcome import Failure, Outcome, PartOutcome, exit_code
from tests.backend.job.moving import PAGE, Mover


def told(one: Mover, **part: Any) -> tuple[Any, Outcome]:
    plan = one.plan([0], [1])
    process = plan.processes[0].process
    usual: dict[str, Any] = {"moved": 9 * PAGE, "left": {}, "elapsed": 1, "worst_call": 1}
    return plan, Outcome("1", (PartOutcome(process, "move_pages", {}, {}, **{**usual, **part}),))


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({}, 0),
        ({"left": {"gone": PAGE}}, 0),
        ({"left": {"elsewhere": PAGE}}, 0),
        ({"left": {"busy": PAGE}}, 6),
        ({"left": {"busy": PAGE}, "moved": 0}, 7),
        ({"error": "the disk is full"}, 6),
        ({"error": "refused", "moved": 0}, 7),
        ({"left": {"process-ended": PAGE}, "error": "ended"}, 4),
    ],
)
def test_of_one_process(tmp_path: Path, part: dict[str, Any], code: int) -> None:
    plan, outcome = told(Mover(tmp_path, [0] * 9), **part)
    assert exit_code(plan, outcome) == code


def test_what_was_announced_is_counted(tmp_path: Path) -> None:
    plan, outcome = told(Mover(tmp_path, [0] * 9), left={"shared": 5 * PAGE})
    assert exit_code(plan, outcome) == 6
    assert exit_code(replace(plan, stays={"shared": 4 * PAGE}), outcome) == 6
    assert exit_code(replace(plan, stays={"shared": 5 * PAGE}), outcome) == 0


def test_cancelled_and_failed(tmp_path: Path) -> None:
    plan, outcome = told(Mover(tmp_path, [0] * 9))
    process = plan.processes[0].process
    assert exit_code(plan, replace(outcome, cancelled=True)) == 130
    failed = Failure(process, NotPermitted("no"))
    assert exit_code(plan, replace(outcome, failures=(failed,))) == 6
    assert exit_code(plan, replace(outcome, parts=(), failures=(failed, Failure(process, NotFound("no"))))) == 4
