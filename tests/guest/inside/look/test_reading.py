"""Where memory lies on a real kernel, told in three ways: by numa_maps, by pagemap, from a sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from backend.live.kernel import LiveKernel
from backend.machine.topology import read_topology
from backend.placement import readers, survey
from backend.placement.locate import Located, Locator, by_numa_maps
from backend.placement.placement import LARGE
from backend.placement.sampling import estimate, sample
from backend.process.process import Process, read_process
from tests.guest.inside import rig
from tests.guest.inside.rig import PAGE, MakeVictim, numatui

AT_LEISURE = 1 << 60
MPOL_DEFAULT, MPOL_INTERLEAVE = 0, 3
LAYOUT = {
    "thp": {"kind": "thp", "on": {0: 1024, 1: 512}},
    "pool": {"kind": "huge", "on": {1: 1024}},
    "shared": {"kind": "shared", "on": {2: 300, 3: 41}},
    "anon": {"on": {0: 700, 2: 5, 3: 260}},
}


def located(process: Process, frames: bool = True) -> Located:
    """By pagemap, or from a sample as where frames are hidden."""
    kernel = LiveKernel()
    locator = Locator(kernel, read_topology(kernel))
    locator.frames_shown = frames
    return locator.locate(process, 1, AT_LEISURE)


def take_your_time() -> None:
    """For a command: a slow machine changes nothing."""
    survey.BUDGET_NS = survey.REFRESH_NS = AT_LEISURE
    readers.PATIENCE = rig.PATIENCE


def within(found: Located, truth: dict[int, int] | None) -> bool:
    assert found.by_node is not None
    assert truth is not None
    return all(
        abs(found.by_node.get(node, 0) - truth.get(node, 0)) <= found.error.get(node, 0)
        for node in {*truth, *found.by_node}
    )


def test_the_three_ways_agree_about_every_kind_of_page(victim: MakeVictim) -> None:
    kernel = LiveKernel()
    nodes = [*read_topology(kernel).ids]
    with rig.huge_pages(1, 2):
        one = victim(layout=LAYOUT)
        process = read_process(kernel, one.pid)
        truth = by_numa_maps(kernel, one.pid).by_node
        assert truth is not None
        assert truth[1] >= (512 + 1024) * PAGE
        by_pagemap = located(process)
        assert (by_pagemap.way, by_pagemap.error) == ("pagemap", {})
        assert by_pagemap.by_node == truth
        every = sample(kernel, one.pid, nodes, np.random.default_rng(1), 1, samples=1 << 20)
        some = sample(kernel, one.pid, nodes, np.random.default_rng(1), process.rss // PAGE, samples=400)
        all_asked = estimate([part.stratum for part in every], nodes)
        assert all_asked.hidden == 0
        assert {node: pages * PAGE for node, pages in (all_asked.pages or {}).items()} == truth
        few = estimate([part.stratum for part in some], nodes)
        asked = sum(sum(part.stratum.asked) for part in some)
        assert asked < process.rss // PAGE
        assert few.pages is not None
        assert max(few.error.values()) < process.rss // PAGE // 4
        off = {node: abs(few.pages.get(node, 0) * PAGE - truth.get(node, 0)) for node in nodes}
        assert all(off[node] <= 2 * few.error.get(node, 0) * PAGE for node in nodes), (off, few)
        one.end()


def test_root_counts_a_large_process_and_its_user_estimates_it(victim: MakeVictim) -> None:
    one = victim({0: LARGE // 2, 2: LARGE // 2 + 1000}, uid=rig.USER)
    truth = by_numa_maps(LiveKernel(), one.pid).by_node
    assert truth is not None

    def is_true(told: dict[str, int]) -> bool:
        """As it was before or is now: the victim's interpreter may map more of its own code meanwhile."""
        now = by_numa_maps(LiveKernel(), one.pid).by_node or {}
        return {*map(int, told)} <= {*truth, *now} and all(
            min(truth.get(node, 0), now.get(node, 0))
            <= told.get(str(node), 0)
            <= max(truth.get(node, 0), now.get(node, 0))
            for node in {*truth, *now}
        )

    as_root = numatui("ps", one.pid, "--json", before=take_your_time).json["processes"][0]
    assert (as_root["way"], as_root["error"], as_root["policy"]) == ("pagemap", {}, "default?")
    assert is_true(as_root["nodes"]), (as_root, truth)
    exact = numatui("ps", one.pid, "--json", "--exact").json["processes"][0]
    assert (exact["way"], exact["policy"]) == ("numa_maps", "default")
    assert is_true(exact["nodes"]), (exact, truth)
    as_user = numatui("ps", one.pid, "--json", uid=rig.USER, before=take_your_time).json["processes"][0]
    assert as_user["way"] == "sampled"
    assert 0 < as_user["error"]["0"] < truth[0] // 10
    for node in (0, 2):
        assert abs(as_user["nodes"][str(node)] - truth[node]) <= 2 * as_user["error"][str(node)]
    one.set_policy(MPOL_INTERLEAVE, [0, 2])
    as_user = numatui("ps", one.pid, "--json", uid=rig.USER, before=take_your_time).json["processes"][0]
    assert as_user["policy"] == "interleave:0,2"
    one.set_policy(MPOL_DEFAULT, [])
    shown = numatui("show", one.pid, "--json", uid=rig.USER).json
    assert shown["way"] == "sampled"
    (vma,) = [vma for vma in shown["vmas"] if int(vma["start"], 16) == one.regions["memory"][0]]
    assert abs(vma["nodes"]["0"] - LARGE // 2) <= 2 * vma["error"]["0"]
    assert vma["policy"] is None


class TestBalancing:
    """NUMA balancing hides pages from move_pages."""

    @pytest.fixture
    def hidden(self, victim: MakeVictim) -> Iterator[rig.LinuxVictim]:
        """A victim whose pages are all hidden while balancing is on."""
        one = victim({0: 1024, 1: 512})
        with rig.hidden_by_balancing(one):
            yield one

    def test_frames_tell_of_hidden_pages_and_an_estimate_allows_for_them(self, hidden: rig.LinuxVictim) -> None:
        kernel = LiveKernel()
        process = read_process(kernel, hidden.pid)
        truth = by_numa_maps(kernel, hidden.pid).by_node
        counted = located(process)
        assert counted.way == "pagemap"
        assert counted.by_node == truth
        guessed = located(process, frames=False)
        assert guessed.hidden >= 1400 * PAGE
        assert guessed.by_node is None or within(guessed, truth)
        if guessed.by_node is not None:
            assert guessed.error[0] >= 256 * PAGE
