"""Kinds of pages on a real kernel: what can be moved, what stays, and under which reason."""

from __future__ import annotations

import pytest

from tests.guest.inside import rig
from tests.guest.inside.rig import MakeVictim, MiB, numatui

METHODS = ("auto", "move_pages", "migrate_pages")


@pytest.mark.parametrize("kind", ["shared", "anon"])
def test_pages_that_two_processes_map_stay_until_all_are_asked_for(victim: MakeVictim, kind: str) -> None:
    one = victim({0: 300}, kind=kind)
    one.fork()
    plan = numatui("plan", one.pid, "--from", "0", "--to", "2", "--json").json
    assert "shared" in [warning["code"] for warning in plan["warnings"]]
    done = numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json")
    assert done.code == 0, done
    assert done.json["outcomes"][0]["left"] == {"shared": 300 * rig.PAGE}
    assert one.pages() == {0: 300}
    numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json", "--method", "migrate_pages").refused(
        7, "for everybody", "--all"
    )
    assert one.pages() == {0: 300}
    done = numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json", "--all")
    assert done.code == 0, done
    assert one.pages() == {2: 300}
    one.verify()


def test_a_users_migrate_pages_leaves_shared_pages_and_says_so(victim: MakeVictim) -> None:
    one = victim({0: 300}, uid=rig.USER, kind="shared")
    one.fork()
    done = numatui(
        "migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json", "--method", "migrate_pages",
        uid=rig.USER,
    )  # fmt: skip
    assert done.code == 0, done
    assert done.json["outcomes"][0]["left"] == {"shared": 300 * rig.PAGE}
    assert one.pages() == {0: 300}


@pytest.mark.parametrize("method", METHODS)
def test_pages_held_in_a_pipe_are_busy(victim: MakeVictim, method: str) -> None:
    one = victim({0: 200})
    held = one.ask("pin", "memory", 8) // rig.PAGE
    assert held > 0
    done = numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json", "--method", method)
    assert done.code == 6, done
    assert done.json["outcomes"][0]["left"] == {"busy": held * rig.PAGE}
    assert done.json["outcomes"][0]["moved"] == (200 - held) * rig.PAGE
    assert one.pages() == {0: held, 2: 200 - held}
    one.verify()


@pytest.mark.parametrize("method", METHODS)
def test_locked_pages_move(victim: MakeVictim, method: str) -> None:
    one = victim({0: 200, 1: 100}, kind="locked")
    done = numatui("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--yes", "--json", "--method", method)
    assert done.code == 0, done
    assert one.pages() == {2: 200, 3: 100}
    one.verify()


@pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
def test_hugetlb_pages_move_and_are_counted_in_bytes(victim: MakeVictim, method: str) -> None:
    with rig.huge_pages(0, 4), rig.huge_pages(2, 4):
        one = victim({0: 4 * 512}, kind="huge")
        shown = numatui("show", one.pid, "--json").json
        (vma,) = [vma for vma in shown["vmas"] if vma["kind"] == "huge"]
        assert vma["page_size"] == 2 * MiB
        assert vma["nodes"] == {"0": 4}
        plan = numatui("plan", one.pid, "--from", "0", "--to", "2", "--json").json
        assert plan["bytes"] == 8 * MiB
        assert plan["pages"] == 2048
        done = numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json", "--method", method)
        assert done.code == 0, done
        assert done.json["outcomes"][0]["moved"] == 8 * MiB
        assert one.pages() == {2: 2048}
        one.verify()
        one.end()


@pytest.mark.parametrize("method", METHODS)
def test_transparent_huge_pages_move_whole(victim: MakeVictim, method: str) -> None:
    one = victim({0: 2048, 1: 1024}, kind="thp")
    done = numatui("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--yes", "--json", "--method", method)
    assert done.code == 0, done
    assert done.json["outcomes"][0]["moved"] == 12 * MiB
    assert one.pages() == {2: 2048, 3: 1024}
    one.verify()


def test_a_policy_that_will_draw_new_pages_back_is_warned_of_and_stays(victim: MakeVictim) -> None:
    one = victim({0: 64}, policy=True)
    plan = numatui("plan", one.pid, "--from", "0", "--to", "2", "--json").json
    assert "policy" in [warning["code"] for warning in plan["warnings"]]
    assert numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json").code == 0
    assert one.pages() == {2: 64}
    policies = {vma["policy"] for vma in numatui("show", one.pid, "--json").json["vmas"]}
    assert "bind:0" in policies


@pytest.mark.skipif(rig.HIDES, reason="before Linux 6.12 such pages are hidden")
def test_what_balancing_has_marked_moves_as_the_plan_says(victim: MakeVictim) -> None:
    one = victim({0: 1024})
    with rig.marked_by_balancing(one):
        done = numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json")
        assert done.code == 0, done
        assert "hidden" not in done.json["plan"]["stays"]
        assert done.json["outcomes"][0]["moved"] == 4 * MiB
    one.verify()


class TestBalancing:
    """NUMA balancing marks pages so that move_pages does not see them."""

    @pytest.fixture
    def hidden(self, victim: MakeVictim):
        """A victim whose pages are all hidden while balancing is on."""
        one = victim({0: 1024, 1: 512})
        with rig.hidden_by_balancing(one):
            yield one

    def test_auto_falls_back_to_migrate_pages_where_it_may_move_what_others_map(self, hidden: rig.LinuxVictim) -> None:
        done = numatui("migrate", hidden.pid, "--from", "0-1", "--to", "2-3", "--yes", "--json", "--all")
        assert done.code == 0, done
        assert {"balancing", "fallback"} <= {warning["code"] for warning in done.json["plan"]["warnings"]}
        outcome = done.json["outcomes"][0]
        assert outcome["method"] == "move_pages+migrate_pages"
        assert outcome["moved"] == 6 * MiB
        assert hidden.pages() == {2: 1024, 3: 512}
        hidden.verify()

    @pytest.mark.parametrize("method", ["auto", "move_pages"])
    def test_else_they_stay_as_the_plan_says(self, hidden: rig.LinuxVictim, method: str) -> None:
        done = numatui("migrate", hidden.pid, "--from", "0-1", "--to", "2-3", "--yes", "--json", "--method", method)
        assert done.code == 0, done
        assert done.json["plan"]["stays"]["hidden"] >= 6 * MiB
        assert done.json["outcomes"][0]["left"] == {"hidden": 6 * MiB}
        assert done.json["outcomes"][0]["moved"] == 0
        assert hidden.pages() == {0: 1024, 1: 512}
