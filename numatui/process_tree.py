"""Sorts rows as a tree: children below their parents. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Branch(Generic[T]):
    """A row and its place in the tree. `more`: for each level below the roots, down to this row, whether siblings
    follow. `children`: number of children; `folded`: whether they are left out."""

    row: T
    more: tuple[bool, ...] = ()
    children: int = 0
    folded: bool = False

    @property
    def depth(self) -> int:
        return len(self.more)


def as_tree(
    rows: Sequence[T],
    key_of: Callable[[T], Hashable],
    parent_of: Callable[[T], Hashable],
    folded: Callable[[T], bool] = lambda _: False,
) -> list[Branch[T]]:
    """All rows in the order of the tree; siblings keep the order of `rows`. Rows below a folded row are left out. A row
    is a root if its parent is not among `rows`; of rows that form a cycle, the first one is."""
    keys = {key_of(row) for row in rows}
    children: dict[Hashable, list[T]] = {}
    roots: list[T] = []
    for row in rows:
        parent = parent_of(row)
        if parent in keys and parent != key_of(row):
            children.setdefault(parent, []).append(row)
        else:
            roots.append(row)
    out: list[Branch[T]] = []
    seen: set[Hashable] = set()

    def hang(root: T) -> None:
        stack: list[tuple[T, tuple[bool, ...], bool]] = [(root, (), True)]
        while stack:
            row, more, shown = stack.pop()
            key = key_of(row)
            if key in seen:
                continue
            seen.add(key)
            below = children.get(key, [])
            close = bool(below) and folded(row)
            if shown:
                out.append(Branch(row, more, len(below), close))
            last = len(below) - 1
            stack += [
                (child, (*more, place != last), shown and not close)
                for place, child in reversed(list(enumerate(below)))
            ]

    for row in roots:
        hang(row)
    for row in rows:
        if key_of(row) not in seen:
            hang(row)
    return out
