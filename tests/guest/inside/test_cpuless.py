"""A machine whose third node has memory and no CPUs."""

from __future__ import annotations

from tests.guest.inside.rig import MakeVictim, numatui


def test_nodes_shows_a_node_without_cpus() -> None:
    done = numatui("nodes", "--json")
    assert done.code == 0, done
    assert [node["cpus"] for node in done.json["nodes"]] == [[0], [1], []]
    assert all(node["total"] > 0 for node in done.json["nodes"])
    table = numatui("nodes")
    assert table.code == 0
    assert [line.split()[1] for line in table.out.splitlines()[1:4]] == ["0", "1", "none"]


def test_moving_there_is_warned_of_and_works(victim: MakeVictim) -> None:
    one = victim({0: 256}, home=1)
    plan = numatui("plan", one.pid, "--from", "0", "--to", "2", "--json").json
    assert "cpuless" in [warning["code"] for warning in plan["warnings"]]
    back = numatui("plan", one.pid, "--from", "2", "--to", "0", "--json").json
    assert "cpuless" not in [warning["code"] for warning in back["warnings"]]
    done = numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json")
    assert done.code == 0, done
    assert one.pages() == {2: 256}
    one.verify()
    assert numatui("migrate", one.pid, "--from", "2", "--to", "0", "--yes", "--json").code == 0
    assert one.pages() == {0: 256}
    one.verify()


def test_doctor_and_ps_cope(victim: MakeVictim) -> None:
    one = victim({2: 64}, home=1)
    assert numatui("doctor", "--json").out.startswith("{")
    (row,) = numatui("ps", one.pid, "--json").json["processes"]
    assert row["nodes"]["2"] == 64 * 4096
    assert row["node"] == 1
