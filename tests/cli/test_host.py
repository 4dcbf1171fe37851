"""Commands on another machine, which is this one: a program in the place of ssh runs the agent without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.agent.connection import ConnectionLost
from backend.remote.open import close_all
from tests.cli.running import Cli, one_line

SSH = """#!/bin/sh
for last; do :; done
printf '%s\\n' "$*" >> "$0.log"
exec sh -c "$last"
"""


@pytest.fixture(autouse=True)
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "ssh"
    path.write_text(SSH)
    path.chmod(0o755)
    monkeypatch.setenv("NUMATUI_SSH", f"{path} -F 'a file'")
    yield path
    close_all()


def far(cli: Cli, *arguments: str, **how: Any) -> dict[str, Any]:
    return cli.json("--host", "admin@db7", *arguments, **how)


def test_how_ssh_is_called(cli: Cli, ssh: Path) -> None:
    far(cli, "nodes")
    called = (ssh.parent / "ssh.log").read_text()
    assert called.startswith("-F a file -T -- admin@db7 sh -c ")
    assert "sudo" not in called
    cli("--host", "db7", "--sudo", "nodes")
    assert "exec sudo -n $p -IS -c" in (ssh.parent / "ssh.log").read_text()


@pytest.mark.parametrize("command", ["nodes", "ps", "cgroups", "doctor", "jobs"])
def test_it_says_what_it_says_here(cli: Cli, command: str) -> None:
    here, there = cli.json("--live", command), far(cli, command)
    assert set(here) == set(there)
    assert there.get("source", "remote") == "remote"
    assert here.get("host") == there.get("host")
    if command == "nodes":
        assert [one["id"] for one in here["nodes"]] == [one["id"] for one in there["nodes"]]
    if command == "ps":
        mine = {one["pid"]: one for one in there["processes"]}[os.getpid()]
        assert sum(mine["nodes"].values()) > 0
    if command == "doctor":
        assert {one["name"] for one in there["checks"]} >= {"move_pages", "balancing", "journal", "processes"}


def test_a_process(cli: Cli) -> None:
    shown = far(cli, "show", str(os.getpid()))
    assert shown["pid"] == os.getpid()
    assert cli("--host", "db7", "show", "4194304")[0] == 4


def test_messages_name_the_same_machine(cli: Cli) -> None:
    code, _, err = cli("--host", "db7", "show", "4194304")
    assert (code, "numatui --host db7 ps" in err) == (4, True)


def test_a_recording_of_it_and_a_copy(cli: Cli, tmp_path: Path) -> None:
    assert cli("--host", "db7", "record", str(tmp_path / "db7.tar"), "--for", "once")[0] == 0
    assert cli.json("--replay", str(tmp_path / "db7.tar"), "nodes")["nodes"]
    assert cli("--host", "db7", "emulate", "--from-live", "--write", str(tmp_path / "copy.yaml"))[0] == 0
    assert cli.json("--demo", str(tmp_path / "copy.yaml"), "nodes")["nodes"]


def test_bench_says_where_to_run_it(cli: Cli) -> None:
    code, _, err = cli("--host", "db7", "bench", "--quick")
    assert (code, one_line(err)) == (5, True)
    assert "itself" in err


HOSTILE = ["-oProxyCommand=x", "a b", "db7;reboot", "$(x)", "", "@db7", "a@b@c", "db7\n", "db7/x"]
REFUSED = ["ssh: connect to host db7 port 22: Connection refused", "Permission denied (publickey)."]


@pytest.mark.parametrize("host", HOSTILE)
def test_what_is_no_host(cli: Cli, host: str) -> None:
    code, _, err = cli("--host", host, "nodes")
    assert (code, one_line(err)) == (2, True)
    assert "is not a host" in err


@pytest.mark.parametrize("host", ["db7", "root@db7.example.org", "10.0.0.1", "admin@[::1]", "::1", "db-7_x"])
def test_what_is_one(cli: Cli, host: str) -> None:
    assert cli("--host", host, "nodes")[0] == 0


@pytest.mark.parametrize("others", [["--demo"], ["--live"], ["--replay", "x"], ["--at", "3"]])
def test_one_machine_at_a_time(cli: Cli, others: list[str]) -> None:
    assert cli("--host", "db7", *others, "nodes")[0] == 2


def test_sudo_needs_a_host(cli: Cli) -> None:
    assert cli("--sudo", "nodes")[0] == 2


def test_without_a_python_there(cli: Cli, ssh: Path) -> None:
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nPATH= exec /bin/sh -c "$last"\n')
    code, _, err = cli("--host", "db7", "nodes")
    assert (code, one_line(err)) == (1, True)
    assert "db7 cannot be reached" in err


@pytest.mark.parametrize("said", REFUSED)
def test_what_ssh_says_is_told(cli: Cli, ssh: Path, said: str) -> None:
    ssh.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 255\n")
    code, _, err = cli("--host", "db7", "nodes")
    assert (code, err) == (1, f"numatui: db7 cannot be reached: {said}; try: ssh db7 python3 --version\n")


def test_the_agent_is_printed(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("agent")
    assert code == 0
    (tmp_path / "agent.py").write_text(out)
    command = [sys.executable, "-IS", str(tmp_path / "agent.py")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    assert json.loads(done.stdout.splitlines()[0])["numatui-agent"] == 1


def test_a_demo_as_another_machine(cli: Cli, ssh: Path) -> None:
    """The emulated machine answers through an agent: a whole migration, far from the code that plans and checks it."""
    ssh.write_text(f"#!/bin/sh\nexec {sys.executable} -m numatui --demo agent --serve\n")
    moved = cli.json("--host", "demo", "migrate", "19", "--from", "1", "--to", "3", "--yes")
    (outcome,) = moved["outcomes"]
    assert outcome["moved"] == moved["plan"]["bytes"] > 0
    assert outcome["left"] == {}


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("undo", "77"), "numatui --host db7 jobs lists all"),
        (("migrate", "--match", "no-such-program*", "--from", "0", "--to", "0"), "numatui --host db7 ps lists all"),
        (("cpuset", "set-mems", "nowhere", "0"), "numatui --host db7 cpuset list"),
    ],
)
def test_hints_are_for_that_machine(cli: Cli, arguments: tuple[str, ...], hint: str) -> None:
    said = cli("--host", "db7", *arguments)[2]
    assert one_line(said)
    assert hint in said
    document = json.loads(cli("--host", "db7", *arguments, "--json")[1])
    assert hint in document["fix"]


def test_a_recording_that_fails_at_once_leaves_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_: object) -> None:
        raise ConnectionLost("the connection to db7 is lost")

    monkeypatch.setattr("backend.recording.record.Recorder.take", lost)
    for name in ("folder", "file.tar.gz"):
        assert cli("--host", "db7", "record", str(tmp_path / name), "--for", "once")[0] == 1
        assert not (tmp_path / name).exists()


def test_the_agent_is_selected_by_its_pid_only(cli: Cli) -> None:
    from backend.process.process import read_process
    from backend.remote.open import open_host
    from backend.selection.selection import Selection, matcher

    kernel = open_host("db7")
    agent = read_process(kernel, kernel.traits.own_pid)
    assert "python" in agent.command
    assert not matcher(kernel, Selection(match=("python*",)))(agent)
    assert matcher(kernel, Selection(pids=(agent.pid,)))(agent)
