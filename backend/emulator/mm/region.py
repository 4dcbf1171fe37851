"""A part of an address space that has a name in a scenario: it stays one, however its VMAs are cut and joined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backend.emulator.mm.mm import Indices, Mm, Vma


@dataclass(frozen=True, slots=True)
class Region:
    """`pages` base pages from the address `start`."""

    name: str
    kind: str
    start: int
    pages: int

    def index(self) -> Indices:
        return np.arange(self.pages, dtype=np.int64)

    def spans(self, mm: Mm | None) -> Iterator[tuple[Vma, Indices]]:
        """What is left of it: VMA by VMA, with the indices there."""
        return mm.spans(self.start, self.index()) if mm is not None else iter(())
