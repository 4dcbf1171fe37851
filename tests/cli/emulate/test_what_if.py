"""emulate --from-live, --from: a copy of a machine on the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.running import Cli, one_line
from tests.trees import two_nodes


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    path, copy = str(tmp_path / "r.tar"), tmp_path / "copy.yaml"
    cli.json("--demo", "record", path, "--for", "once")
    step = "migrate_pages: {task: mysqld-11, from: 0-1, to: 2}"
    document = cli.json("emulate", "--from", path, "--try", step)
    (mysqld,) = [one for one in document["processes"] if one["pid"] == 11]
    plan = cli.json("--replay", path, "plan", "11", "--from", "0-1", "--to", "2")["processes"][0]
    assert mysqld["before"] == {node: amount for node, amount in plan["before"].items() if amount}
    assert mysqld["after"] == {node: amount for node, amount in plan["after"].items() if amount}
    assert mysqld["throughput_after"] > mysqld["throughput_before"] * 1.2
    code, out, err = cli("emulate", "--from", path, "--try", step)
    assert code == 0
    assert "160M → ." in out
    assert "copy of" in err
    assert cli("emulate", "--from", path, "--write", str(copy))[0] == 0
    assert copy.stat().st_mode & 0o777 == 0o600
    assert cli.json("--demo", str(copy), "ps")["processes"]
    code, _, err = cli("emulate", "--from", path, "--write", str(copy))
    assert code == 2
    assert one_line(err)


def test_another_sample_pids_as_tasks_and_steps_that_are_kept(cli: Cli, tmp_path: Path) -> None:
    path, copy = str(tmp_path / "r.tar"), tmp_path / "copy.yaml"
    cli.json("--demo", "record", path, "--for", "6s", "--interval", "2s")
    step = "migrate_pages: {task: 11, from: 0-1, to: 2}"
    named = cli.json("emulate", "--from", path, "--try", "migrate_pages: {task: mysqld-11, from: 0-1, to: 2}")
    first, last = (
        cli.json("emulate", "--from", path, "--try", step),
        cli.json("emulate", "--from", path, "--at", "last", "--try", step),
    )
    assert first["processes"] == named["processes"]
    assert first["processes"] != last["processes"]
    assert cli("emulate", "--from", path, "--try", step, "--write", str(copy))[0] == 0
    assert [one["call"] for one in cli.json("emulate", str(copy))["steps"]] == ["migrate_pages"]
    for try_, says in (
        ("offline: {node: 99}", "--try 1.offline.node"),
        ("offline: {node: 1", "--try 1 is not YAML"),
    ):
        code, _, err = cli("emulate", "--from", path, "--try", try_)
        assert code == 2
        assert one_line(err)
        assert says in err
    for before in (["--replay", path], ["--demo"], ["--live"]):
        code, _, err = cli(*before, "emulate", "--from-live")
        assert code == 2
        assert one_line(err)
    heads = {
        cli("emulate", "--from", path, "--try", one, "--csv")[1].splitlines()[0] for one in (step, "offline: {node: 1}")
    }
    assert len(heads) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["default", "--from-live"],
        ["--from-live", "--from", "x"],
        ["default", "--try", "offline: {node: 99}"],
        ["default", "--try", "offline: {node: 1}\ntouch: {}"],
        ["default", "--try", "[1"],
        ["default", "--at", "5s"],
        ["default", "--write", "x"],
        ["--from", "nowhere.tar"],
        ["--from-live", "--compare", "linux-6"],
        ["--from-live", "--try", "nonsense"],
        ["--from-live", "--try", "nonsense: {a: 1}"],
        ["--from-live", "--try", "offline: {node: 99}"],
        ["--from-live", "--try", "[\x1b"],
    ],
)
def test_mistakes_are_one_line(cli: Cli, arguments: list[str]) -> None:
    code, out, err = cli("emulate", *arguments)
    assert code != 0
    assert not out
    assert one_line(err)


def test_this_machine_can_be_copied(cli: Cli) -> None:
    document = cli.json("emulate", "--from-live")
    assert document["nodes"]


def test_a_copy_for_a_folder_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("emulate", "--from-live", "--write", str(tmp_path / "nosuch" / "copy.yaml"))
    assert code == 4
    assert one_line(err)
    assert "make it first" in err


BACK = "migrate_pages: {task: solver, from: 2-3, to: 0-1}"


def test_a_scenario_goes_on_with_what_is_tried(cli: Cli) -> None:
    usual = cli.json("emulate", "direct-vs-swap")
    tried = cli.json("emulate", "direct-vs-swap", "--try", BACK, "--try", "touch: {task: solver, region: matrix}")
    assert [step["call"] for step in tried["steps"]] == [
        *(step["call"] for step in usual["steps"]),
        "migrate_pages",
        "touch",
    ]
    back, touched = tried["steps"][-2:]
    assert touched["at"] == back["at"] + 1 > usual["steps"][-1]["at"] + 1
    assert {vma["nodes"].get("0", 0) for vma in tried["tasks"]["solver"]["vmas"]} == {2048, 0}


def test_what_is_tried_can_come_first(cli: Cli) -> None:
    steps = cli.json("emulate", "direct-vs-swap", "--try", BACK, "--at", "500ms")["steps"]
    assert (steps[0]["at"], steps[0]["call"]) == (0.5, "migrate_pages")


def test_kernels_can_be_compared_on_what_is_tried(cli: Cli) -> None:
    arguments = ("emulate", "direct-vs-swap", "--compare", "direct-v8,swap-2.6.15")
    usual, tried = (cli.json(*arguments, *more)["profiles"] for more in ((), ("--try", BACK)))
    assert tried["direct-v8"]["seconds"] > usual["direct-v8"]["seconds"]
    assert tried["direct-v8"]["pages_arrived"] == usual["direct-v8"]["pages_arrived"] == 3072


def test_a_demo_can_be_looked_at_later(cli: Cli) -> None:
    def node_of(*at: str) -> int:
        rows = cli.json("--demo", *at, "ps")["processes"]
        return next(row["node"] for row in rows if row["command"].startswith("ora_dbw0"))

    assert node_of() == 0
    assert node_of("--at", "10s") == 3, "after three seconds the scheduler moves it"


def test_a_size_that_is_no_whole_pages_is_said(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        "machine:\n  nodes: [{id: 0, memory: 1M, cpus: 0}]\n"
        "processes: [{name: a, node: 0, memory: [{name: m, size: 5000}]}]\n"
    )
    code, _, err = cli("emulate", str(path))
    assert code == 0
    assert err == f"{path}:3: processes[0].memory[0].size: 5000 bytes are 2 pages of 4KiB\n"


@pytest.mark.parametrize(
    ("distances", "says"),
    [("[[10, 5], [5, 10]]", "a number from 10 to 255"), ("[[11, 20], [20, 10]]", "node 0 is 10 from itself")],
)
def test_distances_that_no_machine_has_are_refused(cli: Cli, tmp_path: Path, distances: str, says: str) -> None:
    path = tmp_path / "near.yaml"
    nodes = "[{id: 0, memory: 1M, cpus: 0}, {id: 1, memory: 1M, cpus: 1}]"
    path.write_text(f"machine:\n  nodes: {nodes}\n  distances: {distances}\n")
    code, _, err = cli("emulate", str(path))
    assert code == 2
    assert one_line(err)
    assert f"{path}:3: machine.distances" in err
    assert says in err


def test_kernels_with_other_cgroups_say_what_to_change(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "v2.yaml"
    path.write_text("machine:\n  cgroups: v2\n  nodes: [{id: 0, memory: 1M, cpus: 0}]\n")
    code, _, err = cli("emulate", str(path), "--compare", "linux-6,direct-v8")
    assert code == 2
    assert "leave the key out" in err


def test_a_recording_without_processes_says_what_is_missing(cli: Cli, tmp_path: Path) -> None:
    root = two_nodes(tmp_path)
    shutil.rmtree(root / "proc")
    for command in (("--replay", str(root), "ps"), ("emulate", "--from", str(root))):
        code, out, err = cli(*command)
        assert (code, out) == (5, "")
        assert one_line(err)
        assert "a recording needs its proc/" in err
    assert cli("--replay", str(root), "nodes")[0] == 0


def test_cpus_that_two_nodes_claim_are_the_firsts_in_a_copy(cli: Cli, tmp_path: Path) -> None:
    root = two_nodes(tmp_path)
    (root / "sys/devices/system/node/node1/cpulist").write_text("2-7\n")
    code, _, err = cli("emulate", "--from", str(root))
    assert code == 0
    assert "node 1 claims CPU 2-3 of another node: not so in the copy" in err
    copy = tmp_path / "copy.yaml"
    assert cli("emulate", "--from", str(root), "--write", str(copy))[0] == 0
    nodes = cli.json("--demo", str(copy), "nodes")["nodes"]
    assert [node["cpus"] for node in nodes] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_errors_of_a_copy_name_no_file_that_nobody_sees(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.recording.as_scenario._Copier._distance", lambda *_: 5)
    code, _, err = cli("emulate", "--from", str(two_nodes(tmp_path)))
    assert code == 2
    assert one_line(err)
    assert err.startswith("numatui: the copy cannot be emulated: machine.distances[0][0]")
