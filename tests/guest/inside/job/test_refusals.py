"""Bad input on a real kernel: one line, the right exit code, nothing moved."""

from __future__ import annotations

import subprocess

import pytest

from tests.guest.inside import rig
from tests.guest.inside.rig import LinuxVictim, MakeVictim, numatui

COMMANDS = ("plan", "migrate")


def _arguments(command: str, *rest: object) -> tuple[object, ...]:
    return (command, *rest, "--json", *(["--yes"] if command == "migrate" else []))


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_pid(command: str) -> None:
    numatui(*_arguments(command, 4_000_000, "--from", "0", "--to", "1")).refused(4, "no process 4000000")


def test_show_of_an_unknown_pid_and_of_a_kernel_thread() -> None:
    numatui("show", 4_000_000).refused(4, "no process 4000000")
    numatui("show", 2).refused(5, "kernel thread")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_kernel_thread(command: str) -> None:
    numatui(*_arguments(command, 2, "--from", "0", "--to", "1")).refused(5, "2 is a kernel thread")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("source", "target"), [("0", "4"), ("7", "1"), ("0-9", "1"), ("+4", "0")])
def test_nodes_that_are_not_there(still: LinuxVictim, command: str, source: str, target: str) -> None:
    line = numatui(*_arguments(command, still.pid, "--from", source, "--to", target)).refused(4)
    assert "0-3" in line
    assert still.pages() == {0: 16}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("source", "target"),
    [("", "1"), ("0", ""), ("!all", "1"), ("0,,1", "2"), ("0-", "1"), ("a", "1"), ("0", "1x"), ("1-0", "2"),
     ("-1", "2"), ("same", "1"), ("0 1", "2"), ("0\n", "1")],
)  # fmt: skip
def test_empty_and_malformed_sets(command: str, source: str, target: str) -> None:
    done = numatui(*_arguments(command, 1, f"--from={source}", f"--to={target}"))
    assert "0-3" in done.refused(2)


def test_a_process_hidden_by_hidepid(victim: MakeVictim) -> None:
    own, other = victim({0: 16}, uid=rig.USER), victim({0: 16}, uid=rig.OTHER)
    subprocess.run(["mount", "-o", "remount,hidepid=2", "/proc"], check=True)
    try:
        for command in COMMANDS:
            done = numatui(*_arguments(command, other.pid, "--from", "0", "--to", "1"), uid=rig.USER)
            done.refused(4, str(other.pid))
        rows = numatui("ps", "victim.py", "--json", uid=rig.USER)
        assert [row["pid"] for row in rows.json["processes"]] == [own.pid]
        numatui("ps", str(other.pid), uid=rig.USER).refused(4)
    finally:
        subprocess.run(["mount", "-o", "remount,hidepid=0", "/proc"], check=True)
    assert other.pages() == {0: 16}


def test_an_unknown_method_rule_and_option() -> None:
    numatui("migrate", 1, "--from", "0", "--to", "1", "--yes", "--method", "magic").refused(2, "magic")
    numatui("plan", 1, "--from", "0", "--to", "1", "--rule", "magic").refused(2, "magic")
    numatui("plan", 1, "--from", "0").refused(2, "--to")
    numatui("migrate", "x", "--from", "0", "--to", "1").refused(2)
    numatui("migrate", 1, "--from", "0", "--to", "1", "--budget", "0ms").refused(2, "0ms")
