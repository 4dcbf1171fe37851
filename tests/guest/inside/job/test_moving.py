"""numatui on a real kernel with four nodes: what moves, where to, and that the process does not notice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.guest.inside import rig
from tests.guest.inside.rig import MakeVictim, MiB, numastat, numatui

METHODS = ("auto", "move_pages", "migrate_pages")
LAYOUT = {0: 1536, 1: 768}
"""6 and 3 MiB."""


@pytest.mark.parametrize("method", METHODS)
def test_moves_0_and_1_to_2_and_3_keeping_relative_positions(victim: MakeVictim, method: str) -> None:
    one = victim(LAYOUT)
    before = numastat(one.pid)
    assert before[0] == pytest.approx(6, abs=0.1)
    assert before[1] == pytest.approx(3, abs=0.1)
    done = numatui("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--yes", "--json", "--method", method)
    assert done.code == 0, done
    outcome = done.json["outcomes"][0]
    assert outcome["moved"] == 9 * MiB
    assert outcome["left"] == {}
    assert outcome["complete"]
    assert outcome["method"] == ("migrate_pages" if method == "migrate_pages" else "move_pages")
    assert one.pages() == {2: 1536, 3: 768}
    after = numastat(one.pid)
    assert after[0] == 0
    assert after[1] == 0
    assert after[2] - before[2] == pytest.approx(6, abs=0.1)
    assert after[3] - before[3] == pytest.approx(3, abs=0.5)
    one.verify()


def test_ps_nodes_and_plan_say_what_numastat_and_numactl_say(victim: MakeVictim) -> None:
    one = victim(LAYOUT)
    nodes = numatui("nodes", "--json")
    assert nodes.code == 0, nodes
    assert [node["id"] for node in nodes.json["nodes"]] == [0, 1, 2, 3]
    assert [node["cpus"] for node in nodes.json["nodes"]] == [[0], [1], [2], [3]]
    assert nodes.json["nodes"][0]["distances"] == {"0": 10, "1": 16, "2": 22, "3": 28}
    plan = numatui("plan", one.pid, "--from", "0-1", "--to", "2-3", "--json")
    assert plan.code == 0, plan
    assert plan.json["moves"] == [{"from": 0, "to": 2}, {"from": 1, "to": 3}]
    assert plan.json["bytes"] == 9 * MiB
    rows = numatui("ps", "victim.py", "--json")
    assert rows.code == 0, rows
    (row,) = [row for row in rows.json["processes"] if row["pid"] == one.pid]
    assert row["node"] == 3
    assert {int(node): amount / MiB for node, amount in row["nodes"].items() if amount} == pytest.approx(
        {node: amount for node, amount in numastat(one.pid).items() if amount}, abs=0.02
    )


def test_the_program_itself_moves_and_tells_people(victim: MakeVictim) -> None:
    one = victim(LAYOUT)
    moved = rig.numatui_program("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--yes")
    assert moved.code == 0, moved
    assert "9.0M moved" in moved.out
    assert one.pages() == {2: 1536, 3: 768}


def test_a_dry_run_and_a_refused_question_move_nothing(victim: MakeVictim) -> None:
    one = victim(LAYOUT)
    done = numatui("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--dry-run", "--json")
    assert done.code == 0
    assert done.json["bytes"] == 9 * MiB
    done = numatui("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--json")
    done.refused(2, "--yes")
    assert one.pages() == LAYOUT


def test_another_users_process_is_refused(victim: MakeVictim) -> None:
    one = victim({0: 100}, uid=rig.OTHER)
    for method in METHODS:
        done = numatui(
            "migrate",
            one.pid,
            "--from",
            "0",
            "--to",
            "2",
            "--yes",
            "--json",
            "--method",
            method,
            uid=rig.USER,
        )
        done.refused(3, str(one.pid), "another user")
    assert one.pages() == {0: 100}


def test_a_user_sees_own_processes_and_not_where_others_memory_lies(victim: MakeVictim) -> None:
    own, other = victim({1: 50}, uid=rig.USER), victim({1: 50}, uid=rig.OTHER)
    done = numatui("ps", "victim.py", "--json", uid=rig.USER)
    assert done.code == 0, done
    rows = {row["pid"]: row for row in done.json["processes"]}
    assert rows[own.pid]["nodes"]["1"] == 50 * rig.PAGE
    assert rows[other.pid]["nodes"] is None
    assert rows[other.pid]["rss"] > 0


@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "zombie"])
def test_a_process_that_ends_meanwhile_is_reported_as_ended(victim: MakeVictim, reaped: bool) -> None:
    one = victim({0: 6144})
    command = rig.slowly(one.pid, "--method", "move_pages")
    rig.wait_until(lambda: one.pages().get(2, 0) > 0, "the first pages have moved")
    os.kill(one.pid, signal.SIGKILL)
    if reaped:
        one.process.wait()
    done = command.wait()
    assert "Traceback" not in done.err
    assert done.code == 4, done
    outcome = done.json["outcomes"][0]
    assert outcome["left"].get("process-ended"), outcome
    assert set(outcome["left"]) == {"process-ended"}, outcome
    assert outcome["moved"] + outcome["left"]["process-ended"] == 24 * MiB, outcome
    assert outcome["after"] == {}
    assert "ended" in outcome["error"]


def test_an_interrupt_stops_between_batches_and_says_what_had_moved(victim: MakeVictim) -> None:
    one = victim({0: 6144})
    command = rig.slowly(one.pid, "--method", "move_pages")
    rig.wait_until(lambda: one.pages().get(2, 0) > 0, "the first pages have moved")
    os.kill(command.pid, signal.SIGINT)
    done = command.wait()
    assert done.code == 130, done
    outcome = done.json["outcomes"][0]
    now = one.pages()
    assert outcome["cancelled"]
    assert 0 < now[2] < 6144
    assert outcome["moved"] == now[2] * rig.PAGE
    assert outcome["left"] == {"cancelled": now[0] * rig.PAGE}
    one.verify()


@pytest.mark.parametrize("method", METHODS)
def test_threads_that_map_and_unmap_meanwhile_find_their_memory_as_it_was(victim: MakeVictim, method: str) -> None:
    one = victim({0: 512, 1: 256})
    one.ask("churn", 3)
    there = numatui("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--yes", "--json", "--method", method)
    calm = one.ask("calm")
    assert calm["wrong"] is None
    assert calm["rounds"] > 0
    assert there.code in (0, 6), there
    assert set(there.json["outcomes"][0]["left"]) <= {"gone", "busy", "unmovable"}, there
    assert one.pages() == {2: 512, 3: 256}
    one.verify()


def test_a_journal_on_a_full_disk_refuses_before_anything_moves(victim: MakeVictim, tmp_path: Path) -> None:
    one = victim(LAYOUT)
    with rig.mounted("tmpfs", "size=16k", tmp_path / "disk") as disk:
        with open(disk / "ballast", "wb") as ballast:
            ballast.write(bytes(16384))
        done = numatui("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--yes", "--json", state=disk)
    done.refused(1, "the disk is full", "XDG_STATE_HOME")
    assert one.pages() == LAYOUT
