"""Reads again where pages are, chunk by chunk, while the job moves the next ones. If nothing but the job has touched
the process's memory until the end, not all of it has to be read again."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from backend.errors import NumatuiError
from backend.job.parts.source_pages import Chunk, SourcePages
from backend.placement.pagemap import PageMap, rest_for
from backend.placement.stillness import Stillness, read_stillness
from backend.process.process import read_stat


class Verifier:
    """`began`: the process's memory before the first call, as `before` of the outcome was read; None: everything is to
    be read again, and nothing here does anything."""

    def __init__(self, pages: SourcePages, began: Stillness | None) -> None:
        self._pages, self._began = pages, began if pages.frames is not None else None
        self._page_map = PageMap(pages.kernel, pages.pid, pages.frames, rest=rest_for(pages.kernel))
        self._left: dict[int, int] = {}
        self._now: dict[int, int] = {}
        self._migrated = 0

    def look(self, chunk: Chunk) -> None:
        """Reads a chunk for which all calls have returned. Never raises."""
        if self._began is None:
            return
        nodes = None
        # A process that faults is read again whole, at the end.
        with suppress(OSError, NumatuiError):
            if read_stat(self._pages.kernel, self._pages.pid).faults == self._began.faults:
                nodes = self._page_map.nodes(chunk.addresses)
        if nodes is None:
            self._began = None
            return
        source = chunk.move.source
        self._left[source] = self._left.get(source, 0) + len(nodes) * chunk.page_size
        for node, count in enumerate(np.bincount(nodes + 1).tolist(), -1):
            if count:
                self._now[node] = self._now.get(node, 0) + count * chunk.page_size
                if node != source:
                    self._migrated += count * chunk.page_size // self._pages.kernel.page_size

    def after(self, before: dict[int, int]) -> dict[int, int] | None:
        """Bytes by node, from `before` and the pages that were read again. None if anything else has happened to the
        process's memory since: then all of it is to be read again."""
        if self._began is None or self._now.get(-1):
            return None
        now = read_stillness(self._pages.kernel, self._pages.pid)
        if now is None or now.moved_since(self._began) != self._migrated:
            return None
        nodes = sorted({*before, *self._now})
        out = {node: before.get(node, 0) - self._left.get(node, 0) + self._now.get(node, 0) for node in nodes}
        return {node: amount for node, amount in out.items() if amount}
