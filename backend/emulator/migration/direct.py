"""`migrate_pages(from, to)`: the pass loop over isolated frames (mm/vmscan.c of Direct Migration V8).

Every step is a function over a batch. Between steps the machine runs on: tasks may fault, exit or unmap.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from backend.emulator.frames.batches import divide, parts, pick, span
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.isolate import putback
from backend.emulator.migration.methods import has_method, release_buffers, swap_page, truncated, write_out
from backend.emulator.migration.migrate_page import MoveResult, migrate_page

PASSES = 11
"""Passes over the list at most (direct-migration V8, patch 2, migrate_pages())."""
LOCK_FROM_PASS = 3
"""From this pass on a contended page lock is waited for; earlier passes only try it."""
SWAP_AFTER_PASS = 4
"""After this pass a page whose buffers cannot be released is evicted instead."""
_NONE: Pfns = np.empty(0, np.int32)


@dataclass(slots=True)
class MigrationLists:
    """The lists of one call; the caller owns them afterwards. On entry `source`, and as many targets as there are: each
    page that moves consumes the next one. On return: the rest of both, the old frames of `moved` pages, the pages that
    `failed` for good, and the number that asked for a `retry` in the last pass. `swap_out`: the older technique; there
    are no targets, pages go out to swap. `paired`: the n-th target is for the n-th page, as Linux 6 chooses it.
    `unit`: all frames are one huge page. It moves whole or not at all, and counts as one."""

    source: Pfns
    target: Pfns
    moved: list[Pfns] = field(default_factory=list[Pfns])
    failed: list[Pfns] = field(default_factory=list[Pfns])
    retry: int = 0
    swap_out: bool = False
    paired: bool = False
    unit: bool = False

    @property
    def nr_failed(self) -> int:
        """Number permanently failed, plus number still asking for a retry: what migrate_pages() returns."""
        count = sum(map(len, self.failed)) + self.retry
        return min(count, 1) if self.unit else count

    @property
    def fixed(self) -> bool:
        """Pages and targets belong together from the start."""
        return self.paired or self.unit or self.swap_out


Pairs = tuple[Pfns, Pfns]
"""Old frames, and the new ones meant for them."""


def migrate_pages(m: Machine, lists: MigrationLists) -> Events:
    """Move the frames of `lists.source` to those of `lists.target`. Where targets run out, the rest stays in
    `source`."""
    pages, targets = lists.source, lists.target
    spare: list[Pfns] = []
    beyond = _NONE
    if lists.fixed:
        paired = min(len(pages), len(targets))
        beyond, spare = pages[paired:], [targets[paired:]]
        pages, targets = pages[:paired], targets[:paired]
    for number in range(PASSES):
        one_pass = _Pass(m, lists, number, spare)
        untried, targets = yield from one_pass.run(pages, targets)
        again, own = one_pass.asking_again
        lists.retry = len(again)
        if lists.fixed:
            pages, targets = again, own
        else:
            pages = _in_order(lists.source, np.concatenate([again, untried]))
        if not lists.retry:
            break
        m.count("migrate_passes", 1)
    lists.source = np.concatenate([pages, beyond])
    lists.target = _NONE if lists.swap_out else np.concatenate([targets, *spare])
    return lists.nr_failed


def _in_order(source: Pfns, pages: Pfns) -> Pfns:
    """Some pages in the order of the list that they come from."""
    return source[np.isin(source, pages)] if len(pages) else pages


def put_all_back(m: Machine, lists: MigrationLists) -> None:
    """An ordinary caller: pages that stayed go back to the LRU, the old frames of moved ones and unused targets are
    given up."""
    for pages in (lists.source, *lists.failed):
        putback(m, pages)
    for pages in lists.moved:
        m.frames.put(pages)
    m.frames.put(lists.target)


class _Pass:
    """One pass over the pages, batch by batch, with the result of one page after the other. `spare`: targets whose page
    needs them no more, of all passes."""

    def __init__(self, m: Machine, lists: MigrationLists, number: int, spare: list[Pfns]) -> None:
        self.m = m
        self.lists = lists
        self.number = number
        self.spare = spare
        self._retry: list[Pairs] = []
        self._used = 0

    @property
    def asking_again(self) -> Pairs:
        """The pages that ask for another pass, and the targets that are theirs."""
        old = np.concatenate([_NONE, *(pair[0] for pair in self._retry)])
        new = np.concatenate([_NONE, *(pair[1] for pair in self._retry)])
        return old, new

    def run(self, pages: Pfns, targets: Pfns) -> Events:
        """All pages, as far as there are targets. Returns (the pages that are left, the targets that are)."""
        lists = self.lists
        while len(pages):
            count = min(len(pages), len(targets))
            if not count:
                return self._skip_freed(pages), targets
            whole = [(pages[:count], targets[:count])]
            done = reach = 0
            for old, new in whole if lists.unit else parts(self.m.stride, *whole[0]):
                reach = len(old) if lists.unit else self._reach(old)
                yield from self._unmap_and_move((old[:reach], new[:reach]))
                done += reach
                if reach < len(old) or (not lists.fixed and self._used < reach):
                    break
            left = targets[done:]
            if not lists.fixed:
                left = np.concatenate([targets[done - reach + self._used : done], left])
            pages, targets = pages[done:], left
        return pages, targets

    def _skip_freed(self, pages: Pfns) -> Pfns:
        """Targets have run out: the list ends at the first page that would need one."""
        freed = self.m.frames.refcount[span(pages)] == 1
        count = len(pages) if freed.all() else int(np.argmin(freed))
        self.lists.moved.append(pages[:count])
        return pages[count:]

    def _reach(self, old: Pfns) -> int:
        """How many of the pages can go through all steps together without changing what becomes of any: as many as can
        be named at once, up to the first whose lock has to be waited for, or that one alone."""
        reach = self.m.mechanism.at_once(self.m, old)
        if self.number >= LOCK_FROM_PASS:
            locked = (self.m.frames.flags[span(old)] & PG.LOCKED) != 0
            if locked.any():
                reach = min(reach, max(1, int(np.argmax(locked))))
        return reach

    def _unmap_and_move(self, pairs: Pairs) -> Events:
        """One batch through all steps (unmap_and_move())."""
        m, lists = self.m, self.lists
        self._used = 0
        targets = pairs[1]
        pairs = self._drop_freed(pairs)
        pairs = yield from self._lock(pairs)
        pairs = yield from self._wait_on_writeback(pairs)
        pairs = yield from self._prepare(pairs)
        if lists.swap_out:
            old, new = pairs
            gone = yield from swap_page(m, old)
            self._retry.append((old[~gone], new[~gone]))
            lists.moved.append(old[gone])
            return
        pairs = self._drop_truncated(pairs)
        pairs = yield from self._without_method(pairs)
        if not lists.fixed:
            pairs = pairs[0], targets[: len(pairs[0])]
        yield from self._move(pairs)

    def _drop_freed(self, pairs: Pairs) -> Pairs:
        """Pages that only the isolation still holds count as moved: their owners are gone."""
        old, new = pairs
        freed = self.m.frames.refcount[span(old)] == 1
        if self.lists.unit and len(old):
            freed = np.full(len(freed), freed.all())
        (gone, unused), rest = divide(freed, old, new)
        self.lists.moved.append(gone)
        self._give_up(unused)
        return rest

    def _give_up(self, targets: Pfns) -> None:
        """Targets of pages that need none: spare where they were for these, else the next pages' anyway."""
        if self.lists.fixed:
            self.spare.append(targets)

    def _lock(self, pairs: Pairs) -> Events:
        """Lock the pages. Early passes only try, and pass over those that others hold; later ones wait for them."""
        m, unit = self.m, self.lists.unit
        old, new = pairs
        got = m.locks.trylock(old)
        if unit and not got.all():
            m.locks.unlock(old[got])
            got[:] = False
        if self.number >= LOCK_FROM_PASS:
            for pfn in old[~got].tolist():
                yield from m.locks.lock(pfn)
            got[:] = True
        locked, contended = divide(got, old, new)
        self._retry.append(contended)
        yield from m.step("lock", m.costs.lock * len(locked[0]))
        return locked

    def _wait_on_writeback(self, pairs: Pairs) -> Events:
        """The first pass passes over pages under writeback, the others wait for its end."""
        m = self.m
        old, new = pairs
        writing = (m.frames.flags[span(old)] & PG.WRITEBACK) != 0
        if self.number > 0:
            for pfn in old[writing].tolist():
                yield from m.locks.wait_on_writeback(pfn)
            return pairs
        rest, later = divide(~writing, old, new)
        m.locks.unlock(later[0])
        self._retry.append(later)
        return rest

    def _prepare(self, pairs: Pairs) -> Events:
        """Make the pages nameable (add_to_swap()). A page for which that fails, fails for good."""
        m = self.m
        old, new = pairs
        rest, (failing, unused) = divide(m.mechanism.prepare(m, old), old, new)
        self.lists.failed.append(failing)
        self._give_up(unused)
        m.locks.unlock(failing)
        yield from m.step("add_to_swap", m.costs.add_to_swap * len(rest[0]))
        return rest

    def _drop_truncated(self, pairs: Pairs) -> Pairs:
        """Pages that a truncate has taken out of their file meanwhile ask for another pass, which finds them freed."""
        old, new = pairs
        lost = truncated(self.m, old)
        if not lost.any():
            return pairs
        self.m.locks.unlock(old[lost])
        self._retry.append((old[lost], new[lost]))
        return old[~lost], new[~lost]

    def _without_method(self, pairs: Pairs) -> Events:
        """Send pages whose filesystem has no migration method through the default one. Returns the pairs that
        migrate_page() can move."""
        old, new = pairs
        own = has_method(self.m, old)
        if own.all():
            return pairs
        ready_old, ready_new = yield from self._default_method((old[~own], new[~own]))
        return np.concatenate([old[own], ready_old]), np.concatenate([new[own], ready_new])

    def _default_method(self, pairs: Pairs) -> Events:
        """Dirty pages are written and ask for another pass. Then their buffers are released, which may take more
        passes; after pass 4 swap_page() evicts those that keep them. Returns the pairs that are ready, still locked."""
        m, lists = self.m, self.lists
        old, new = pairs
        clean = yield from write_out(m, old)
        self._retry.append((old[~clean], new[~clean]))
        old, new = old[clean], new[clean]
        bare = release_buffers(m, old)
        stuck, targets = old[~bare], new[~bare]
        if self.number > SWAP_AFTER_PASS and not m.profile.migration_entries:
            gone = yield from swap_page(m, stuck)
            lists.moved.append(stuck[gone])
            self._give_up(targets[gone])
            self._retry.append((stuck[~gone], targets[~gone]))
        else:
            m.mechanism.restore(m, stuck)
            m.locks.unlock(stuck)
            self._retry.append((stuck, targets))
        return old[bare], new[bare]

    def _move(self, pairs: Pairs) -> Events:
        """Unmap, copy and remap (migrate_page()), and sort the pages by what became of them."""
        m, lists = self.m, self.lists
        old, new = pairs
        m.locks.trylock(new)
        result = yield from migrate_page(m, old, new, lists.unit, lists.fixed)
        m.locks.unlock(old)
        m.locks.unlock(new)
        moved, again, failed = (result == one for one in (MoveResult.MOVED, MoveResult.RETRY, MoveResult.FAILED))
        self._retry.append((old[again], new[again]))
        lists.failed.append(old[failed])
        if lists.fixed:
            self.spare.append(new[failed])
            (sources, targets), _ = divide(moved, old, new)
        else:
            sources = pick(old, moved)
            targets = new[: len(sources)]
            self._used = len(sources)
        m.frames.add_lru(targets)
        m.frames.put(targets)
        lists.moved.append(sources)
        m.count("pgmigrate_success", int(np.count_nonzero(moved)))
        if lists.unit and len(old) and moved.all() and not m.frames.flags[new[0]] & PG.HUGETLB:
            m.count("thp_migration_success", 1)
