"""The commands as scripts see them: documents, exit codes, one-line errors."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backend.emulator.scenario.shipped import names
from numatui.cli.app import with_optional_values
from numatui.cli.commands import COMMANDS
from tests.cli.running import Cli, one_line
from tests.trees import process_files, two_nodes, write

SMALL = ["--demo", "scheduler-moves"]


@pytest.fixture
def replay(tmp_path: Path) -> list[str]:
    return ["--replay", str(two_nodes(tmp_path / "tree"))]


@pytest.mark.parametrize(
    ("arguments", "schema"),
    [
        (["ps"], "ps"),
        (["nodes"], "nodes"),
        (["show", "3"], "show"),
        (["plan", "--from", "0", "--to", "1"], "plan"),
        (["plan", "3", "--from", "0", "--to", "1"], "plan"),
        (["migrate", "3", "--from", "0", "--to", "1", "--yes"], "migrate"),
        (["migrate", "3", "--from", "0", "--to", "1", "--dry-run"], "plan"),
        (["doctor"], "doctor"),
    ],
)
def test_every_document_says_what_it_is(cli: Cli, arguments: list[str], schema: str) -> None:
    assert cli.json(*SMALL, *arguments)["schema"] == f"numatui/{schema}/1"


@pytest.mark.parametrize("arguments", [["ps"], ["nodes"], ["show", "3"], ["plan", "3", "--from", "0", "--to", "1"]])
def test_every_table_is_csv_too(cli: Cli, arguments: list[str]) -> None:
    code, out, _ = cli(*SMALL, *arguments, "--csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert code == 0
    assert len(rows) > 1
    assert len({len(row) for row in rows}) == 1


def test_ps_of_a_recording(cli: Cli, replay: list[str]) -> None:
    (process,) = cli.json(*replay, "ps")["processes"]
    assert process["command"] == "postgres -D"
    assert process["nodes"] == {"0": 6 * 4096, "1": 3 * 4096 + (4 << 20)}
    assert process["policy"] == "bind:1"
    assert process["node"] == 0
    assert process["local"] == pytest.approx(6 * 4096 / (9 * 4096 + (4 << 20)), abs=1e-4)


def test_ps_sorts_filters_and_grows_trees(cli: Cli) -> None:
    sizes = [process["rss"] for process in cli.json("--demo", "ps")["processes"]]
    assert sizes == sorted(sizes, reverse=True)
    assert {p["user"] for p in cli.json("--demo", "ps", "--user", "oracle")["processes"]} == {"oracle"}
    assert {p["comm"] for p in cli.json("--demo", "ps", "nginx")["processes"]} >= {"nginx", "nginx2"}
    assert all(p["rss"] >= 500 << 20 for p in cli.json("--demo", "ps", "--min", "500M")["processes"])
    on_three = [p["nodes"].get("3", 0) for p in cli.json("--demo", "ps", "--sort", "N3")["processes"]]
    assert on_three == sorted(on_three, reverse=True)
    code, out, _ = cli("--demo", "ps", "--tree")
    assert code == 0
    assert out.index("/sbin/init") < out.index("  ora_dbw0")


def test_migrating_in_the_demo_moves_keeps_and_proves(cli: Cli) -> None:
    document = cli.json(*SMALL, "migrate", "3", "--from", "0-1", "--to", "2-3", "--yes")
    (outcome,) = document["outcomes"]
    assert outcome["complete"]
    assert outcome["before"].keys() == {"0", "1"}
    assert list(outcome["after"].values()) == list(outcome["before"].values())
    assert outcome["after"].keys() == {"2", "3"}


@pytest.mark.parametrize(
    ("sources", "targets", "moves"),
    [
        ("0-1", "2-3", [(0, 2), (1, 3)]),
        ("0,1", "1,2", [(1, 2), (0, 1)]),
        ("1-3", "0-1", [(3, 0), (2, 1)]),
        ("0-3", "1-2", [(3, 2), (0, 1)]),
        ("all", "3", [(2, 3), (1, 3), (0, 3)]),
        ("!0", "0", [(1, 0), (2, 0), (3, 0)]),
        ("+0", "same", []),
    ],
)
def test_the_mapping_alone_needs_no_machine(cli: Cli, sources: str, targets: str, moves: list[tuple[int, int]]) -> None:
    document = cli.json("plan", "--nodes", "0-3", "--from", sources, "--to", targets)
    assert document["moves"] == [{"from": a, "to": b} for a, b in moves]


def test_the_old_rule_can_be_asked_for(cli: Cli) -> None:
    document = cli.json("plan", "--nodes", "0-3", "--from", "1-3", "--to", "0-1", "--rule", "direct-v8")
    assert document["moves"] == [{"from": 1, "to": 0}, {"from": 2, "to": 1}, {"from": 3, "to": 0}]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([*SMALL, "migrate", "4711", "--from", "0", "--to", "1"], 4, "no process 4711"),
        ([*SMALL, "show", "4711"], 4, "no process 4711"),
        ([*SMALL, "show", "2"], 5, "kernel thread"),
        ([*SMALL, "migrate", "2", "--from", "0", "--to", "1"], 5, "kernel thread"),
        ([*SMALL, "plan", "3", "--from", "9", "--to", "1"], 4, "no node 9"),
        ([*SMALL, "plan", "3", "--from", "0", "--to", ""], 2, "empty set"),
        ([*SMALL, "plan", "3", "--from", "0;1", "--to", "1"], 2, "not part of a node set"),
        ([*SMALL, "migrate", "3", "--from", "0", "--to", "1"], 2, "--yes"),
        ([*SMALL, "migrate", "3", "--from", "0", "--to", "1", "--method", "teleport"], 2, "teleport"),
        ([*SMALL, "migrate", "3", "--from", "0", "--to", "1", "--budget", "soon"], 2, "soon"),
        ([*SMALL, "ps", "nothing-like-this"], 4, "no process matches"),
        ([*SMALL, "ps", "--user", "nobody-here"], 4, "nobody-here"),
        ([*SMALL, "ps", "--sort", "beauty"], 2, "beauty"),
        ([*SMALL, "ps", "--min", "lots"], 2, "lots"),
        (["--demo", "no-such-scenario", "ps"], 4, "no-such-scenario"),
        (["--replay", "/nonexistent", "ps"], 4, "/nonexistent"),
        (["--demo", "default", "--replay", "/x", "ps"], 2, "exclude"),
        (["emulate", "/nonexistent.yaml"], 4, "cannot be read"),
        (["emulate", "swap-full", "--compare", "direct-v8,vms"], 2, "vms"),
        (["emulate", "swap-full", "--compare", "direct-v8", "--seed", "3"], 2, "--seed"),
        (["emulate", "swap-full", "--trace", "nobody:x:1"], 2, "nobody"),
        (["frobnicate"], 2, "frobnicate"),
        (["ps", "--frobnicate"], 2, "--frobnicate"),
        (["plan", "--from", "0"], 2, "--to"),
        (["plan", "--nodes", "0-3", "1", "--from", "0", "--to", "1"], 2, "exclude"),
        (["migrate", "12x", "--from", "0", "--to", "1"], 2, "--match"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_the_right_exit_code(cli: Cli, arguments: list[str], code: int, says: str) -> None:
    got, _, err = cli(*arguments)
    assert got == code, err
    assert says in err
    assert err.splitlines()[-1].startswith("numatui: ")
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("numatui: ")]) == 1


def test_the_benefits_side_by_side_and_a_page_followed(cli: Cli) -> None:
    both = cli.json("emulate", "swap-full", "--compare", "direct-v8,swap-2.6.15")
    assert both["schema"] == "numatui/compare/1"
    assert list(both["profiles"]) == ["direct-v8", "swap-2.6.15"]
    code, out, _ = cli("emulate", "swap-full", "--compare", "direct-v8,swap-2.6.15")
    assert code == 0
    assert "2048 of 2048" in out
    code, out, _ = cli("emulate", "swap-full", "--trace", "cache:objects:0")
    assert code == 0
    assert "add_to_swap" in out


def test_a_recording_cannot_be_changed(cli: Cli, replay: list[str]) -> None:
    code, _, err = cli(*replay, "migrate", "7", "--from", "0", "--to", "1", "--yes")
    assert code == 5
    assert "recording" in err


def test_targets_without_memory_are_refused(cli: Cli, tmp_path: Path) -> None:
    tree = two_nodes(tmp_path / "tree")
    (tree / "sys/devices/system/node/node1/meminfo").write_text("Node 1 MemTotal: 0 kB\n")
    code, _, err = cli("--replay", str(tree), "plan", "7", "--from", "0", "--to", "1")
    assert code == 2
    assert "no memory" in err


def test_no_numa_in_the_kernel(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("--replay", str(write(tmp_path / "t", {"proc/version": "Linux version 6.1\n"})), "nodes")
    assert code == 5
    assert "--demo" in err


def test_another_system(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Darwin", "mac", "23", "x", "arm64")))
    code, _, err = cli("ps")
    assert code == 5
    assert "Darwin" in err
    assert "--demo" in err


def test_a_full_target_is_told_before_and_afterwards(cli: Cli, tmp_path: Path) -> None:
    scenario = tmp_path / "full.yaml"
    scenario.write_text(
        "machine:\n  nodes:\n    - {id: 0, memory: 64MiB, cpus: 0}\n    - {id: 1, memory: 32MiB, cpus: 1}\n"
        "processes:\n  - {name: big, node: 0, memory: [{size: 48MiB, on: {0: 100%}}]}\n"
    )
    document = cli.json("--demo", str(scenario), "migrate", "3", "--from", "0", "--to", "1", "--yes")
    (outcome,) = document["outcomes"]
    assert set(outcome["left"]) == {"no-room"}
    assert outcome["moved"] + outcome["left"]["no-room"] == 48 << 20
    assert document["plan"]["warnings"][0]["code"] == "room"


HOSTILE = b"a\n\x1b[2J[red]x[/red]\xff" + b"y" * 4000


@pytest.mark.parametrize(
    "arguments", [["ps"], ["ps", "--tree"], ["show", "7"], ["plan", "7", "--from", "0", "--to", "1"]]
)
@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_hostile_names_are_harmless_everywhere(cli: Cli, tmp_path: Path, arguments: list[str], form: list[str]) -> None:
    maps = b"7f00 default file=/x\\012\x1b[31m[b]\xff anon=1 N0=1 kernelpagesize_kB=4\n"
    files = process_files(7, HOSTILE, maps)
    tree = write(two_nodes(tmp_path / "tree"), {**files, "proc/7/cpuset": b"/\x1b[5m\n"})
    code, out, err = cli("--replay", str(tree), *arguments, *form)
    assert code == 0, err
    assert all(line.isprintable() for line in (out + err).splitlines())
    assert "[2J" not in out or "\\x1b" in out or "\\u001b" in out
    if form == ["--json"]:
        json.loads(out)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--demo"], ["--demo", "default"]),
        (["--demo", "ps"], ["--demo", "default", "ps"]),
        (["--demo", "x.yaml", "ps"], ["--demo", "x.yaml", "ps"]),
        (["--demo", "--help"], ["--demo", "default", "--help"]),
        (["ps", "--demo"], ["ps", "--demo"]),
        (["--replay", "ps", "ps"], ["--replay", "ps", "ps"]),
    ],
)
def test_demo_may_stand_alone(given: list[str], meant: list[str]) -> None:
    assert with_optional_values(given) == meant


@pytest.mark.parametrize("name", names())
def test_shipped_scenarios_run(cli: Cli, name: str) -> None:
    document = cli.json("emulate", name)
    assert document["damaged_pages"] == 0
    assert all((step["errno"] is None) != (step["result"] is None) for step in document["steps"])
    code, out, _ = cli("emulate", name)
    assert code == 0
    assert "after" in out


def test_the_scheduler_scenario_ends_local_again(cli: Cli) -> None:
    document = cli.json("emulate", "scheduler-moves")
    assert document["tasks"]["oltp"]["vmas"][0]["nodes"] == {"3": 32768}
    assert document["steps"][1]["result"] == 0


def python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize("arguments", ["ps --json --exact", "ps PID", "show PID", "nodes", "doctor --json"])
def test_reading_commands_import_no_heavy_libraries(arguments: str) -> None:
    """As long as no large process has to be looked at gently: PID is none."""
    code = (
        "import sys; from numatui.cli.app import run; code = run(sys.argv[1:]); "
        "print({'textual', 'numpy', 'simpy', 'yaml'} & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    with subprocess.Popen(["sleep", "60"]) as small:
        done = python("-c", code, *arguments.replace("PID", str(small.pid)).split())
        small.kill()
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "set()"


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from numatui.cli.app import run; from numatui.cli.commands import COMMANDS; run(['--help']); "
        "print(sorted({one.where.partition(':')[0] for one in COMMANDS.values()} & set(sys.modules)), file=sys.stderr)"
    )
    done = python("-c", code)
    assert done.stderr == "[]\n"
    for name, entry in COMMANDS.items():
        assert f"  {name}" in done.stdout
        assert entry.summary in done.stdout
        assert len(entry.summary) <= 64, name


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = "import sys; from numatui.cli.app import run; sys.exit(run(['--demo', 'default', 'ps', '--json']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.close()
        assert child.stderr is not None
        assert child.stderr.read() == b""
    assert child.returncode == 0


def test_python_m_and_version() -> None:
    done = python("-m", "numatui", "--version")
    assert done.returncode == 0
    assert done.stdout.startswith("numatui ")


def test_live_commands_work_on_this_machine() -> None:
    document = json.loads(python("-m", "numatui", "ps", "--json").stdout)
    assert document["source"] == "live"
    assert any(process["pid"] == os.getpid() for process in document["processes"])
    assert json.loads(python("-m", "numatui", "nodes", "--json").stdout)["nodes"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_ordinary_user_is_refused_other_users_processes() -> None:
    code = (
        "import os, sys; from numatui.cli import app; import backend.job.parts.source_pages, backend.job.job, "
        "backend.live.kernel; "
        "app.run(['plan', '--nodes', '0-1', '--from', '0', '--to', '1']); "
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(app.run(sys.argv[1:]))"
    )
    done = python("-c", code, "migrate", str(os.getpid()), "--from", "0", "--to", "0", "--yes")
    assert done.returncode == 3
    assert one_line(done.stderr)


def test_what_cannot_be_done_for_one_process_does_not_hide_what_was_done_for_another(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backend.errors import NotFound
    from backend.job import job

    real = job.PlanPart

    def failing(context: Any, number: int, planned: Any) -> Any:
        if planned.process.pid == 19:
            raise NotFound("there is no process 19")
        return real(context, number, planned)

    monkeypatch.setattr(job, "PlanPart", failing)
    document = cli.json("--demo", "migrate", "19", "22", "--from", "1", "--to", "3", "--yes", code=6)
    assert [one["pid"] for one in document["outcomes"]] == [22]
    assert document["errors"] == ["there is no process 19"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "numatui", "plan", "--nodes", "0-3", "--from", "0", "--to", "1", "--json"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert one_line(done.stderr)


def test_the_terminal_ui_without_a_terminal_is_one_line() -> None:
    done = python("-m", "numatui", "--demo", stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert one_line(done.stderr)
    assert not done.stdout


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("arguments", ["--demo ps", "--demo ps --watch 1 --count 2 --csv"])
def test_output_that_nobody_can_get_is_an_error(closed: str, arguments: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m numatui {arguments} {closed}"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert ("standard output is closed" in done.stderr) == ("2>&-" not in closed)


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-"])
def test_other_closed_streams_are_no_trouble(closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m numatui --demo nodes {closed}"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "NODE" in done.stdout


def test_both_streams_in_one_file_keep_their_order() -> None:
    command = f"{sys.executable} -m numatui --demo migrate --cgroup / --from 0 --to 1 --dry-run 2>&1"
    lines = subprocess.run(["sh", "-c", command], capture_output=True, text=True).stdout.splitlines()
    assert "a process waits up to" in lines[lines.index(next(one for one in lines if one.startswith("farther:"))) - 1]


def test_what_is_said_of_many_processes_is_one_line(cli: Cli) -> None:
    code, _, err = cli("--demo", "migrate", "--cgroup", "/", "--from", "0", "--to", "1", "--dry-run")
    assert code == 0
    lines = [line for line in err.splitlines() if line.startswith("farther:")]
    assert any(re.match(r"farther: \d+, \d+, \d+: it runs on node 0", line) for line in lines)
    assert len(lines) == len({line.partition(": it")[2] for line in lines})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ps", "--limit", "abc"), "--limit: 'abc' is not a number; write it like 3"),
        (("watch", "--policy", "x", "--rounds", "-1"), "--rounds: -1 is not possible; give at least 0"),
        (("cgroups", "--depth", "-2"), "--depth: -2 is not possible; give at least 0"),
    ],
)
def test_a_wrong_number_names_its_option(cli: Cli, arguments: tuple[str, ...], says: str) -> None:
    code, out, err = cli("--demo", *arguments)
    assert (code, out) == (2, "")
    assert one_line(err)
    assert err.startswith(f"numatui: {says}")


@pytest.mark.parametrize(
    "arguments", ["--demo ps", "--demo ps --json", "--demo nodes --watch 1 --json", "man", "schema ps"]
)
def test_a_full_device_is_one_line(arguments: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m numatui {arguments} > /dev/full"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert one_line(done.stderr)
    assert "No space left" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["default", "--compare", "direct-v8"], "nothing is moved by the steps"),
        (["direct-vs-swap", "--compare", ","], "names no profile"),
    ],
)
def test_a_comparison_of_nothing_is_refused(cli: Cli, arguments: list[str], says: str) -> None:
    code, out, err = cli("emulate", *arguments)
    assert (code, out) == (2, "")
    assert one_line(err)
    assert says in err


@pytest.mark.parametrize(
    "words",
    [
        ("emulate", "PATH"), ("--demo", "PATH", "ps"), ("--replay", "PATH", "ps"), ("apply", "PATH"),
        ("--demo", "watch", "--policy", "PATH", "--check"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/dev/zero", "fifo"])
def test_a_file_that_is_none_is_refused_without_waiting(
    cli: Cli, tmp_path: Path, words: tuple[str, ...], path: str
) -> None:
    os.mkfifo(tmp_path / "fifo")
    code, out, err = cli(*[str(tmp_path / path) if word == "PATH" else word for word in words])
    assert (code, out) == (2, "")
    assert one_line(err)
    assert "it is not a file" in err
