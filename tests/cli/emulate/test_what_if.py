"""emulate --from-live, --from: a copy of a machine on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import Cli, one_line


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
        ["default", "--try", "offline: {node: 1}"],
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
