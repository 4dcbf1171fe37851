"""What `numatui doctor` looks like on a terminal, and in a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trees import two_nodes, write


def on_terminal(columns: int, *arguments: str) -> list[str]:
    """Its lines on a terminal of that width."""
    mine, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "numatui", *arguments],
        stdin=subprocess.DEVNULL, stdout=its, stderr=its, env={**os.environ, "COLUMNS": str(columns)},
    ) as child:  # fmt: skip
        os.close(its)
        raw = b""
        try:
            while part := os.read(mine, 65536):
                raw += part
        except OSError:
            pass
    os.close(mine)
    assert child.returncode in (0, 5), raw
    return raw.decode().replace("\r\n", "\n").splitlines()


@pytest.fixture
def hostile(tmp_path: Path) -> list[str]:
    """A recording whose contents are meant to harm a terminal."""
    root = two_nodes(tmp_path / "tree")
    write(
        root,
        {
            "proc/sys/kernel/osrelease": b"6.1\x1b[2J\xff" + b"long" * 300,
            "proc/sys/vm/zone_reclaim_mode": b"\x1b]0;title\x07",
            "sys/kernel/mm/transparent_hugepage/enabled": b"[\x1b[31mred]",
            "sys/devices/system/node/node1/distance": b"\x1b[5m",
        },
    )
    return ["--replay", str(root)]


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal_whatever_the_kernel_says(hostile: list[str], columns: int) -> None:
    lines = on_terminal(columns, *hostile, "doctor")
    assert max(map(len, lines)) <= columns
    assert all(line.isprintable() for line in lines)
    assert any(line.startswith("ok    kernel") for line in lines)
    assert "\\x1b" in "".join(lines)


def test_what_to_do_is_on_a_line_of_its_own(hostile: list[str]) -> None:
    lines = on_terminal(80, *hostile, "doctor")
    (at,) = (index for index, line in enumerate(lines) if " zone_reclaim " in line)
    fix = next(line for line in lines[at:] if "→" in line)
    assert fix.strip() == "→ sysctl vm.zone_reclaim_mode=0 unless that is meant"


def test_a_pipe_gets_one_line_a_check(hostile: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "numatui", *hostile, "doctor"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["CHECK", "MEANING"]
    assert all(line.split()[0] in ("ok", "note", "problem") for line in lines[1:])
    assert "\x1b" not in done.stdout
