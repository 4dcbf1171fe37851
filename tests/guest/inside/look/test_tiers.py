"""Memory tiers on a real kernel: what its files say is what the program shows, and pages move between tiers."""

from __future__ import annotations

import json
import platform

import pytest

from backend.live.kernel import LiveKernel
from backend.machine.memory_tiers import read_tiers
from backend.machine.migrators import DEMOTIONS
from backend.machine.topology import read_topology
from tests.guest.guests import REPOSITORY
from tests.guest.inside import rig, tier_facts
from tests.guest.inside.rig import MakeVictim, numatui

MEASURED = json.loads((REPOSITORY / "tests/data/tiers.json").read_text())
SLOW = 2


def test_tiers_and_latencies_are_shown() -> None:
    kernel = LiveKernel()
    assert read_tiers(kernel) == {0: 4, 1: 4, 2: 84}
    assert [node.access.get("read_latency") for node in read_topology(kernel).nodes] == [80, 80, 300]
    done = numatui("doctor", "--json")
    texts = {check["name"]: check["text"] for check in done.json["checks"]}
    assert "node 0-1; node 2" in texts["tiers"]
    assert "node 2: 1" in texts["weights"]
    found = numatui("tier", "--json").json
    assert [(tier["tier"], [node["id"] for node in tier["nodes"]]) for tier in found["tiers"]] == [
        (4, [0, 1]),
        (84, [2]),
    ]
    assert [node["read_latency"] for tier in found["tiers"] for node in tier["nodes"]] == [80, 80, 300]


def test_who_moved_pages_between_tiers() -> None:
    """By the kernel's counters: what reclaim took down is demotion, and nobody else's."""
    before = numatui("tier", "--json").json
    pages = sum(tier_facts.demoted(True)["counters"].get(name, 0) for name in DEMOTIONS)
    after = numatui("tier", "--json").json
    assert after["migrated"]["demotion"] - before["migrated"]["demotion"] >= pages > tier_facts.PAGES // 2
    [down] = [node["demoted_pages"] for node in after["tiers"][0]["nodes"] if node["id"] == 0]
    assert down >= pages


@pytest.mark.skipif(not platform.release().startswith("7."), reason="measured on 7.2")
def test_what_the_emulator_was_made_after_is_what_this_kernel_does() -> None:
    assert tier_facts.described() == MEASURED["described"]
    assert tier_facts.demoted(False)["pages"] == {0: tier_facts.PAGES}
    promoted = tier_facts.promoted(2)
    # Counters are of the whole machine: others may move a huge page meanwhile.
    assert promoted["counters"]["pgpromote_success"] >= promoted["pages"][0] > tier_facts.PAGES // 2
    demoted = tier_facts.demoted(True)
    assert demoted["counters"]["pgdemote_proactive"] >= demoted["pages"][SLOW] > tier_facts.PAGES // 2


def test_a_move_down_and_up_is_announced_with_what_the_kernel_does_against_it(victim: MakeVictim) -> None:
    one = victim({0: 512}, home=1)
    with rig.setting("/proc/sys/kernel/numa_balancing", 2), rig.setting("/sys/kernel/mm/numa/demotion_enabled", "true"):
        down = numatui("migrate", one.pid, "--from", 0, "--to", SLOW, "--yes", "--json")
        assert down.code == 0, down
        told = {warning["code"]: warning["text"] for warning in down.json["plan"]["warnings"]}
        assert "move up again" in told["balancing"]
        assert one.pages() == {SLOW: 512}
        up = numatui("migrate", one.pid, "--from", SLOW, "--to", 1, "--yes", "--json")
        assert up.code == 0, up
        assert "demotion" in {warning["code"] for warning in up.json["plan"]["warnings"]}
        assert one.pages() == {1: 512}
    one.verify()
