"""Random sequences of calls that one or two processes make, from a seed: the same ones everywhere.

A step is `[who, method, argument…]` in JSON's types: `who` is `A`, its child `B` or `cpuset`, the method one of
`play.Process`. Regions are numbered as they are mapped; a page is counted within its region. The generator knows which
pages are mapped, so that no step ends a process; what the kernel says of a step it does not know.
"""

from __future__ import annotations

import random
from typing import Any

Step = list[Any]
HUGE = 512
"""Base pages of a transparent huge page."""
NODES = range(4)
MODES = (0, 1, 2, 3, 4, 5, 6)
STATIC, RELATIVE = 1 << 15, 1 << 14
_KINDS = {"anon": 5, "shared": 3, "tmpfs": 2, "private": 2, "thp": 1}
"""Anonymous memory; shared anonymous memory; a file of tmpfs, shared and private; transparent huge pages."""


def sequence(seed: int) -> list[Step]:
    """Between eight and twenty steps."""
    return _Generator(random.Random(seed)).steps()


class _Generator:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.mapped: dict[str, dict[int, set[int]]] = {"A": {}}
        """Process → region → the pages that are mapped."""
        self.regions: list[tuple[str, int]] = []
        """Kind and pages of each region."""
        self.out: list[Step] = []

    def steps(self) -> list[Step]:
        self._map("A")
        self._touch("A")
        makers = {
            self._map: 2, self._touch: 5, self._mbind: 6, self._set_mempolicy: 3, self._get_mempolicy: 3,
            self._move_pages: 5, self._query: 1, self._migrate_pages: 4, self._cpuset: 2, self._fork: 2,
            self._forget: 1, self._unmap: 1, self._run_on: 1, self._exit: 0.4,
        }  # fmt: skip
        for maker in self.rng.choices(list(makers), list(makers.values()), k=self.rng.randint(6, 18)):
            maker(self.rng.choice(list(self.mapped)))
        return self.out

    def _step(self, who: str, method: str, *arguments: Any) -> None:
        self.out.append([who, method, *arguments])

    def _nodes(self, absent: float = 0.08, empty: float = 0.05) -> list[int]:
        if self.rng.random() < empty:
            return []
        nodes = self.rng.sample(NODES, self.rng.choice((1, 1, 1, 2, 2, 3, 4)))
        if self.rng.random() < absent:
            nodes.append(self.rng.choice((5, 9)))
        return sorted(nodes)

    def _mode(self) -> int:
        mode = self.rng.choice((*MODES, 2, 2, 3, 1)) if self.rng.random() > 0.02 else 8
        return mode | self.rng.choice((0, 0, 0, 0, 0, 0, STATIC, RELATIVE, STATIC | RELATIVE))

    def _policy(self) -> tuple[int, list[int]]:
        mode = self._mode()
        plain = mode & ~(STATIC | RELATIVE)
        nodes = self._nodes(empty=0.9 if plain in (0, 4) else 0.08)
        return mode, nodes

    def _map(self, who: str) -> None:
        if len(self.regions) == 4:
            return
        kind = self.rng.choices(list(_KINDS), list(_KINDS.values()))[0]
        pages = self.rng.choice((HUGE, 2 * HUGE)) if kind == "thp" else self.rng.randint(1, 16)
        self._step(who, "map", len(self.regions), kind, pages)
        self.mapped[who][len(self.regions)] = set(range(pages))
        self.regions.append((kind, pages))

    def _range(self, who: str, mapped: bool) -> tuple[int, int, int] | None:
        """Region, first page, number of pages; `mapped`: all of them are."""
        candidates = [region for region, pages in self.mapped[who].items() if pages or not mapped]
        if not candidates:
            return None
        region = self.rng.choice(candidates)
        pages = self.regions[region][1]
        first = 0 if self.rng.random() < 0.5 else self.rng.randrange(pages)
        count = pages - first if self.rng.random() < 0.5 else self.rng.randint(1, pages - first)
        if mapped and not self.mapped[who][region].issuperset(range(first, first + count)):
            first, count = self.rng.choice(sorted(self.mapped[who][region])), 1
        return region, first, count

    def _touch(self, who: str) -> None:
        if chosen := self._range(who, mapped=True):
            self._step(who, "touch", *chosen, self.rng.random() < 0.75)

    def _mbind(self, who: str) -> None:
        if chosen := self._range(who, mapped=self.rng.random() < 0.9):
            flags = self.rng.choice((0, 0, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8))
            self._step(who, "mbind", *chosen, *self._policy(), flags)

    def _set_mempolicy(self, who: str) -> None:
        self._step(who, "set_mempolicy", *self._policy())

    def _get_mempolicy(self, who: str) -> None:
        flags = self.rng.choice((0, 2, 2, 2, 3, 3, 4, 5, 8))
        chosen = self._range(who, mapped=self.rng.random() < 0.9)
        if flags & 2 and chosen:
            self._step(who, "get_mempolicy", chosen[0], chosen[1], flags)
        else:
            self._step(who, "get_mempolicy", None, 0, flags & ~2)

    def _pages(self, who: str) -> list[list[int]]:
        """[region, page] of some pages, now and then one that is not mapped, or one twice."""
        out: list[list[int]] = []
        for _ in range(self.rng.choice((1, 1, 2))):
            if chosen := self._range(who, mapped=False):
                region, first, count = chosen
                step = self.rng.choice((1, 1, 1, 2))
                if self.regions[region][0] == "thp" and self.rng.random() < 0.8:
                    count = min(count, 4)
                out += [[region, page] for page in range(first, first + count, step)]
        if out and self.rng.random() < 0.15:
            out.append(self.rng.choice(out))
        if out and self.rng.random() < 0.1:
            out.insert(self.rng.randrange(len(out)), [out[0][0], self.regions[out[0][0]][1] + 3])
        if self.rng.random() < 0.1:
            self.rng.shuffle(out)
        return out

    def _move_pages(self, who: str) -> None:
        target = self.rng.choice(list(self.mapped))
        pages = self._pages(target)
        way = self.rng.random()
        if way < 0.7:
            nodes = [self.rng.choice(NODES)] * len(pages)
        elif way < 0.95:
            nodes = [self.rng.choice(NODES) for _ in pages]
        else:
            nodes = [self.rng.choice((*NODES, 5, -1)) for _ in pages]
        self._step(who, "move_pages", target, pages, nodes, self.rng.choice((2, 2, 2, 4, 4, 0, 1, 6)))

    def _query(self, who: str) -> None:
        target = self.rng.choice(list(self.mapped))
        self._step(who, "move_pages", target, self._pages(target), None, self.rng.choice((0, 0, 2, 8)))

    def _migrate_pages(self, who: str) -> None:
        self._step(who, "migrate_pages", self.rng.choice(list(self.mapped)), self._nodes(), self._nodes())

    def _cpuset(self, who: str) -> None:
        self._step("cpuset", "write", self.rng.choice(("0-3", "0-3", "0-1", "2-3", "1", "0,2", "1-3", "", "\n", "7")))

    def _fork(self, who: str) -> None:
        if "B" in self.mapped or who != "A":
            return
        self._step("A", "fork")
        self.mapped["B"] = {region: set(pages) for region, pages in self.mapped["A"].items()}

    def _whole(self, region: int, first: int, count: int) -> tuple[int, int, int]:
        """The emulator splits a huge page of which a part is unmapped; Linux does when memory is short."""
        kind, pages = self.regions[region]
        return (region, 0, pages) if kind == "thp" else (region, first, count)

    def _forget(self, who: str) -> None:
        if chosen := self._range(who, mapped=True):
            self._step(who, "forget", *self._whole(*chosen))

    def _unmap(self, who: str) -> None:
        if chosen := self._range(who, mapped=False):
            region, first, count = self._whole(*chosen)
            self._step(who, "unmap", region, first, count)
            self.mapped[who][region] -= set(range(first, first + count))

    def _run_on(self, who: str) -> None:
        self._step(who, "run_on", self.rng.choice(NODES))

    def _exit(self, who: str) -> None:
        if "B" in self.mapped:
            self._step("B", "end")
            del self.mapped["B"]
