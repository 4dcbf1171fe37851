"""A machine whose second node has a CPU and no memory, and whose last has memory and no CPU."""

from __future__ import annotations

import pytest

from tests.guest.inside import rig
from tests.guest.inside.rig import MakeVictim, numatui


def test_nodes_shows_what_each_has() -> None:
    done = numatui("nodes", "--json")
    assert done.code == 0, done
    assert [node["cpus"] for node in done.json["nodes"]] == [[0], [1], [2], []]
    assert [node["total"] > 0 for node in done.json["nodes"]] == [True, False, True, True]
    table = numatui("nodes")
    assert table.code == 0
    assert [line.split()[1] for line in table.out.splitlines()[1:5]] == ["0", "1", "2", "none"]


@pytest.mark.parametrize("target", ["1", "0-1", "1-2"])
def test_a_target_without_memory_is_refused(victim: MakeVictim, target: str) -> None:
    one = victim({0: 64}, home=2)
    for command in (["plan"], ["migrate", "--yes"]):
        done = numatui(*command, one.pid, "--from", "0", "--to", target, "--json")
        done.refused(2, "node 1 has no memory", "0,2-3")
    assert one.pages() == {0: 64}


def test_moving_between_the_others_works(victim: MakeVictim) -> None:
    one = victim({0: 64}, home=2)
    done = numatui("migrate", one.pid, "--from", "0-1", "--to", "2", "--yes", "--json")
    assert done.code == 0, done
    assert one.pages() == {2: 64}
    one.verify()


def test_moving_to_a_node_without_cpus_is_warned_of_and_works(victim: MakeVictim) -> None:
    one = victim({0: 256}, home=2)
    plan = numatui("plan", one.pid, "--from", "0", "--to", "3", "--json").json
    assert "cpuless" in [warning["code"] for warning in plan["warnings"]]
    back = numatui("plan", one.pid, "--from", "3", "--to", "0", "--json").json
    assert "cpuless" not in [warning["code"] for warning in back["warnings"]]
    done = numatui("migrate", one.pid, "--from", "0", "--to", "3", "--yes", "--json")
    assert done.code == 0, done
    assert one.pages() == {3: 256}
    one.verify()
    assert numatui("migrate", one.pid, "--from", "3", "--to", "0", "--yes", "--json").code == 0
    assert one.pages() == {0: 256}
    one.verify()


def test_doctor_and_ps_cope(victim: MakeVictim) -> None:
    one = victim({3: 64}, home=2)
    assert numatui("doctor", "--json").out.startswith("{")
    (row,) = numatui("ps", one.pid, "--json").json["processes"]
    assert row["nodes"]["3"] == 64 * 4096
    assert row["node"] == 2


def test_a_node_whose_memory_goes_and_comes(victim: MakeVictim) -> None:
    one = victim({0: 64}, home=2)
    migrate = ("migrate", one.pid, "--from", "0", "--to", "3", "--yes", "--json")
    rig.set_online(3, False)
    try:
        assert numatui("nodes", "--json").json["nodes"][3]["total"] == 0
        numatui(*migrate).refused(2, "node 3 has no memory", "0,2")
        assert numatui("ps", one.pid, "--exact", "--json").json["processes"][0]["nodes"]["0"] == 64 * 4096
    finally:
        rig.set_online(3, True)
    assert numatui("nodes", "--json").json["nodes"][3]["total"] == 1 << 30
    assert numatui(*migrate).code == 0
    assert one.pages() == {3: 64}
    one.verify()
