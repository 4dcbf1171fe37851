"""`numatui advise`: documents, tables, exit codes, and doing it."""

from __future__ import annotations

import csv
import io

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.scenario.open import open_scenario
from backend.emulator.tasks.credentials import Caller
from numatui.cli.source import KernelChoice
from tests.cli.running import Cli, one_line
from tests.trees import two_nodes

DEMO = ["--demo", "default"]


def test_says_what_to_move_with_gain_cost_and_command(cli: Cli) -> None:
    document = cli.json(*DEMO, "advise", "--observe", "8s")
    assert document["schema"] == "numatui/advise/1"
    assert document["observed_seconds"] == pytest.approx(8)
    assert document["processes"]
    for one in document["processes"]:
        advice = one["advice"]
        assert advice["gain"]["ratio"] > 1
        assert advice["gain"]["before"] > advice["gain"]["after"]
        assert advice["cost"]["seconds"] > 0
        assert advice["confidence"] in ("low", "medium", "high")
        assert advice["command_line"].startswith(f"numatui --demo default migrate {one['pid']} --from")
        assert not one["reasons"]


def test_all_says_why_not(cli: Cli) -> None:
    document = cli.json(*DEMO, "advise", "--observe", "8s", "--all")
    declined = [one for one in document["processes"] if one["advice"] is None]
    assert len(declined) == document["not_advised"] > 0
    assert all(one["reasons"] and one["reasons"][0]["text"] for one in declined)
    assert "interleave" in {one["reasons"][0]["code"] for one in declined}


def test_memory_that_cannot_be_read_is_null(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document breaks its own schema otherwise; `cli.json` checks it."""
    opened = open_scenario("default")
    nobody = EmulatedKernel(opened.machine, Caller(4711, False))
    monkeypatch.setattr(KernelChoice, "open", lambda _: nobody)
    document = cli.json("advise", "--observe", "8s", "--all")
    unreadable = [one for one in document["processes"] if one["nodes"] is None]
    assert unreadable
    assert {one["reasons"][0]["code"] for one in unreadable} == {"permission"}


def test_applying_moves_it_and_it_is_not_advised_again(cli: Cli) -> None:
    document = cli.json(*DEMO, "advise", "--observe", "8s", "--apply", "-y")
    assert len(document["outcomes"]) == len(document["processes"])
    for outcome, one in zip(document["outcomes"], document["processes"], strict=True):
        assert outcome["moved"] == one["advice"]["bytes"]
        assert not outcome["left"]
    assert document["errors"] == []


def test_the_table_and_csv_say_the_same(cli: Cli) -> None:
    code, out, _ = cli(*DEMO, "advise", "--observe", "8s")
    assert code == 0
    code, text, _ = cli(*DEMO, "advise", "--observe", "8s", "--csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows
    for row in rows:
        assert row["command_line"] in out
        assert row["pid"] in out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--observe", "soon"], 2),
        (["--observe", "2h"], 2),
        (["--confidence", "sure"], 2),
        (["--min", "x"], 2),
        (["--user", "nobody-here"], 4),
        (["nothing-like-that"], 4),
        (["--apply", "--csv"], 2),
    ],
)
def test_what_cannot_be_is_one_line(cli: Cli, arguments: list[str], code: int) -> None:
    got, _, err = cli(*DEMO, "advise", *arguments)
    assert got == code
    assert one_line(err)


def test_only_those_that_are_asked_for(cli: Cli) -> None:
    document = cli.json(*DEMO, "advise", "spark", "--observe", "8s", "--all")
    assert {one["command"].split()[-1].rpartition(".")[2] for one in document["processes"]} == {
        "CoarseGrainedExecutorBackend"
    }
    assert cli.json(*DEMO, "advise", "--min", "1G", "--observe", "8s")["processes"] != document["processes"]


def test_a_recording_is_read_but_not_changed(cli: Cli, tmp_path) -> None:
    replay = ["--replay", str(two_nodes(tmp_path / "tree"))]
    code, _, _ = cli(*replay, "advise", "--all")
    assert code == 0
    code, _, err = cli(*replay, "advise", "--apply", "-y")
    assert code == 5
    assert one_line(err)
