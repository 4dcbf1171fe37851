"""Whose frames: as the page tables say, at every zoom, and as many as numa_maps counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.emulator.inspect.frame_map import detail
from backend.emulator.inspect.owners import FREE, SEVERAL, UNMAPPED, counts_of, names, owned_cells, owners
from backend.emulator.machine import Machine
from backend.emulator.scenario.run import build, finish
from backend.emulator.scenario.shipped import load
from backend.emulator.scenario.shipped import names as scenarios


def ran(name: str) -> Machine:
    description = load(name)
    built = build(description)
    finish(description, built)
    return built.machine


@pytest.mark.parametrize("name", [name for name in scenarios() if name not in ("default", "numa-balancing")])
def test_each_frame_has_the_owner_that_its_mappers_say(name: str) -> None:
    m = ran(name)
    random = np.random.default_rng(0)
    known = names(m)
    for zone in m.frames.zones.values():
        found = owners(m, zone.start, zone.pages)
        assert len(found) == zone.pages
        assert counts_of(found).get(FREE, 0) >= zone.free
        mapped = np.nonzero(found > 0)[0]
        for at in random.choice(mapped, min(20, len(mapped)), replace=False).tolist() if len(mapped) else []:
            told = {pid for pid, _, _, _ in detail(m, zone.start + at).mappers}
            assert int(found[at]) in told or not told
            assert int(found[at]) in known
        for at in np.nonzero(found == SEVERAL)[0][:5].tolist():
            assert len({m.tasks[pid].mm for pid, _, _, _ in detail(m, zone.start + at, 16).mappers}) != 1
        for at in np.nonzero(found == UNMAPPED)[0][:20].tolist():
            assert detail(m, zone.start + at).mappers == ()


def test_as_many_as_the_counts_of_its_vmas() -> None:
    m = ran("direct-vs-swap")
    for node, zone in m.frames.zones.items():
        counts = counts_of(owners(m, zone.start, zone.pages))
        for task in m.tasks.values():
            if task.mm is not None:
                assert counts.get(task.pid, 0) == sum(int(vma.nr_node[node]) for vma in task.mm.vmas)


@given(
    st.lists(st.sampled_from([FREE, UNMAPPED, SEVERAL, 1, 2, 77]), max_size=300),
    st.integers(0, 9),
    st.sampled_from([None, FREE, 1, 2, 99]),
)
def test_a_cell_is_of_whom_most_of_its_used_frames_are(frames: list[int], shift: int, only: int | None) -> None:
    found = np.array(frames, np.int32)
    cells = owned_cells(64, found, shift, only)
    assert sum(cells.counts.values()) == len(frames)
    assert len(cells.owners) == -(-len(frames) // (1 << shift))
    for number, owner in enumerate(cells.owners.tolist()):
        mine = frames[number << shift : (number + 1) << shift]
        used = [one for one in mine if one != FREE]
        assert owner == FREE if not used else mine.count(owner) == max(map(used.count, used))
        if cells.share is not None:
            assert cells.share[number] == pytest.approx(sum(one == only for one in mine) / len(mine))
    assert (cells.share is None) == (only is None)
