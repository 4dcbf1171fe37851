"""ps and show say in which way they know, how well, and how old it is."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from backend.emulator.mm.mmap import mmap
from backend.emulator.scenario.open import open_scenario
from backend.placement.survey import ProcessRow
from backend.process.process import read_process
from numatui.cli.app import run
from numatui.cli.look.ps import notes
from numatui.cli.source import KernelChoice
from tests.emulator.rig import Me

SMALL = ["--demo", "scheduler-moves"]


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are large from 100 pages on, and frames are not shown."""
    monkeypatch.setattr("backend.placement.survey.large_from", lambda kernel: 100)
    monkeypatch.setattr("backend.placement.locate.large_from", lambda kernel: 100)
    monkeypatch.setattr("backend.placement.locate.Locator._nodes_of_frames", lambda self: None)


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    capsys.readouterr()
    assert run([*SMALL, *arguments]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    return json.loads(output(capsys, *arguments, "--json")[0])


def test_the_demo_is_read_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    for process in document(capsys, "ps")["processes"]:
        assert (process["way"], process["error"], process["hidden"]) == ("numa_maps", {}, 0)
        assert process["age_seconds"] == 0
        assert sum(process["runs_on"].values()) == pytest.approx(1)
        assert process["threads_left_out"] == 0
    out, err = output(capsys, "ps")
    assert "~" not in out
    assert "estimated" not in err


@pytest.mark.usefixtures("sampled")
def test_estimates_are_marked_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    exact = {one["pid"]: one for one in document(capsys, "ps", "--exact")["processes"]}
    large = [one for one in document(capsys, "ps")["processes"] if one["way"] == "sampled"]
    assert large
    for one in large:
        assert one["policy"] == "?"
        assert exact[one["pid"]]["way"] == "numa_maps"
        assert any(one["error"].values())
        for node, amount in exact[one["pid"]]["nodes"].items():
            assert abs(one["nodes"].get(node, 0) - amount) <= 2 * one["error"][node]
    out, err = output(capsys, "ps")
    line = next(line for line in out.splitlines() if line.split()[0] == str(large[0]["pid"]))
    assert "~" in line
    assert "95 % of such numbers are off by at most" in err
    table = list(csv.DictReader(io.StringIO(output(capsys, "ps", "--csv")[0])))
    row = next(row for row in table if row["pid"] == str(large[0]["pid"]))
    assert row["way"] == "sampled"
    assert any(int(row[f"error.{node}_bytes"]) for node in (0, 1, 2, 3))


@pytest.mark.parametrize("way", ["sampled", "pagemap"])
def test_all_shows_mappings_without_pages_of_large_processes_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("backend.placement.locate.large_from", lambda kernel: 1)
    if way == "sampled":
        monkeypatch.setattr("backend.placement.locate.Locator._nodes_of_frames", lambda self: None)
    me = Me(pages=1024)
    mmap(me.m, me.task, 8)
    me.region({0: 300, 1: 200})
    mmap(me.m, me.task, 600)
    monkeypatch.setattr(KernelChoice, "open", lambda _: me.kernel)

    def vmas(*more: str) -> list[tuple[str, bool]]:
        capsys.readouterr()
        assert run(["show", str(me.task.pid), "--json", *more]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["way"] == ("numa_maps" if "--exact" in more else way)
        return [(vma["start"], bool(vma["nodes"])) for vma in said["vmas"]]

    assert [there for _, there in vmas()] == [True]
    assert [there for _, there in vmas("--all")] == [False, True, False]
    assert vmas("--all") == vmas("--all", "--exact")


@pytest.mark.usefixtures("sampled")
def test_show_estimates_by_mapping_and_says_what_exact_costs(capsys: pytest.CaptureFixture[str]) -> None:
    exact = document(capsys, "show", "3", "--exact")
    shown = document(capsys, "show", "3")
    assert (exact["way"], shown["way"]) == ("numa_maps", "sampled")
    assert exact["vmas"][0]["policy"] is not None
    first, same = shown["vmas"][0], exact["vmas"][0]
    assert first["start"] == same["start"]
    assert first["policy"] is None
    assert first["sampled"] > 0
    assert sum(first["nodes"].values()) == pytest.approx(sum(same["nodes"].values()), abs=4)
    for node, pages in same["nodes"].items():
        assert abs(first["nodes"].get(node, 0) - pages) <= 2 * first["error"].get(node, 0)
    out, err = output(capsys, "show", "3")
    assert "~" in out
    assert "--exact" in err
    assert "holds the process up for about " in err
    assert err.endswith(" ms\n")


def row(**how: Any) -> ProcessRow:
    process = read_process(open_scenario("scheduler-moves"), 3)
    return ProcessRow(process, how.pop("by_node", {0: 1000}), 0, how.pop("policy", "default"), **how)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({}, ""),
        ({"way": "sampled", "error": {0: 50}}, "off by at most 5.0 % of"),
        ({"way": "sampled", "error": {0: 50}, "hidden": 9}, "NUMA balancing hides pages"),
        ({"way": "sampled", "by_node": None}, "hides all pages"),
        ({"by_node": None}, "run numatui as root"),
        ({"by_node": None, "all_seen": True}, "a sandboxed process"),
        ({"way": "pagemap", "policy": "default?"}, "only its first policy was read"),
        ({"threads_left_out": 3}, "many threads in 1 of them"),
    ],
)
def test_notes_say_what_has_to_be_known_of_the_numbers(how: dict[str, Any], says: str) -> None:
    all_seen = how.pop("all_seen", False)
    said = "\n".join(notes([row(**how)], all_seen))
    assert "as root" not in said or not all_seen
    assert says in said
    assert bool(says) == bool(said)
