"""Moving a page to a new frame: migrate_page() and buffer_migrate_page() (mm/vmscan.c, fs/buffer.c of Direct Migration
V8)."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.batches import Mask, divide, pick, span, take
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.storage.page_cache import by_space

# Flags that migrate_page_copy() copies.
_COPIED = (
    PG.ERROR | PG.REFERENCED | PG.UPTODATE | PG.ACTIVE | PG.CHECKED | PG.MAPPEDTODISK | PG.DIRTY | PG.MLOCKED
    | PG.SWAPBACKED | PG.KSM
)  # fmt: skip


class MoveResult:
    """Result of moving one page. RETRY: -EAGAIN. FAILED: permanent failure, for example -EPERM."""

    RETRY, MOVED, FAILED = 0, 1, -1


# Flags cleared on the old frame, at the end of migrate_page_copy().
_FORGOTTEN = PG.SWAPCACHE | PG.ACTIVE | PG.PRIVATE | PG.MLOCKED | PG.DIRTY


def in_cache(m: Machine, pages: Pfns) -> Mask:
    """True for pages in the page cache or the swap cache; the cache holds a reference."""
    at = span(pages)
    return (m.frames.mapping[at] < 0) | ((m.frames.flags[at] & PG.SWAPCACHE) != 0)


def buffer_references(m: Machine, pages: Pfns) -> Mask:
    """True for pages with buffers; the buffers hold a reference."""
    return (m.frames.flags[span(pages)] & PG.PRIVATE) != 0


def migrate_page(m: Machine, old: Pfns, new: Pfns, unit: bool = False, paired: bool = True) -> Events:
    """Move locked old frames to locked new ones; with `unit` all or none. Returns a `MoveResult` for each. `paired`:
    the n-th page goes to the n-th new frame; else each that moves takes the next.

    A page moves only if its references are the mappings, the isolation, the page or swap cache, and the buffers. Waits
    for locked buffers. Buffers are locked while they are handed over."""
    frames, mechanism = m.frames, m.mechanism
    outcome = np.full(len(old), MoveResult.RETRY, np.int8)
    going = mechanism.countable(m, old)
    pages, targets = pick(old, going), _targets(new, going, paired)
    kept = mechanism.unmap(m, pages)
    yield from m.step("unmap", m.costs.unmap * len(pages) + m.costs.tlb_flush)

    alone = _unshared(m, pages)
    if unit:
        alone[:] = alone.all()
    outcome[going] = np.where(alone, MoveResult.MOVED, np.where(kept, MoveResult.FAILED, MoveResult.RETRY))
    targets = _targets(targets, alone, paired)
    (pages, _), (others, _) = divide(alone, pages, pages)
    if len(others):
        mechanism.restore(m, others)
    _switch(m, pages, targets)
    yield from m.step("switch", m.costs.switch * len(pages))

    buffered = buffer_references(m, pages)
    if buffered.any():
        for pfn in pages[buffered & ((frames.flags[span(pages)] & PG.BUFFER_LOCK) != 0)].tolist():
            yield from m.locks.wait_on_buffers(pfn)
        _hand_over_buffers(m, *divide(buffered, pages, targets)[0])
        yield from m.step("buffers", m.costs.lock * int(np.count_nonzero(buffered)))

    at, to = span(pages), span(targets)
    frames.contents[to] = frames.contents[at]
    if frames.last_cpupid is not None:
        frames.last_cpupid[to] = frames.last_cpupid[at]
    frames.flags[to] |= frames.flags[at] & np.uint32(_COPIED)
    _forget(m, pages)
    yield from m.step("copy", _copy_cost(m, pages, targets))

    m.locks.unlock_buffers(pick(targets, (frames.flags[to] & PG.BUFFER_LOCK) != 0))
    mechanism.remap(m, pages, targets)
    yield from m.step("remap", m.costs.remap * len(pages))
    return outcome


def _targets(new: Pfns, chosen: Mask, paired: bool) -> Pfns:
    return pick(new, chosen) if paired else new[: np.count_nonzero(chosen)]


def _unshared(m: Machine, pages: Pfns) -> Mask:
    """The check under tree_lock: the page is unmapped, has no unexpected references, and is still in its cache slot."""
    frames = m.frames
    at = span(pages)
    flags, mapping = frames.flags[at], frames.mapping[at]
    swapped = (flags & PG.SWAPCACHE) != 0
    cached = swapped | (mapping < 0)
    expected = 1 + cached.view(np.int8) + ((flags & PG.PRIVATE) != 0).view(np.int8)
    alone = (frames.mapcount[at] == 0) & (frames.refcount[at] == expected)
    if swapped.any():
        alone &= ~swapped | (m.swap.cache[span(frames.private[at])] == pages)
    return alone & ((mapping != 0) | swapped)


def _switch(m: Machine, old: Pfns, new: Pfns) -> None:
    """Replace the old frames by the new ones in the swap cache or the page cache (radix_tree_replace_slot())."""
    frames = m.frames
    at, to = span(old), span(new)
    frames.index[to] = frames.index[at]
    mapping = frames.mapping[at]
    frames.mapping[to] = mapping
    frames.cgroup[to] = frames.cgroup[at]
    swapped = (frames.flags[at] & PG.SWAPCACHE) != 0
    if swapped.any():
        inside, outside = divide(swapped, old, new)[0]
        m.swap.replace(frames, inside, outside)
        at, to = span(inside), span(outside)
        frames.private[to] = frames.private[at]
        frames.flags[to] |= PG.SWAPCACHE
        frames.refcount[to] += 1
        frames.refcount[at] -= 1
    filed = (mapping < 0) & ~swapped
    if filed.any():
        inside, outside = divide(filed, old, new)[0]
        at, to = span(inside), span(outside)
        frames.flags[to] |= frames.flags[at] & np.uint32(PG.SWAPBACKED)
        for space, mine in by_space(m, outside):
            space.pages[span(frames.index[span(mine)])] = mine
        frames.count_cache(inside, -1)
        frames.count_cache(outside, +1)
        frames.refcount[to] += 1
        frames.refcount[at] -= 1


def _hand_over_buffers(m: Machine, old: Pfns, new: Pfns) -> None:
    """Move the buffers and their references to the new frames, and lock them."""
    frames = m.frames
    at, to = span(old), span(new)
    frames.flags[to] |= PG.PRIVATE | PG.BUFFER_LOCK
    frames.refcount[to] += 1
    frames.flags[at] &= ~np.uint32(PG.PRIVATE)
    frames.refcount[at] -= 1


def _forget(m: Machine, old: Pfns) -> None:
    """Clear the old frames. Tasks that waited for their locks see that they left the swap cache or the mapping."""
    frames, at = m.frames, span(old)
    frames.flags[at] &= ~np.uint32(_FORGOTTEN)
    frames.private[at] = 0
    frames.mapping[at] = 0


def _copy_cost(m: Machine, old: Pfns, new: Pfns) -> float:
    cost = 0.0
    for source, here in m.frames.by_node(old):
        mine = take(new, here)
        for target, there in m.frames.by_node(mine):
            cost += m.costs.copy_between(m.distance(source, target)) * len(take(mine, there))
    return cost
