"""What must hold of an emulated machine between any two steps."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.frames import frames_of, head_of
from backend.emulator.frames.page import PG, State
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import (
    PTE_DIRTY,
    PTE_MIGRATION,
    PTE_PRESENT,
    PTE_PROTNONE,
    PTE_SHIFT,
    PTE_SWAP,
    PTE_ZERO,
    Mm,
    Vma,
)
from backend.emulator.storage.filesystem import AddressSpace


def address_spaces(m: Machine, more: list[Mm] = []) -> list[Mm]:  # noqa: B006
    """Of living tasks, and those that only a system call still holds."""
    return list({id(mm): mm for mm in [*(t.mm for t in m.tasks.values() if t.mm), *more] if mm.users}.values())


def check(m: Machine, more: list[Mm] = []) -> None:  # noqa: B006
    """AssertionError naming the invariant that is broken. `more`: address spaces of exited tasks that may still be
    held."""
    vmas = [vma for mm in address_spaces(m, more) for vma in mm.vmas]
    frames, swap = m.frames, m.swap
    _frame_states(m)
    mapped = np.zeros(len(frames.state), np.int64)
    swap_ptes = np.zeros(max(1, swap.slots), np.int64)
    for vma in vmas:
        present = (vma.pte & PTE_PRESENT) != 0
        np.add.at(mapped, vma.pte[present] >> PTE_SHIFT, 1)
        np.add.at(swap_ptes, vma.pte[(vma.pte & PTE_SWAP) != 0] >> PTE_SHIFT, 1)
        _vma_counts(m, vma)
        _contents(m, vma)
    assert np.array_equal(mapped, frames.mapcount), "2: mapcount is the number of present PTEs that name the frame"
    assert (frames.mapping[mapped > 0] != 0).all(), "3: what is mapped has a mapping"
    _references(m)
    _swap_cache(m)
    for space in m.rmap.spaces.values():
        _page_cache(m, space, vmas)
        np.add.at(swap_ptes, space.swapped[space.swapped >= 0], 1)
    _cached_frames(m)
    cached = swap.cache >= 0
    counts = swap_ptes + cached
    assert np.array_equal(counts, swap.swap_map), (
        "6: a slot's count is its swap PTEs and files that name it, plus 1 in the swap cache"
    )
    assert swap.free == int(np.count_nonzero(swap.swap_map[: swap.slots] == 0)), "6: unused slots are free"
    for mm in address_spaces(m, more):
        present = sum(int(np.count_nonzero(vma.pte & PTE_PRESENT)) for vma in mm.vmas)
        assert mm.rss == present, "7: rss is the number of present PTEs"


def check_at_rest(m: Machine, more: list[Mm] = [], pins: int = 0) -> None:  # noqa: B006
    """Also: nothing is locked, nobody waits, nothing is isolated, every run of the event loop ends. New pages may wait
    in the CPUs' pagevecs."""
    m.env.run()
    check(m, more)
    for mm in address_spaces(m, more):
        assert (mm.lock.readers, mm.lock.writing, mm.lock.waiting) == (0, False, 0), "8: mmap_sem is free"
    used = m.frames.state == State.IN_USE
    assert not (m.frames.flags & PG.LOCKED).any(), "8: no lock stays held"
    assert not m.locks.waiting, "8: no wait without a waker"
    assert m.locks.outstanding == pins, "8: no temporary reference is forgotten"
    held = np.zeros(len(used), np.bool_)
    held[list(m.locks.holders)] = True
    held[m.pagevecs.cached()] = True
    assert ((m.frames.flags[used & ~held] & PG.LRU) != 0).all(), "7: isolated pages come back"


def check_drained(m: Machine, more: list[Mm] = [], pins: int = 0) -> None:  # noqa: B006
    """Also: once the pagevecs are drained, all pages are on the LRU, and what nobody uses is free."""
    check_at_rest(m, more, pins)
    m.pagevecs.flush()
    assert not len(m.pagevecs.cached())
    check_at_rest(m, more, pins)


