"""Moving the contents and the place of a page: migrate_page() and buffer_migrate_page() (mm/vmscan.c, fs/buffer.c of Direct
Migration V8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames import PG, Pfns
from backend.emulator.page_cache import by_space
from backend.emulator.page_lock import Events

if TYPE_CHECKING:
    from backend.emulator.machine import Machine

Mask = NDArray[np.bool_]

_COPIED = (
    PG.ERROR | PG.REFERENCED | PG.UPTODATE | PG.ACTIVE | PG.CHECKED | PG.MAPPEDTODISK | PG.DIRTY | PG.MLOCKED
    | PG.SWAPBACKED | PG.KSM
)  # fmt: skip


class Outcome:
    """Of one page. There is no third kind of failure."""

    RETRY, MOVED, FAILED = 0, 1, -1


_FORGOTTEN = PG.SWAPCACHE | PG.ACTIVE | PG.PRIVATE | PG.MLOCKED | PG.DIRTY


def in_cache(m: Machine, pages: Pfns) -> Mask:
    """In the page cache or the swap cache, which has a reference then."""
    return (m.frames.mapping[pages] < 0) | ((m.frames.flags[pages] & PG.SWAPCACHE) != 0)


def buffer_references(m: Machine, pages: Pfns) -> Mask:
    """Whether buffers have a reference."""
    return (m.frames.flags[pages] & PG.PRIVATE) != 0


def migrate_page(m: Machine, old: Pfns, new: Pfns, unit: bool = False) -> Events:
    """Locked old frames to locked new ones, as a `unit` all or none. Returns an `Outcome` for each.

    References expected besides the mappings: the isolation's, the page or swap cache's, and the buffers'. Locked buffers
    are waited for, and handed over locked.
    """
    frames, mechanism = m.frames, m.mechanism
    outcome = np.full(len(old), Outcome.RETRY, np.int8)
    going = np.nonzero(mechanism.countable(m, old))[0]
    outcome[going[mechanism.unmap(m, old[going])]] = Outcome.FAILED
    yield from m.step("unmap", m.costs.unmap * len(going) + m.costs.tlb_flush)

    pages, targets = old[going], new[going]
    alone = _unshared(m, pages)
    if unit:
        alone[:] = alone.all()
    mechanism.restore(m, pages[~alone])
    outcome[going[alone]] = Outcome.MOVED
    pages, targets = pages[alone], targets[alone]
    _switch(m, pages, targets)
    yield from m.step("switch", m.costs.switch * len(pages))

    buffered = buffer_references(m, pages)
    if buffered.any():
        for pfn in pages[buffered & ((frames.flags[pages] & PG.BUFFER_LOCK) != 0)].tolist():
            yield from m.locks.wait_on_buffers(pfn)
        _hand_over_buffers(m, pages[buffered], targets[buffered])
        yield from m.step("buffers", m.costs.lock * int(np.count_nonzero(buffered)))

    frames.contents[targets] = frames.contents[pages]
    if frames.last_cpupid is not None:
        frames.last_cpupid[targets] = frames.last_cpupid[pages]
    frames.flags[targets] |= frames.flags[pages] & np.uint32(_COPIED)
    _forget(m, pages)
    yield from m.step("copy", _copy_cost(m, pages, targets))

    m.locks.unlock_buffers(targets[(frames.flags[targets] & PG.BUFFER_LOCK) != 0])
    mechanism.remap(m, pages, targets)
    yield from m.step("remap", m.costs.remap * len(pages))
    return outcome


def _unshared(m: Machine, pages: Pfns) -> Mask:
    """Under the tree lock: nobody maps the page, nobody holds it, and its slot still names it."""
    frames = m.frames
    flags, mapping = frames.flags[pages], frames.mapping[pages]
    swapped = (flags & PG.SWAPCACHE) != 0
    filed = (mapping < 0) & ~swapped
    expected = 1 + (swapped | filed) + ((flags & PG.PRIVATE) != 0)
    alone = (frames.mapcount[pages] == 0) & (frames.refcount[pages] == expected)
    if swapped.any():
        alone &= ~swapped | (m.swap.cache[frames.private[pages]] == pages)
    return alone & ((mapping != 0) | swapped)


def _switch(m: Machine, old: Pfns, new: Pfns) -> None:
    """The new frame takes the old one's place in its mapping: the slot of the swap cache or of the file names it."""
    frames = m.frames
    frames.index[new] = frames.index[old]
    mapping = frames.mapping[old]
    frames.mapping[new] = mapping
    frames.cgroup[new] = frames.cgroup[old]
    swapped = (frames.flags[old] & PG.SWAPCACHE) != 0
    if swapped.any():
        inside, to = old[swapped], new[swapped]
        m.swap.replace(frames, inside, to)
        frames.private[to] = frames.private[inside]
        frames.flags[to] |= PG.SWAPCACHE
        frames.refcount[to] += 1
        frames.refcount[inside] -= 1
    filed = (mapping < 0) & ~swapped
    if filed.any():
        inside, to = old[filed], new[filed]
        frames.flags[to] |= frames.flags[inside] & np.uint32(PG.SWAPBACKED)
        for space, mine in by_space(m, to):
            space.pages[frames.index[mine]] = mine
        frames.count_cache(inside, -1)
        frames.count_cache(to, +1)
        frames.refcount[to] += 1
        frames.refcount[inside] -= 1


def _hand_over_buffers(m: Machine, old: Pfns, new: Pfns) -> None:
    """The buffers, locked, belong to the new frames from now on, and their references."""
    frames = m.frames
    frames.flags[new] |= PG.PRIVATE | PG.BUFFER_LOCK
    frames.refcount[new] += 1
    frames.flags[old] &= ~np.uint32(PG.PRIVATE)
    frames.refcount[old] -= 1


def _forget(m: Machine, old: Pfns) -> None:
    """What waiters on the old frame see: no swap cache, no mapping."""
    frames = m.frames
    frames.flags[old] &= ~np.uint32(_FORGOTTEN)
    frames.private[old] = 0
    frames.mapping[old] = 0


def _copy_cost(m: Machine, old: Pfns, new: Pfns) -> float:
    return sum(
        m.costs.copy_between(m.distance(source, target)) * len(part)
        for source, here in m.frames.by_node(old)
        for target, part in ((target, new[here][there]) for target, there in m.frames.by_node(new[here]))
    )
