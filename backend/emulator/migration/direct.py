"""`migrate_pages(from, to)`: the pass loop over isolated frames (mm/vmscan.c of Direct Migration V8).

Every step is a function over a batch. Between steps the machine runs on: tasks may fault, exit or unmap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from backend.emulator.frames import PG, Pfns
from backend.emulator.migration.isolate import putback
from backend.emulator.page_lock import Events
from backend.emulator.swap_io import start_writing

if TYPE_CHECKING:
    from backend.emulator.machine import Machine

PASSES = 11
LOCK_FROM_PASS = 3
_COPIED = (
    PG.ERROR | PG.REFERENCED | PG.UPTODATE | PG.ACTIVE | PG.CHECKED | PG.MAPPEDTODISK | PG.DIRTY | PG.MLOCKED
)
_NONE: Pfns = np.empty(0, np.int32)


@dataclass(slots=True)
class Lists:
    """The four lists, the caller's afterwards. Going in, the n-th frame of `source` has the n-th of `target`, as far as
    there are targets. Coming out: what is left of both (a page that asked for a retry to the end keeps its target), the
    old frames of `moved` pages, the pages that `failed` for good, and how many asked for a `retry`.
    `swap_out`: the older technique: there are no targets, pages go out to swap."""

    source: Pfns
    target: Pfns
    moved: list[Pfns] = field(default_factory=list[Pfns])
    failed: list[Pfns] = field(default_factory=list[Pfns])
    retry: int = 0
    swap_out: bool = False

    @property
    def nr_failed(self) -> int:
        """Number permanently failed, plus number still asking for a retry: what migrate_pages() returns."""
        return sum(map(len, self.failed)) + self.retry


Pairs = tuple[Pfns, Pfns]
"""Old frames and the new ones meant for them."""


def migrate_pages(m: Machine, lists: Lists) -> Events:
    """Move the frames of `lists.source` to those of `lists.target`. Where targets run out, the rest stays in `source`."""
    paired = min(len(lists.source), len(lists.target))
    beyond = lists.source[paired:]
    spare = [lists.target[paired:]]
    old, new = lists.source[:paired], lists.target[:paired]
    for number in range(PASSES):
        retry: list[Pairs] = []
        batches = [(old[at : at + m.batch], new[at : at + m.batch]) for at in range(0, len(old), m.batch)]
        while batches:
            contended = yield from _unmap_and_move(m, batches.pop(0), lists, retry, spare, number)
            batches[:0] = [
                (contended[0][at : at + 1], contended[1][at : at + 1]) for at in range(len(contended[0]))
            ]
        old = np.concatenate([_NONE, *(pair[0] for pair in retry)])
        new = np.concatenate([_NONE, *(pair[1] for pair in retry)])
        if not len(old):
            break
        m.count("migrate_passes", 1)
    lists.retry = len(old)
    lists.source = np.concatenate([old, beyond])
    lists.target = _NONE if lists.swap_out else np.concatenate([new, *spare])
    return lists.nr_failed


def put_all_back(m: Machine, lists: Lists) -> None:
    """An ordinary caller: pages that stayed go back to the LRU, the old frames of moved ones and unused targets are
    given up."""
    for pages in (lists.source, *lists.failed):
        putback(m, pages)
    for pages in lists.moved:
        m.frames.put(pages)
    m.frames.put(lists.target)


def _unmap_and_move(
    m: Machine, batch: Pairs, lists: Lists, retry: list[Pairs], spare: list[Pfns], number: int
) -> Events:
    """One batch through all steps. Pages that ask for a retry are appended to `retry`, targets of pages that need none
    to `spare`. Returns pages whose locks have to be waited for, to be given again one by one: nobody sleeps for one
    page's lock while holding another's."""
    frames, mechanism = m.frames, m.mechanism
    old, new = batch
    freed = frames.refcount[old] == 1
    lists.moved.append(old[freed])
    spare.append(new[freed])
    old, new = old[~freed], new[~freed]
    got = m.locks.trylock(old)
    contended = (old[~got], new[~got])
    if number < LOCK_FROM_PASS:
        retry.append(contended)
        contended = (_NONE, _NONE)
    elif len(old) == 1 and len(contended[0]):
        yield from m.locks.lock(int(old[0]))
        got[:] = True
        contended = (_NONE, _NONE)
    old, new = old[got], new[got]
    yield from m.step("lock", m.costs.lock * len(old))

    writing = (frames.flags[old] & PG.WRITEBACK) != 0
    if number == 0:
        retry.append((old[writing], new[writing]))
        m.locks.unlock(old[writing])
        old, new = old[~writing], new[~writing]
    else:
        for pfn in old[writing].tolist():
            yield from m.locks.wait_on_writeback(pfn)

    ok = mechanism.prepare(m, old)
    lists.failed.append(old[~ok])
    spare.append(new[~ok])
    m.locks.unlock(old[~ok])
    old, new = old[ok], new[ok]
    yield from m.step("add_to_swap", m.costs.add_to_swap * len(old))

    if lists.swap_out:
        gone = yield from _swap_page(m, old)
        retry.append((old[~gone], new[~gone]))
        lists.moved.append(old[gone])
        return contended

    m.locks.trylock(new)
    moved = yield from _migrate_page(m, old, new)
    m.locks.unlock(old)
    m.locks.unlock(new)
    retry.append((old[~moved], new[~moved]))
    frames.add_lru(new[moved])
    frames.put(new[moved])
    lists.moved.append(old[moved])
    m.count("pgmigrate_success", int(np.count_nonzero(moved)))
    return contended


def _migrate_page(m: Machine, old: Pfns, new: Pfns) -> Events:
    """migrate_page() for pages without buffers. Returns the mask of those that moved; the others ask for a retry.

    References expected besides the mappings: the isolation's, and the swap cache's where the page is in it.
    """
    frames, mechanism = m.frames, m.mechanism
    moved = mechanism.countable(m, old)
    going = np.nonzero(moved)[0]
    mechanism.unmap(m, old[going])
    yield from m.step("unmap", m.costs.unmap * len(going) + m.costs.tlb_flush)

    pages, targets = old[going], new[going]
    cached = (frames.flags[pages] & PG.SWAPCACHE) != 0
    alone = (frames.mapcount[pages] == 0) & (frames.refcount[pages] == 1 + cached)
    alone &= ~cached | (m.swap.cache[frames.private[pages]] == pages)
    mechanism.restore(m, pages[~alone])
    moved[going[~alone]] = False
    pages, targets, cached = pages[alone], targets[alone], cached[alone]
    _switch(m, pages, targets, cached)
    yield from m.step("switch", m.costs.switch * len(pages))

    frames.contents[targets] = frames.contents[pages]
    if frames.last_cpupid is not None:
        frames.last_cpupid[targets] = frames.last_cpupid[pages]
    frames.flags[targets] |= frames.flags[pages] & np.uint16(_COPIED)
    _forget(m, pages)
    yield from m.step("copy", _copy_cost(m, pages, targets))

    mechanism.remap(m, pages, targets)
    yield from m.step("remap", m.costs.remap * len(pages))
    return moved


def _swap_page(m: Machine, pages: Pfns) -> Events:
    """swap_page() for locked pages in the swap cache: unmapped; dirty ones are written, which unlocks them and asks for a
    retry; clean ones that nobody holds leave the cache. All are unlocked. Returns the mask of those that are out."""
    frames = m.frames
    m.mechanism.unmap(m, pages)
    yield from m.step("unmap", m.costs.unmap * len(pages) + m.costs.tlb_flush)
    dirty = (frames.flags[pages] & PG.DIRTY) != 0
    start_writing(m, pages[dirty & (frames.mapcount[pages] == 0)])
    free = ~dirty & (frames.mapcount[pages] == 0) & (frames.refcount[pages] == 2)
    free &= (frames.flags[pages] & PG.WRITEBACK) == 0
    m.swap.delete_from_cache(frames, pages[free])
    m.locks.unlock(pages[~dirty | (frames.mapcount[pages] != 0)])
    m.count("swap_page", int(np.count_nonzero(free)))
    return free


def _switch(m: Machine, old: Pfns, new: Pfns, cached: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
    """Under the tree lock: the new frame takes the old one's place in its mapping."""
    frames = m.frames
    frames.index[new] = frames.index[old]
    frames.mapping[new] = frames.mapping[old]
    in_cache, to = old[cached], new[cached]
    m.swap.replace(frames, in_cache, to)
    frames.private[to] = frames.private[in_cache]
    frames.flags[to] |= PG.SWAPCACHE
    frames.refcount[to] += 1
    frames.refcount[in_cache] -= 1


def _forget(m: Machine, old: Pfns) -> None:
    """What waiters on the old frame see: no swap cache, no mapping."""
    frames = m.frames
    frames.flags[old] &= ~np.uint16(PG.SWAPCACHE | PG.ACTIVE | PG.PRIVATE | PG.MLOCKED)
    frames.private[old] = 0
    frames.mapping[old] = 0


def _copy_cost(m: Machine, old: Pfns, new: Pfns) -> float:
    return sum(
        m.costs.copy_between(m.distance(source, target)) * len(part)
        for source, here in m.frames.by_node(old)
        for target, part in ((target, new[here][there]) for target, there in m.frames.by_node(new[here]))
    )
