"""The frames of a node as a map: the same frames at every zoom, counted as the machine counts them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.emulator.frames.page import PG, State
from backend.emulator.inspect.frame_map import KINDS, PASSING, Cells, Frames, Kind, cells, detail, mapper
from backend.emulator.machine import Machine
from backend.emulator.scenario.run import build, finish
from backend.emulator.scenario.shipped import load, names

FLAGS = (PG.LOCKED, PG.DIRTY, PG.WRITEBACK, PG.SWAPCACHE, PG.SWAPBACKED, PG.COMPOUND, PG.HUGETLB)


@st.composite
def some_frames(draw: st.DrawFn) -> Frames:
    count = draw(st.integers(1, 300))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    flags = np.zeros(count, np.uint32)
    for flag in FLAGS:
        flags |= np.where(random.random(count) < draw(st.sampled_from([0.0, 0.02, 0.5])), flag, 0).astype(np.uint32)
    return Frames(
        draw(st.integers(0, 1000)) * 8,
        random.choice([State.FREE, State.KEPT_OUT, State.IN_USE, State.POOL], count).astype(np.uint8),
        flags,
        random.integers(-2, 3, count).astype(np.int32),
    )


def cells_of(frames: Frames, shift: int) -> Cells:
    return cells(frames.first, frames.kinds(), shift)


@given(some_frames(), st.integers(0, 10))
def test_a_cell_shows_what_one_of_its_frames_is_and_nothing_is_lost_by_zooming(frames: Frames, shift: int) -> None:
    kinds = frames.kinds()
    seen = cells_of(frames, shift)
    assert seen.counts.sum() == len(kinds)
    assert (seen.counts == cells_of(frames, 0).counts).all()
    assert len(seen.kinds) == -(-len(kinds) // (1 << shift))
    for number, shown in enumerate(seen.kinds.tolist()):
        mine = kinds[number << shift : (number + 1) << shift]
        assert shown in mine
        if (mine >= PASSING).any():
            assert shown == mine.max()
        else:
            assert (mine == shown).sum() == np.bincount(mine).max()


def whole(m: Machine, node: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    zone = m.frames.zones[node]
    return cells_of(Frames.of(m, zone.start, zone.pages), 5).counts


@pytest.mark.parametrize("name", [name for name in names() if name != "numa-balancing"])
def test_the_map_counts_as_the_machine_does(name: str) -> None:
    description = load(name)
    built = build(description)
    if name != "default":
        finish(description, built)
    m = built.machine
    m.pagevecs.flush()
    for node, zone in m.frames.zones.items():
        counts = whole(m, node)
        assert len(counts) == KINDS
        assert counts.sum() == zone.pages
        assert counts[Kind.FREE] == zone.free
        assert counts[Kind.KEPT_OUT] == zone.kept_out
        assert counts[Kind.SWAP_CACHE] == zone.nr_swapcached
        assert counts[Kind.FILE] + counts[Kind.DIRTY] == zone.nr_file - zone.nr_shmem
        assert counts[Kind.POOL] == len(zone.hugetlb_free) * m.frames.huge


def test_dirty_pages_of_files_and_locked_pages_are_told_apart() -> None:
    m = build(load("dirty-files")).machine
    counts = whole(m, 0)
    assert counts[Kind.DIRTY] == sum(
        int(fs_file.dirty.sum()) for fs in m.filesystems.values() for fs_file in fs.files.values()
    )
    zone = m.frames.zones[0]
    dirty = zone.start + int(np.nonzero(Frames.of(m, zone.start, zone.pages).kinds() == Kind.DIRTY)[0][0])
    m.locks.trylock(np.array([dirty], np.int32))
    assert whole(m, 0)[Kind.LOCKED] == 1
    assert detail(m, dirty).kind == Kind.LOCKED


def test_a_frame_says_who_maps_it_and_where() -> None:
    built = build(load("direct-vs-swap"))
    m, solver = built.machine, built.tasks["solver"]
    region = built.regions["solver"]["vectors"]
    zone = m.frames.zones[1]
    found = mapper(m, zone.start, zone.pages)
    assert found == (solver, region.start)
    pfn = next(pfn for pfn in range(zone.start, zone.start + zone.pages) if m.frames.mapcount[pfn])
    told = detail(m, pfn)
    assert told.kind == Kind.ANON
    assert told.mappers[0][:3] == (solver.pid, "solver", region.start)
    assert str(pfn) in told.mappers[0][3]
    assert mapper(m, m.frames.zones[3].start, 64) is None
