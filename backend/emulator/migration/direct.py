"""`migrate_pages(from, to)`: the pass loop over isolated frames (mm/vmscan.c of Direct Migration V8).

Every step is a function over a batch. Between steps the machine runs on: tasks may fault, exit or unmap.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from backend.emulator.frames.batches import divide, parts, span
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.isolate import putback
from backend.emulator.migration.methods import has_method, release_buffers, swap_page, truncated, write_out
from backend.emulator.migration.migrate_page import MoveResult, migrate_page

PASSES = 11
LOCK_FROM_PASS = 3
SWAP_AFTER_PASS = 4
_NONE: Pfns = np.empty(0, np.int32)


@dataclass(slots=True)
class MigrationLists:
    """The four lists, the caller's afterwards. Going in, the n-th frame of `source` has the n-th of `target`, as far as
    there are targets. Coming out: what is left of both (a page that asked for a retry to the end keeps its target), the
    old frames of `moved` pages, the pages that `failed` for good, and how many asked for a `retry`. `swap_out`: the
    older technique: there are no targets, pages go out to swap. `unit`: all frames are one huge page, which moves whole
    or not at all, and counts as one."""

    source: Pfns
    target: Pfns
    moved: list[Pfns] = field(default_factory=list[Pfns])
    failed: list[Pfns] = field(default_factory=list[Pfns])
    retry: int = 0
    swap_out: bool = False
    unit: bool = False

    @property
    def nr_failed(self) -> int:
        """Number permanently failed, plus number still asking for a retry: what migrate_pages() returns."""
        count = sum(map(len, self.failed)) + self.retry
        return min(count, 1) if self.unit else count


Pairs = tuple[Pfns, Pfns]
"""Old frames and the new ones meant for them."""


def migrate_pages(m: Machine, lists: MigrationLists) -> Events:
    """Move the frames of `lists.source` to those of `lists.target`. Where targets run out, the rest stays in
    `source`."""
    paired = min(len(lists.source), len(lists.target))
    beyond = lists.source[paired:]
    spare = [lists.target[paired:]]
    old, new = lists.source[:paired], lists.target[:paired]
    for number in range(PASSES):
        retry: list[Pairs] = []
        whole = lists.unit and len(old) > 0
        batches = [(old, new)] if whole else parts(m.stride, old, new)
        while batches:
            contended = yield from _unmap_and_move(m, batches.pop(0), lists, retry, spare, number)
            one = max(1, len(contended[0])) if lists.unit else 1
            batches[:0] = [
                (contended[0][at : at + one], contended[1][at : at + one]) for at in range(0, len(contended[0]), one)
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


def put_all_back(m: Machine, lists: MigrationLists) -> None:
    """An ordinary caller: pages that stayed go back to the LRU, the old frames of moved ones and unused targets are
    given up."""
    for pages in (lists.source, *lists.failed):
        putback(m, pages)
    for pages in lists.moved:
        m.frames.put(pages)
    m.frames.put(lists.target)


def _unmap_and_move(
    m: Machine, batch: Pairs, lists: MigrationLists, retry: list[Pairs], spare: list[Pfns], number: int
) -> Events:
    """One batch through all steps. Pages that ask for a retry are appended to `retry`, targets of pages that need none
    to `spare`. Returns pages whose locks have to be waited for, to be given again one by one: nobody sleeps for one
    page's lock while holding another's."""
    frames, mechanism = m.frames, m.mechanism
    old, new = batch
    freed = _together(frames.refcount[span(old)] == 1, lists)
    (gone, unused), (old, new) = divide(freed, old, new)
    lists.moved.append(gone)
    spare.append(unused)
    got = m.locks.trylock(old)
    if lists.unit and not got.all():
        m.locks.unlock(old[got])
        got[:] = False
    contended = divide(got, old, new)[1]
    if number < LOCK_FROM_PASS:
        retry.append(contended)
        contended = (_NONE, _NONE)
    elif (len(old) == 1 or lists.unit) and len(contended[0]):
        for pfn in old.tolist():
            yield from m.locks.lock(pfn)
        got[:] = True
        contended = (_NONE, _NONE)
    (old, new), _ = divide(got, old, new)
    yield from m.step("lock", m.costs.lock * len(old))

    writing = (frames.flags[span(old)] & PG.WRITEBACK) != 0
    if number == 0:
        (old, new), later = divide(~writing, old, new)
        m.locks.unlock(later[0])
        retry.append(later)
    else:
        for pfn in old[writing].tolist():
            yield from m.locks.wait_on_writeback(pfn)

    ok = mechanism.prepare(m, old)
    (old, new), (failing, unused) = divide(ok, old, new)
    lists.failed.append(failing)
    spare.append(unused)
    m.locks.unlock(failing)
    yield from m.step("add_to_swap", m.costs.add_to_swap * len(old))

    if lists.swap_out:
        gone = yield from swap_page(m, old)
        retry.append((old[~gone], new[~gone]))
        lists.moved.append(old[gone])
        return contended

    lost = truncated(m, old)
    if lost.any():
        m.locks.unlock(old[lost])
        retry.append((old[lost], new[lost]))
        old, new = old[~lost], new[~lost]
    own = has_method(m, old)
    if not own.all():
        ready = yield from _default_method(m, (old[~own], new[~own]), lists, retry, spare, number)
        old, new = np.concatenate([old[own], ready[0]]), np.concatenate([new[own], ready[1]])

    m.locks.trylock(new)
    outcome = yield from migrate_page(m, old, new, lists.unit)
    m.locks.unlock(old)
    m.locks.unlock(new)
    moved, again, failed = outcome == MoveResult.MOVED, outcome == MoveResult.RETRY, outcome == MoveResult.FAILED
    retry.append((old[again], new[again]))
    lists.failed.append(old[failed])
    spare.append(new[failed])
    (sources, targets), _ = divide(moved, old, new)
    frames.add_lru(targets)
    frames.put(targets)
    lists.moved.append(sources)
    m.count("pgmigrate_success", int(np.count_nonzero(moved)))
    if lists.unit and len(old) and moved.all() and not frames.flags[new[0]] & PG.HUGETLB:
        m.count("thp_migration_success", 1)
    return contended


def _together(
    mask: np.ndarray[tuple[int], np.dtype[np.bool_]], lists: MigrationLists
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Of one huge page all or nothing."""
    return np.full(len(mask), mask.all()) if lists.unit and len(mask) else mask


def _default_method(
    m: Machine, batch: Pairs, lists: MigrationLists, retry: list[Pairs], spare: list[Pfns], number: int
) -> Events:
    """Locked pages whose filesystem has no method: written if dirty, which is a retry; then without buffers, which
    may take retries, and after pass 4 swap_page(). Returns the pairs that migrate_page() can move, still locked."""
    old, new = batch
    clean = yield from write_out(m, old)
    retry.append((old[~clean], new[~clean]))
    old, new = old[clean], new[clean]
    bare = release_buffers(m, old)
    stuck, targets = old[~bare], new[~bare]
    if number > SWAP_AFTER_PASS and not m.profile.migration_entries:
        gone = yield from swap_page(m, stuck)
        lists.moved.append(stuck[gone])
        spare.append(targets[gone])
        retry.append((stuck[~gone], targets[~gone]))
    else:
        m.mechanism.restore(m, stuck)
        m.locks.unlock(stuck)
        retry.append((stuck, targets))
    return old[bare], new[bare]
