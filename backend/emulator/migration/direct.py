"""`migrate_pages(from, to)`: the pass loop over isolated frames (mm/vmscan.c of Direct Migration V8; section 3 of the design).

Every step is a function over a batch. Between steps the machine runs on: tasks may fault, exit or unmap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from backend.emulator.frames import PG, Pfns
from backend.emulator.page_lock import Events

if TYPE_CHECKING:
    from backend.emulator.machine import Machine

PASSES = 11
LOCK_FROM_PASS = 3
_COPIED = PG.ERROR | PG.REFERENCED | PG.UPTODATE | PG.ACTIVE | PG.CHECKED | PG.MAPPEDTODISK | PG.DIRTY
_NONE: Pfns = np.empty(0, np.int32)


@dataclass(slots=True)
class Lists:
    """The four lists, the caller's afterwards: what is left of `from` and `to`, the old frames of `moved` pages, the
    pages that `failed` for good. `retry`: pages of `from` that asked for another pass to the end."""

    source: Pfns
    target: Pfns
    moved: list[Pfns] = field(default_factory=list[Pfns])
    failed: list[Pfns] = field(default_factory=list[Pfns])
    retry: int = 0

    @property
    def nr_failed(self) -> int:
        """Number permanently failed, plus number still asking for a retry: what migrate_pages() returns."""
        return sum(map(len, self.failed)) + self.retry


def migrate_pages(m: Machine, lists: Lists) -> Events:
    """Move the frames of `lists.source` to those of `lists.target`, consumed one for each page, in order."""
    for number in range(PASSES):
        todo, lists.source = lists.source, _NONE
        retry: list[Pfns] = []
        exhausted: list[Pfns] = []
        batches = [todo[start : start + m.batch] for start in range(0, len(todo), m.batch)]
        while batches:
            again, contended, rest = yield from _unmap_and_move(m, batches.pop(0), lists, number)
            retry.append(again)
            batches[:0] = [contended[at : at + 1] for at in range(len(contended))]
            if len(rest):
                exhausted += [rest, *batches]
                break
        lists.retry = sum(map(len, retry))
        lists.source = np.concatenate([*retry, *exhausted]) if retry or exhausted else _NONE
        if not lists.retry:
            break
        m.count("migrate_passes", 1)
    return lists.nr_failed


def _unmap_and_move(m: Machine, batch: Pfns, lists: Lists, number: int) -> Events:
    """One batch through all steps. Returns (pages that ask for a retry, pages to be waited for one by one, pages for
    which no target frame was left). Nobody sleeps for one page's lock while holding another's."""
    frames, mechanism = m.frames, m.mechanism
    freed = frames.refcount[batch] == 1
    lists.moved.append(batch[freed])
    batch = batch[~freed]
    room = len(lists.target)
    batch, rest = batch[:room], batch[room:]
    retry: list[Pfns] = []
    got = m.locks.trylock(batch)
    contended = batch[~got]
    if number < LOCK_FROM_PASS:
        retry.append(contended)
        contended = _NONE
    elif len(batch) == 1 and len(contended):
        yield from m.locks.lock(int(batch[0]))
        got[:] = True
        contended = _NONE
    batch = batch[got]
    yield from m.step("lock", m.costs.lock * len(batch))

    ok = mechanism.prepare(m, batch)
    lists.failed.append(batch[~ok])
    m.locks.unlock(batch[~ok])
    old = batch[ok]
    yield from m.step("add_to_swap", m.costs.add_to_swap * len(old))

    new, lists.target = lists.target[: len(old)], lists.target[len(old) :]
    m.locks.trylock(new)
    moved = yield from _migrate_page(m, old, new)
    retry.append(old[~moved])
    m.locks.unlock(old[~moved])
    m.locks.unlock(new[~moved])
    lists.target = np.concatenate([new[~moved], lists.target])
    old, new = old[moved], new[moved]
    m.locks.unlock(new)
    m.locks.unlock(old)
    frames.add_lru(new)
    frames.put(new)
    lists.moved.append(old)
    m.count("pgmigrate_success", len(old))
    return np.concatenate(retry), contended, rest


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
    frames.flags[targets] |= frames.flags[pages] & np.uint16(_COPIED)
    _forget(m, pages)
    yield from m.step("copy", _copy_cost(m, pages, targets))

    mechanism.remap(m, pages, targets)
    yield from m.step("remap", m.costs.remap * len(pages))
    return moved


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
    frames.flags[old] &= ~np.uint16(PG.SWAPCACHE | PG.ACTIVE | PG.PRIVATE)
    frames.private[old] = 0
    frames.mapping[old] = 0


def _copy_cost(m: Machine, old: Pfns, new: Pfns) -> float:
    return sum(
        m.costs.copy_between(m.distance(source, target)) * len(part)
        for source, here in m.frames.by_node(old)
        for target, part in ((target, new[here][there]) for target, there in m.frames.by_node(new[here]))
    )
