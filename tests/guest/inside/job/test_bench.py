"""numatui bench on a real kernel: plausible figures, kept for estimates, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from tests.guest.inside import rig
from tests.guest.inside.rig import MakeVictim, MiB, numatui


def running() -> list[str]:
    """The targets of bench that are still there."""
    done = subprocess.run(["pgrep", "-f", "stall_target"], capture_output=True, text=True)
    return done.stdout.split()


def test_figures_for_both_kinds_of_pages_are_kept_and_used_for_estimates(victim: MakeVictim) -> None:
    state = Path(tempfile.mkdtemp())
    done = numatui("bench", "--quick", "--from", "0", "--to", "2", "--size", "32M", "--json", state=state)
    assert done.code == 0, done
    rates = done.json["rates"]
    assert {(one["from"], one["to"]) for one in rates} == {(0, 2), (2, 0)}
    assert {one["huge"] for one in rates} == {False, True}
    assert {one["method"] for one in rates} == {"move_pages", "migrate_pages"}
    assert all(MiB < one["bytes_per_second"] < 1 << 40 for one in rates)
    assert all(one["stall_seconds"] > 0 for one in rates)
    assert running() == []
    assert (state / "numatui" / "rates.json").stat().st_mode & 0o777 == 0o600
    one = victim({0: 64})
    plan = numatui("plan", one.pid, "--from", "0", "--to", "2", "--json", state=state).json
    assert plan["rate_basis"] == "measured"
    best = max(r["bytes_per_second"] for r in rates if (r["from"], r["huge"], r["method"]) == (0, False, "move_pages"))
    assert plan["seconds"] == round(64 * rig.PAGE / best, 3)
    other = numatui("plan", one.pid, "--from", "0", "--to", "1", "--json", state=state).json
    assert other["rate_basis"] == "similar"
    assert other["seconds"] > 0


def test_an_ordinary_user_can_measure() -> None:
    done = numatui("bench", "--quick", "--from", "1", "--to", "3", "--size", "8M", "--json", uid=rig.USER)
    assert done.code == 0, done
    assert len(done.json["rates"]) >= 8


def test_more_than_there_is_room_for_is_refused_with_the_numbers() -> None:
    numatui("bench", "--size", "3G").refused(1, "MiB to spare", "--size")
    numatui("bench", "--from", "1", "--to", "1").refused(2, "0-3")
    assert running() == []


def test_the_target_ends_with_the_one_who_started_it() -> None:
    one = rig.Numatui(("bench", "--from", "0", "--to", "2", "--size", "32M"))
    rig.wait_until(lambda: bool(running()), "the target runs")
    os.kill(one.pid, 9)
    one.wait()
    rig.wait_until(lambda: not running(), "the target has ended")
    assert not list(Path("/tmp").glob(".rates-*"))