def _frame_states(m: Machine) -> None:
    frames = m.frames
    free = frames.state == State.FREE
    for name in ("flags", "refcount", "mapcount", "mapping", "private"):
        assert not getattr(frames, name)[free].any(), f"1: free frames have no {name}"
    assert frames.last_cpupid is None or not frames.last_cpupid[free].any(), "1: free frames were used by nobody"
    assert (frames.refcount[frames.state == State.IN_USE] > 0).all(), "1: frames in use are referenced"
    assert not (frames.state[list(frames.bad)] == State.FREE).any(), "9: bad frames are never free"
    _huge_pages(m)
    offline = np.isin(np.nonzero(free)[0] // frames.block_pages, list(frames.offline_blocks))
    assert not offline.any(), "9: nothing of an offline memory block is free"
    stacks = [zone.stack[: zone.free] for zone in frames.zones.values()]
    stacked = np.concatenate(stacks)
    assert len(np.unique(stacked)) == len(stacked), "1: a frame is free once"
    assert np.array_equal(np.sort(stacked), np.nonzero(free)[0]), "1: what is free is on its node's free stack"
    for zone in frames.zones.values():
        mine = frames.nid == zone.nid
        assert zone.kept_out == int(np.count_nonzero(frames.state[mine] == State.KEPT_OUT)), "9: frames kept out"
        assert not (zone.isolated and zone.free), "9: nothing of an offlined node can be allocated"
        on_lru = mine & ((frames.flags & (PG.LRU | PG.HUGETLB)) == PG.LRU)
        active = on_lru & ((frames.flags & PG.ACTIVE) != 0)
        file = (frames.flags & PG.SWAPBACKED) == 0
        lists = [
            on_lru & ~file & ~active,
            on_lru & ~file & active,
            on_lru & file & ~active,
            on_lru & file & active,
        ]
        assert zone.lru.tolist() == [int(np.count_nonzero(one)) for one in lists], "7: pages on the LRU lists"


def _huge_pages(m: Machine) -> None:
    """10: a huge page is an aligned block, whole, of one mapping and of one kind; the pool counts its own."""
    frames = m.frames
    compound = np.nonzero(frames.flags & PG.COMPOUND)[0].astype(np.int32)
    assert frames.compounds * frames.huge == len(compound), "10: huge pages are counted"
    assert np.array_equal(compound, np.sort(frames_of(frames, np.unique(head_of(frames, compound))))), (
        "10: huge pages are whole"
    )
    for start in range(0, len(compound), frames.huge):
        block = compound[start : start + frames.huge]
        assert len({*frames.state[block].tolist()}) == 1, "10: a huge page is in one state"
        assert len({*frames.mapping[block].tolist()}) == 1, "10: a huge page has one mapping"
    pooled = (frames.state == State.POOL) & (frames.flags & PG.HUGETLB != 0)
    assert np.array_equal(pooled, frames.state == State.POOL), "10: only pages of the pool are in it"
    for zone in frames.zones.values():
        mine = frames.nid == zone.nid
        assert len(zone.hugetlb_free) * frames.huge == np.count_nonzero(pooled & mine), "10: free pages of the pool"
        total = np.count_nonzero(mine & ((frames.flags & PG.HUGETLB) != 0))
        assert zone.nr_hugepages * frames.huge == total, "10: pages of the pool"


def _references(m: Machine) -> None:
    """refcount = mappings + page or swap cache + buffers + temporary holders + the per-CPU cache, or isolation (or a
    target not yet handed out)."""
    frames = m.frames
    holders = np.zeros(len(frames.state), np.int64)
    for pfn, count in m.locks.holders.items():
        holders[pfn] = count
    used = frames.state == State.IN_USE
    cached = np.bincount(m.pagevecs.cached(), minlength=len(used))
    assert (cached <= 1).all(), "2: a page waits in one pagevec, once"
    assert not (cached > 0)[~used | ((frames.flags & PG.LRU) != 0)].any(), "7: what waits is not on the LRU yet"
    apart = used & ((frames.flags & PG.LRU) == 0) & (cached == 0)
    buffers = (frames.flags & PG.PRIVATE) != 0
    expected = frames.mapcount + _in_swap_cache(m) + _in_page_cache(m) + buffers + holders + cached + apart
    # A frame that only a temporary holder keeps was taken off the LRU by nobody: it has just been given up.
    orphan = apart & (holders > 0) & (frames.refcount == expected - 1)
    assert np.array_equal(frames.refcount[used & ~orphan], expected[used & ~orphan]), "2: references add up"


def _swap_cache(m: Machine) -> None:
    frames, swap = m.frames, m.swap
    slots = np.nonzero(swap.cache >= 0)[0]
    pfns = swap.cache[slots]
    assert np.array_equal(frames.private[pfns], slots), "3: a swap-cache page names its slot"
    flagged = (frames.flags & PG.SWAPCACHE) != 0
    assert flagged[pfns].all(), "3: a page in the swap cache says so"
    replaced = flagged & ~_in_swap_cache(m)
    assert (frames.flags[replaced] & PG.LOCKED).all(), "3: only a page that is being replaced, locked, still says so"
    for zone in frames.zones.values():
        assert zone.nr_swapcached == int(np.count_nonzero(frames.nid[pfns] == zone.nid)), "7: pages in the swap cache"


def _page_cache(m: Machine, space: AddressSpace, vmas: list[Vma]) -> None:
    """3, 4, 5: slots and frames name each other, tags are right, what was written is read, and is dirty until it is on
    the device."""
    frames = m.frames
    index = np.nonzero(space.pages >= 0)[0]
    pfns = space.pages[index]
    assert (frames.mapping[pfns] == space.id).all(), "3: a frame in the page cache names its file"
    assert np.array_equal(frames.index[pfns], index), "3: a slot of the page cache and its frame name each other"
    flags = frames.flags[pfns]
    settled = (flags & (PG.LOCKED | PG.UPTODATE)) == PG.UPTODATE
    dirty = (flags & PG.DIRTY) != 0
    assert np.array_equal(space.dirty[index[settled]], dirty[settled]), "5: the dirty tag says what the page says"
    assert not space.dirty[space.pages < 0].any(), "5: a page that is not there is not dirty"
    assert not ((space.pages >= 0) & (space.swapped >= 0)).any(), "3: a page is in the cache or in swap"
    if space.expected is None:
        return
    assert np.array_equal(frames.contents[pfns[settled]], space.expected[index[settled]]), (
        "4: lost write or stale read in a file"
    )
    out = np.nonzero(space.swapped >= 0)[0]
    cache = m.swap.cache[space.swapped[out]]
    stored = np.where(cache >= 0, frames.contents[cache], m.swap.contents[space.swapped[out]])
    quiet = (cache < 0) | ((frames.flags[cache] & PG.LOCKED) == 0)
    assert np.array_equal(stored[quiet], space.expected[out[quiet]]), "4: shared memory in swap"
    pending = np.zeros(len(space.pages), np.bool_)
    pending[index] = (flags & (PG.DIRTY | PG.WRITEBACK | PG.BUFFER_LOCK)) != 0
    pending[index[~settled]] = True
    for vma in vmas:
        if vma.file is space:
            at = np.nonzero(((vma.pte & (PTE_PRESENT | PTE_MIGRATION)) != 0) & ((vma.pte & PTE_DIRTY) != 0))[0]
            named = frames.mapping[vma.pte[at] >> PTE_SHIFT] == space.id
            pending[vma.pgoff + at[named]] = True
    done = ~pending & (space.swapped < 0)
    done[space.size :] = False
    if not space.swap_backed:
        assert np.array_equal(space.device[done], space.expected[done]), (
            "5: a dirty page is never dropped without being written"
        )


def _cached_frames(m: Machine) -> None:
    frames = m.frames
    inside = _in_page_cache(m)
    stray = (frames.mapping < 0) & ~inside
    assert (frames.flags[stray] & PG.LOCKED).all(), (
        "3: only a page that is being replaced, locked, still names its file"
    )
    for zone in frames.zones.values():
        mine = inside & (frames.nid == zone.nid)
        assert zone.nr_file == int(np.count_nonzero(mine)), "7: pages in the page cache"
        assert zone.nr_shmem == int(np.count_nonzero(mine & ((frames.flags & PG.SWAPBACKED) != 0))), "7: shared memory"


def _in_page_cache(m: Machine) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    inside = np.zeros(len(m.frames.state), np.bool_)
    for space in m.rmap.spaces.values():
        inside[space.pages[space.pages >= 0]] = True
    return inside


def _in_swap_cache(m: Machine) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    inside = np.zeros(len(m.frames.state), np.bool_)
    inside[m.swap.cache[m.swap.cache >= 0]] = True
    return inside


def _vma_counts(m: Machine, vma: Vma) -> None:
    frames = m.frames
    pte = vma.pte[(vma.pte & PTE_PRESENT) != 0]
    pfns = pte >> PTE_SHIFT
    marked = (vma.pte & PTE_PROTNONE) != 0
    assert ((vma.pte[marked] & PTE_PRESENT) != 0).all(), "only present pages wait for a hinting fault"
    assert np.array_equal(vma.nr_node, np.bincount(frames.nid[pfns], minlength=m.node_slots)), "7: pages per node"
    dirty = ((pte & PTE_DIRTY) != 0) | ((frames.flags[pfns] & PG.DIRTY) != 0)
    assert vma.nr_dirty == int(np.count_nonzero(dirty)), "7: dirty pages"
    assert vma.nr_active == int(np.count_nonzero(frames.flags[pfns] & (PG.ACTIVE | PG.MLOCKED))), "7: active pages"
    assert vma.nr_anon == int(np.count_nonzero(frames.mapping[pfns] > 0)), "7: anonymous pages"
    assert vma.nr_swap == int(np.count_nonzero(vma.pte & PTE_SWAP)), "7: swap PTEs"
    if len(pfns):
        assert m.rmap.mapmax(frames, vma) == int(frames.mapcount[pfns].max()), "7: the most mappings of a page"


def _contents(m: Machine, vma: Vma) -> None:
    """4: whoever reads an address gets what was last written there. A page locked in the middle of its copy is read
    after the lock only."""
    if vma.expected is None or vma.shared:
        return
    frames = m.frames
    pte = vma.pte
    entry = pte >> PTE_SHIFT
    pfns = np.full(len(pte), -1, np.int64)
    direct = (pte & (PTE_PRESENT | PTE_MIGRATION)) != 0
    pfns[direct] = entry[direct]
    swapped = (pte & PTE_SWAP) != 0
    pfns[swapped] = m.swap.cache[entry[swapped]]
    on_device = swapped & (pfns < 0)
    stored = m.swap.contents[entry[on_device]]
    assert np.array_equal(stored, vma.expected[on_device]), "4: what was swapped out is on the device"
    known = (pfns >= 0) & (frames.mapping[pfns] >= 0)
    readable = known & ~(swapped & ((frames.flags[np.maximum(pfns, 0)] & PG.LOCKED) != 0))
    if vma.file is not None:
        # A frame that was a page of the file until its contents went elsewhere.
        readable &= ~(((pte & PTE_MIGRATION) != 0) & (frames.mapping[np.maximum(pfns, 0)] == 0))
    assert np.array_equal(frames.contents[pfns[readable]], vma.expected[readable]), "4: lost write or stale read"
    assert not vma.expected[(pte & ~PTE_ZERO) == 0].any(), "4: a page that was written is not forgotten"
