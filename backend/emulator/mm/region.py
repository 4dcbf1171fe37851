"""A named address range of a scenario. It stays the same when its VMAs are split and merged."""

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
        """The VMAs that still map the range, with page indices in each; see `Mm.spans`."""
        return mm.spans(self.start, self.index()) if mm is not None else iter(())
