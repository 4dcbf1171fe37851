"""Sequences of calls whose answers were recorded on Linux 6.1 (tests/guest/inside/differential/capture.py)."""

from __future__ import annotations

import json
import lzma
from typing import Any

import pytest

from tests import DATA
from tests.guest.inside.differential.compare import difference
from tests.guest.inside.differential.emulated import on_the_emulator

_PARTS = 8


def recorded() -> list[dict[str, Any]]:
    """`steps` and the `answers` to them."""
    with lzma.open(DATA / "sequences-6.1.jsonl.xz", "rt") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("part", range(_PARTS))
def test_the_emulator_answers_as_linux_did(part: int) -> None:
    for one in recorded()[part::_PARTS]:
        found = difference(one["steps"], one["answers"], on_the_emulator(one["steps"]))
        assert not found, found


def test_a_difference_is_seen() -> None:
    one = recorded()[0]
    answers = json.loads(json.dumps(one["answers"]))
    answers[-1][0] = "-EFAULT"
    assert "emulator" in difference(one["steps"], answers, on_the_emulator(one["steps"]))
    answers = json.loads(json.dumps(one["answers"]))
    answers[0][1]["A"]["0"][1][0][1] = "bind:7"
    assert "bind:7" in difference(one["steps"], answers, on_the_emulator(one["steps"]))
