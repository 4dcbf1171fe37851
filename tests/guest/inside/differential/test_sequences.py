"""Random sequences of calls on this kernel and on the emulated machine: every difference is a bug of the emulator, or
stands in docs/emulator.md with its reason and is kept out of `sequence.py`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from backend.emulator.profile import ProfileName
from tests.guest.inside import rig
from tests.guest.inside.differential.compare import difference
from tests.guest.inside.differential.emulated import on_the_emulator

FIRST = int(os.environ.get("NUMATUI_FIRST_SEQUENCE", "10000"))
COUNT = int(os.environ.get("NUMATUI_SEQUENCES", "50"))
EACH = 10
PROFILE: ProfileName = "linux-7" if platform.release().startswith("7.") else "linux-6"


@pytest.mark.skipif(platform.release().startswith("6.12"), reason="the emulator has 6.1 and 7.2")
@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, EACH))
def test_both_do_the_same(first: int) -> None:
    # Not forked from here: migrate_pages moves all memory of the caller, and this process has much.
    capture = [sys.executable, "-m", "tests.guest.inside.differential.capture", str(first), str(EACH)]
    done = subprocess.run(capture, capture_output=True, text=True, timeout=rig.PATIENCE)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == EACH
    for seed, line in enumerate(lines, start=first):
        found = difference(line["steps"], line["answers"], on_the_emulator(line["steps"], PROFILE))
        assert not found, f"sequence {seed}:\n{found}"
