"""`numatui migrate --wait-for`: a job for a process that is still to come."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.cli.running import Cli, one_line

SCENARIO = """
machine:
  nodes: [{id: 0, memory: 64M, cpus: 0}, {id: 1, memory: 64M, cpus: 1}]
processes: [{name: parent, node: 0, memory: [{name: heap, size: 4M}]}]
steps:
  - {at: 3s, fork: {task: parent, child: late}}
  - {at: 4s, touch: {task: late, region: heap, write: yes}}
"""


@pytest.fixture
def machine(tmp_path: Path) -> str:
    path = tmp_path / "late.yaml"
    path.write_text(SCENARIO)
    return str(path)


MOVE = ("migrate", "--from", "0", "--to", "1", "-y")


def test_it_moves_the_process_when_it_comes(cli: Cli, machine: str) -> None:
    document = cli.json("--demo", machine, *MOVE, "--wait-for", "late", "--timeout", "10s")
    (process,) = document["plan"]["processes"]
    assert process["pid"] not in [one["pid"] for one in cli.json("--demo", machine, "ps")["processes"]]


def test_it_waits_for_all_that_selects(cli: Cli, machine: str) -> None:
    document = cli.json("--demo", machine, *MOVE, "--wait-for", "la*", "--min", "4M", "--user", "root")
    assert document["outcomes"][0]["moved"] + sum(document["outcomes"][0]["left"].values()) >= 4 << 20


def test_one_that_does_not_come_is_not_found(cli: Cli, machine: str) -> None:
    code, out, err = cli("--demo", machine, *MOVE, "--wait-for", "nobody", "--timeout", "5s")
    assert (code, out) == (4, "")
    assert one_line(err)
    assert "within 5.0 s" in err


def test_ctrl_c_ends_the_waiting(cli: Cli, machine: str) -> None:
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), 2))
    timer.start()
    code, out, err = cli("--live", *MOVE, "--wait-for", "no-process-is-called-this")
    timer.join()
    assert (code, out) == (130, "")
    assert one_line(err)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("7", "--wait-for", "x"), "exclude each other"),
        (("7", "--timeout", "5s"), "--timeout is for --wait-for"),
        (("--wait-for", "x", "--timeout", "soon"), "not a time"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, machine: str, arguments: tuple[str, ...], says: str) -> None:
    code, out, err = cli("--demo", machine, *MOVE, *arguments)
    assert (code, out) == (2, "")
    assert one_line(err)
    assert says in err
