"""The pages that a walk has found, for a job that begins right after: it need not look for them again."""

from __future__ import annotations

from dataclasses import dataclass

from backend.placement.pagemap import Pages
from backend.placement.stillness import Stillness

FRESH = 1_000_000_000
"""Nanoseconds after which they count as out of date: a page may be somewhere else."""


@dataclass(frozen=True, slots=True)
class FoundPages:
    """`by_vma`: start of a mapping → all its pages, in parts, ascending. Mappings for which there was no room are not
    there. `count`: pages. `at`: when the walk began, nanoseconds of the kernel's clock. `stillness`: as it was then."""

    by_vma: dict[int, tuple[Pages, ...]]
    count: int
    at: int
    stillness: Stillness | None
