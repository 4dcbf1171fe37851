"""Options of tables and selections, the same for every command that has them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from numatui.cli.printing import output
from numatui.cli.printing.outcomes import FIELDS
from tests.cli.running import Cli

TABLES: list[tuple[str, ...]] = [
    ("ps",), ("nodes",), ("show", "6"), ("cgroups",), ("cpuset", "list"), ("plan", "6", "--from", "0", "--to", "1"),
    ("doctor",),
]  # fmt: skip


@pytest.fixture
def lines(cli: Cli) -> Any:
    def run(*arguments: str) -> list[str]:
        code, out, err = cli("--demo", *arguments)
        assert code == 0, err
        return out.splitlines()

    return run


def rows_of(text: list[str]) -> list[list[str]]:
    return list(csv.reader(io.StringIO("\n".join(text))))


@pytest.mark.parametrize("command", TABLES)
def test_csv_can_be_cut_turned_and_without_a_heading(lines: Any, command: tuple[str, ...]) -> None:
    heading, *rows = rows_of(lines(*command, "--csv"))
    assert rows
    assert rows_of(lines(*command, "--csv", "--no-header")) == rows
    assert rows_of(lines(*command, "--csv", "--limit", "1")) == [heading, rows[0]]
    assert rows_of(lines(*command, "--csv", "--limit", "1", "--reverse")) == [heading, rows[-1]]
    wanted = [heading[-1], heading[0]]
    assert rows_of(lines(*command, "--csv", "--columns", ",".join(wanted).upper())) == [
        wanted, *[[row[-1], row[0]] for row in rows]
    ]  # fmt: skip


@pytest.mark.parametrize("command", TABLES)
def test_a_column_that_is_not_there_is_told_with_those_that_are(cli: Cli, command: tuple[str, ...]) -> None:
    for more in ((), ("--csv",)):
        code, out, err = cli("--demo", *command, *more, "--columns", "nope")
        assert code == 2
        assert "there is no column 'nope'; the columns are " in err
        assert "nope" not in out


@pytest.mark.parametrize("command", [one for one in TABLES if one[0] != "doctor"])
def test_sizes_in_bytes_are_those_of_csv(lines: Any, command: tuple[str, ...]) -> None:
    if command[0] == "cpuset":
        return
    text = " ".join(lines(*command, "--bytes"))
    heading, first, *_ = rows_of(lines(*command, "--csv"))
    sizes = [
        value for name, value in zip(heading, first, strict=True)
        if name in ("rss_bytes", "total_bytes", "free_bytes", "memory_bytes", "bytes") and value not in ("", "0")
    ]  # fmt: skip
    assert all(value in text.split() for value in sizes), (sizes, text)


def test_documents_are_cut_too(lines: Any) -> None:
    every = json.loads("\n".join(lines("ps", "--json")))["processes"]
    assert json.loads("\n".join(lines("ps", "--json", "--limit", "2", "--reverse")))["processes"] == [
        {**one, "age_seconds": 0.0} for one in every[::-1][:2]
    ]


def test_a_tree_is_cut_from_its_top(lines: Any) -> None:
    tree = ("ps", "--tree", "--csv", "--no-header", "--columns", "pid")
    whole = lines(*tree)
    assert lines(*tree, "--limit", "2") == whole[:2]
    assert lines(*tree, "--reverse")[0] == whole[0] == "1"


def test_quiet_leaves_notes_out_but_no_errors(cli: Cli) -> None:
    _, _, noisy = cli("--demo", "show", "6")
    assert "VMAs without resident pages" in noisy or noisy == ""
    code, out, err = cli("--demo", "plan", "6", "--from", "0", "--to", "1", "--all", "--quiet")
    assert (code, err) == (0, "")
    assert out
    code, _, err = cli("--demo", "ps", "nope", "--quiet")
    assert code == 4
    assert err.startswith("numatui: ")


def test_a_quiet_move_says_nothing_and_wants_yes(cli: Cli) -> None:
    move = ("--demo", "migrate", "6", "--from", "0", "--to", "1", "--quiet")
    code, out, err = cli(*move)
    assert (code, out) == (2, "")
    assert "say --yes too" in err
    assert cli(*move, "--yes") == (0, "", "")
    code, out, _ = cli(*move, "--yes", "--json")
    assert code == 0
    assert json.loads(out)["outcomes"]


SELECTING: list[tuple[str, ...]] = [
    ("ps",), ("show",), ("advise", "--observe", "1s", "--all"), ("plan", "--from", "0-3", "--to", "0-3"),
]  # fmt: skip


@pytest.mark.parametrize("command", SELECTING)
def test_every_command_selects_alike(cli: Cli, command: tuple[str, ...]) -> None:
    def chosen(*options: str) -> set[int]:
        code, out, err = cli("--demo", *command, *options, "--json")
        assert code == 0, err
        documents = [json.loads(out)] if out.startswith("{\n") else [json.loads(line) for line in out.splitlines()]
        found = [one for document in documents for one in document.get("processes", [document])]
        return {one["pid"] for one in found}

    assert chosen("--match", "ora_*") == {6}
    assert chosen("--regex", "^postgres: .*check") == {9}
    assert chosen("--user", "oracle", "--user", "mysql", "--min", "600M") == {6, 11}
    assert chosen("9", "6") == {6, 9}


@pytest.mark.parametrize("command", [*SELECTING, ("migrate", "--from", "0", "--to", "1", "--yes")])
@pytest.mark.parametrize("options", [("--user", "nobody-of-that-name"), ("--match", "x y z"), ("--min", "99T")])
def test_who_selects_nobody_is_told(cli: Cli, command: tuple[str, ...], options: tuple[str, ...]) -> None:
    code, out, err = cli("--demo", *command, *options)
    assert (code, out) == (4, "")
    assert err.startswith("numatui: no process matches --")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--regex", "("), 2), (("--match", ""), 2), (("--cgroup", "../x"), 2), (("--min", "x"), 2), (("-5",), 2),
        (("1.5",), 2), (("99999999999999999999999",), 2), (("6", "--user", "mysql"), 4),
    ],
)  # fmt: skip
def test_bad_selections_are_one_line(cli: Cli, options: tuple[str, ...], code: int) -> None:
    got, out, err = cli("--demo", "migrate", "--from", "0", "--to", "1", "--yes", *options)
    assert (got, out) == (code, "")
    assert err.startswith("numatui: ")
    assert err.count("\n") == 1


def test_pids_come_from_standard_input(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def given(raw: bytes) -> Any:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))
        return cli("--demo", "ps", "-", "--csv", "--no-header", "--columns", "pid")

    assert given(b"6\n9,11 ")[1].split() == ["6", "11", "9"]
    for raw in (b"", b" \n", b"6 x", b"\xff", b"6 " * (1 << 20)):
        code, out, err = given(raw)
        assert (code, out) == (2, ""), raw[:10]
        assert err.startswith("numatui: ")


def test_a_move_of_nothing_has_the_columns_of_any_other(cli: Cli) -> None:
    _, something, _ = cli("--demo", "migrate", "6", "--from", "0", "--to", "1", "--yes", "--csv")
    code, nothing, _ = cli("--demo", "migrate", "6", "--from", "3", "--to", "1", "--yes", "--csv")
    assert code == 0
    assert nothing.splitlines() == something.splitlines()[:1]
    _, document, _ = cli("--demo", "migrate", "6", "--from", "0", "--to", "1", "--yes", "--json")
    assert tuple(json.loads(document)["outcomes"][0]) == FIELDS


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "=cmd|' /C calc'!A0"])
def test_a_name_is_no_formula_for_a_spreadsheet(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A process may call itself anything; https://owasp.org/www-community/attacks/CSV_Injection"""
    output.print_csv(["name", "amount"], [[name, -5], ["a=b", 1.5]])
    assert list(csv.reader(io.StringIO(capsys.readouterr().out)))[1:] == [[f"'{name}", "-5"], ["a=b", "1.5"]]
