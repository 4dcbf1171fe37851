"""A machine that does not tell how much memory is free: what is unknown is not 0."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import Cli
from tests.trees import two_nodes, write


@pytest.fixture
def tree(tmp_path: Path) -> str:
    folder = two_nodes(tmp_path)
    meminfo: dict[str, str | bytes] = {
        f"sys/devices/system/node/node{node}/meminfo": f"Node {node} MemTotal: 65536 kB\n" for node in (0, 1)
    }
    return str(write(folder, meminfo))


def test_nodes(tree: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli = Cli(capsys)
    assert [node["free"] for node in cli.json("--replay", tree, "nodes")["nodes"]] == [None, None]
    code, out, err = cli("--replay", tree, "nodes")
    assert code == 0
    assert [line.split()[3] for line in out.splitlines()[1:]] == ["?", "?"]
    assert "how much memory of node 0-1 is free is not told" in err
    assert cli("--replay", tree, "nodes", "--csv")[1].splitlines()[1].startswith("0,0-3,67108864,,")


def test_plans_do_not_say_that_there_is_no_room(tree: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli = Cli(capsys)
    plan = cli.json("--replay", tree, "plan", "7", "--from", "0", "--to", "1")
    assert [(room["free"], room["after"], room["enough"]) for room in plan["room"]] == [(None, None, True)]
    assert "room" not in [warning["code"] for warning in plan["warnings"]]
    assert "no-room" not in plan["stays"]
    assert "whether it fits is not known" in cli("--replay", tree, "plan", "7", "--from", "0", "--to", "1")[1]


def test_a_copy_is_as_large_as_the_machine_and_says_so(tree: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = Cli(capsys)("emulate", "--from", tree)
    assert code == 0
    assert "node 0 does not tell what is free: all that no process uses, in the copy" in err
