"""What --json prints is as its JSON Schema says, of every command; --watch and --follow print a document a line."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from backend.emulator.scenario.shipped import names as scenarios
from numatui.cli.app import command_line
from numatui.cli.shell.schema import COMMON, bundled, load, names
from tests.cli.running import Cli, one_line
from tests.schemas import check

COMMANDS = {
    "ps": ["--demo", "ps"],
    "nodes": ["--demo", "nodes"],
    "show": ["--demo", "show", "11"],
    "heat": ["--demo", "heat", "14"],
    "tier": ["--demo", "tier"],
    "plan": ["--demo", "plan", "11", "--from", "0", "--to", "1"],
    "migrate": ["--demo", "migrate", "11", "--from", "0", "--to", "1", "--yes"],
    "jobs": ["jobs"],
    "advise": ["--demo", "advise", "--all"],
    "cgroups": ["--demo", "cgroups"],
    "cpuset list": ["--demo", "cpuset", "list"],
    "emulate": ["emulate", "scheduler-moves"],
    "keys": ["keys"],
    "doctor": ["--demo", "doctor"],
    "record": ["--demo", "record", "r.tar", "--for", "once"],
}
LOOK = {f"fleet {name}" for name in ("nodes", "ps", "doctor", "jobs", "advise", "watch-status")}
ELSEWHERE = {"apply", "bench", "undo", "cpuset set-mems", "cpuset attach", "helper", *LOOK}
"""Need a saved plan (test_apply), a machine with several nodes (tests/guest), a cpuset (test_cgroups), a helper, or
hosts (tests/cli/fleet)."""
DOCUMENTS_ONLY = {"watch", "fleet migrate", "fleet undo"}


def commands_with(option: str) -> set[str]:
    found: set[str] = set()
    for name, command in command_line().commands.items():  # type: ignore[attr-defined]
        for path, one in [(f"{name} {sub}", inner) for sub, inner in getattr(command, "commands", {}).items()] or [
            (name, command)
        ]:
            if any(option in parameter.opts for parameter in one.params):
                found.add(path)
    return found


def test_all_commands_have_documents_and_tables_and_are_tried() -> None:
    assert commands_with("--json") == COMMANDS.keys() | ELSEWHERE | DOCUMENTS_ONLY
    assert commands_with("--csv") == COMMANDS.keys() | ELSEWHERE


@pytest.mark.parametrize("name", list(COMMANDS))
def test_documents_are_as_their_schemas_say(
    cli: Cli, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    document = cli.json(*COMMANDS[name], code=0)
    assert document["schema"] == f"numatui/{name.replace(' ', '-')}/1"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "jobs"])
def test_tables_are_rectangular(cli: Cli, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli(*COMMANDS[name], "--csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert code == 0
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(set(rows[0])) == len(rows[0])


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "jobs"])
def test_a_column_has_the_name_of_the_field(
    cli: Cli, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    heading = cli(*COMMANDS[name], "--csv")[1].splitlines()[0].split(",")
    (tmp_path / "r.tar").unlink(missing_ok=True)
    fields = set(_fields(cli.json(*COMMANDS[name])))
    # In documents, `left` has those reasons only that there are.
    names = ["left" if column.startswith("left.") else column.removesuffix("_bytes") for column in heading]
    assert not {part for name in names for part in name.split(".") if not part.isdigit()} - fields


def _fields(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _fields(one)


def test_show_and_ps_have_sizes_in_bytes_and_say_so(cli: Cli) -> None:
    totals: list[list[int]] = []
    for command in ("show", "ps"):
        code, out, _ = cli("--demo", command, "6" if command == "show" else "ora_dbw0", "--csv")
        assert code == 0
        rows = list(csv.DictReader(io.StringIO(out)))
        totals.append([sum(int(row[f"nodes.{node}_bytes"]) for row in rows) for node in range(4)])
    assert totals[0] == totals[1] != [0] * 4
    for name in ("n0", "node0", "nodes.0", "nodes.0_bytes"):
        assert cli("--demo", "ps", "--csv", "--columns", name)[1].startswith("nodes.0_bytes\n")


@pytest.mark.parametrize("name", scenarios())
def test_reports_of_scenarios_are_as_their_schema_says(cli: Cli, name: str) -> None:
    cli.json("emulate", name)


def test_the_other_reports_are_too(cli: Cli) -> None:
    cli.json("emulate", "swap-full", "--trace", "cache:objects:0")
    cli.json("emulate", "direct-vs-swap", "--compare", "direct-v8,swap-2.6.15")
    cli.json("plan", "--nodes", "0-3", "--from", "0", "--to", "1")


@pytest.mark.parametrize("name", [*names(), COMMON])
def test_schemas_are_json_schemas(name: str) -> None:
    Draft202012Validator.check_schema(load(name))


@pytest.mark.parametrize("name", names())
def test_what_is_printed_is_complete_in_itself_and_takes_fields_of_later_versions(cli: Cli, name: str) -> None:
    code, out, _ = cli("schema", name)
    assert code == 0
    schema = json.loads(out)
    assert schema == bundled(name)
    assert "common.json" not in out
    assert list(Draft202012Validator(schema).iter_errors({}))


def test_a_later_field_does_not_break_readers(cli: Cli) -> None:
    document = cli.json(*COMMANDS["ps"])
    validator = Draft202012Validator(bundled("ps"))
    validator.validate(document)
    document["processes"][0]["new"] = document["other"] = 1
    validator.validate(document)
    with pytest.raises(AssertionError):
        check(document)


def test_schemas_that_are_not_there(cli: Cli) -> None:
    for name in ("nothing", "../app", "common", "\x1b[31m"):
        code, _, err = cli("schema", name)
        assert code == 4
        assert one_line(err)
    assert "numatui ps --json" in cli("schema")[1]


@pytest.mark.parametrize("command", ["ps", "nodes"])
def test_watching_prints_a_document_a_line(cli: Cli, command: str) -> None:
    code, out, _ = cli("--demo", command, "--watch", "2", "--count", "4", "--json")
    assert code == 0
    documents = [check(json.loads(line)) for line in out.splitlines()]
    first = 0.0 if command == "ps" else 2.0
    assert [round(one["at"], 6) for one in documents] == [first + 2 * number for number in range(4)]
    if command == "ps":
        assert documents[0]["processes"] != documents[-1]["processes"]
    else:
        assert all(set(one["busy"]) == {"0", "1", "2", "3"} for one in documents)
        assert any(one["busy"] != documents[0]["busy"] for one in documents)


@pytest.mark.parametrize("command", ["ps", "nodes"])
def test_watching_prints_one_heading_to_a_table_of_all(cli: Cli, command: str) -> None:
    code, out, _ = cli("--demo", command, "--watch", "500ms", "--count", "3", "--csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert code == 0
    assert rows[0][0] == "at"
    assert len({row[0] for row in rows[1:]}) == 3
    assert {len(row) for row in rows} == {len(rows[0])}
    plain = cli("--demo", command, "--watch", "500ms", "--count", "3")[1]
    assert plain.count("COMMAND" if command == "ps" else "NODE") == 3
    assert "\x1b" not in plain


def test_watching_a_recording_ends_where_it_ends(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "r.tar")
    cli.json("--demo", "record", path, "--for", "5s")
    _, out, _ = cli("--replay", path, "ps", "--watch", "1", "--json")
    assert [json.loads(line)["at"] for line in out.splitlines()] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--watch", "0"],
        ["--watch", "x"],
        ["--watch", "1ms"],
        ["--count", "2"],
        ["--watch", "1", "--count", "-1"],
        ["--watch", "1", "--count", "0"],
    ],
)
def test_intervals_that_are_none(cli: Cli, arguments: list[str]) -> None:
    for command in ("ps", "nodes"):
        code, out, err = cli("--demo", command, *arguments)
        assert code == 2
        assert not out
        assert one_line(err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--live", "ps", "--watch", "0.1"],
        ["--live", "nodes", "--watch", "0.1"],
        ["--live", "jobs", "--follow"],
    ],
)
def test_a_signal_ends_it_well(arguments: list[str], tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "numatui", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    assert child.stdout is not None
    if "--follow" not in arguments:
        child.stdout.readline()
    else:
        _until_it_handles_signals(child.pid)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 0
    assert not err


def _until_it_handles_signals(pid: int) -> None:
    """SIGHUP is caught only while it watches."""
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        if caught & 1 << (signal.SIGHUP - 1):
            return


def test_a_reader_that_leaves_ends_it_silently() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m numatui --demo ps --watch 1 --json | head -n 1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert not done.stderr
    assert json.loads(done.stdout)["schema"] == "numatui/ps/1"


@pytest.mark.parametrize("name", list(COMMANDS))
@pytest.mark.parametrize("formats", [("--json", "--csv"), ("--csv", "--json")])
def test_two_formats_at_once_are_refused(cli: Cli, name: str, formats: tuple[str, str]) -> None:
    code, out, err = cli(*COMMANDS[name], *formats)
    assert code == 2
    assert check(json.loads(out))["what"] == "--json and --csv exclude each other"
    assert one_line(err)


def test_columns_do_not_depend_on_what_became_of_it(cli: Cli) -> None:
    headings = {
        cli("--demo", "migrate", pid, "--from", "0", "--to", target, "--yes", "--csv")[1].splitlines()[0]
        for pid, target in (("11", "1"), ("11", "2-3"), ("6", "1"))
    }
    (heading,) = headings
    assert {"left.no-room", "before.0", "before.3", "after.2"} <= {*heading.split(",")}
