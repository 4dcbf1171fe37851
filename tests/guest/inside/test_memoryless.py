"""A machine whose second node has a CPU and no memory."""

from __future__ import annotations

import pytest

from tests.guest.inside.rig import MakeVictim, numatui


def test_nodes_shows_a_node_without_memory() -> None:
    done = numatui("nodes", "--json")
    assert done.code == 0, done
    assert [node["total"] > 0 for node in done.json["nodes"]] == [True, False, True]
    assert [node["cpus"] for node in done.json["nodes"]] == [[0], [1], [2]]


@pytest.mark.parametrize("target", ["1", "0-1", "1-2"])
def test_a_target_without_memory_is_refused(victim: MakeVictim, target: str) -> None:
    one = victim({0: 64}, home=2)
    for command in (["plan"], ["migrate", "--yes"]):
        done = numatui(*command, one.pid, "--from", "0", "--to", target, "--json")
        done.refused(2, "node 1 has no memory", "0,2")
    assert one.pages() == {0: 64}


def test_moving_between_the_others_works(victim: MakeVictim) -> None:
    one = victim({0: 64}, home=2)
    done = numatui("migrate", one.pid, "--from", "0-1", "--to", "2", "--yes", "--json")
    assert done.code == 0, done
    assert one.pages() == {2: 64}
    one.verify()
