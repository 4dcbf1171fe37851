"""Sequences of calls whose answers were recorded on Linux 6.1 and 7.2 (tests/guest/inside/differential/capture.py)."""

from __future__ import annotations

import json
import lzma
from typing import Any

import pytest

from backend.emulator.profile import ProfileName
from tests import DATA
from tests.guest.inside.differential.compare import difference
from tests.guest.inside.differential.emulated import on_the_emulator

_PARTS = 8


KERNELS: dict[ProfileName, str] = {"linux-6": "6.1", "linux-7": "7.2"}


def recorded(kernel: str) -> list[dict[str, Any]]:
    """`steps` and the `answers` to them."""
    with lzma.open(DATA / f"sequences-{kernel}.jsonl.xz", "rt") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("profile", KERNELS)
def test_the_emulator_answers_as_linux_did(profile: ProfileName, part: int) -> None:
    for one in recorded(KERNELS[profile])[part::_PARTS]:
        found = difference(one["steps"], one["answers"], on_the_emulator(one["steps"], profile))
        assert not found, found


def test_a_difference_is_seen() -> None:
    one = recorded("6.1")[0]
    answers = json.loads(json.dumps(one["answers"]))
    answers[-1][0] = "-EFAULT"
    assert "emulator" in difference(one["steps"], answers, on_the_emulator(one["steps"]))
    answers = json.loads(json.dumps(one["answers"]))
    answers[0][1]["A"]["0"][1][0][1] = "bind:7"
    assert "bind:7" in difference(one["steps"], answers, on_the_emulator(one["steps"]))
