"""One process whose pages lie where a test says: maps, pagemap without frames, move_pages that only tells."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

import numpy as np

from backend.kernel import Numbers, Traits

PAGE = 4096
HIDDEN, ZERO, HOLE = -1, -2, -3
"""Pages that move_pages answers -ENOENT for, the zero page, and addresses without a page."""


@dataclass
class LaidOut:
    """`regions`: for each mapping the node of every page (int array), or one of the above. `starts`: where they begin.
    `records`: what PAGEMAP_SCAN gives at most in a call, 0 where there is none. `reads`: first entry and count of every
    read of the pagemap."""

    regions: list[np.ndarray]
    page_size: int = PAGE
    traits: Traits = field(default_factory=Traits)
    time: int = 0
    cost: int = 0
    asked: int = 0
    reads: list[tuple[int, int]] = field(default_factory=list)
    records: int = 0
    refuse: int = 0
    starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.starts = self.starts or [0x10000000 + (index << 36) for index in range(len(self.regions))]

    @property
    def truth(self) -> dict[int, int]:
        """Node → pages."""
        every = np.concatenate(self.regions)
        return {int(node): int((every == node).sum()) for node in np.unique(every[every >= 0])}

    @property
    def resident(self) -> int:
        return int((np.concatenate(self.regions) != HOLE).sum())

    def clock(self) -> int:
        return self.time

    def credentials(self) -> tuple[int, bool]:
        return 1000, False

    def listdir(self, path: str) -> list[str]:
        raise FileNotFoundError(errno.ENOENT, "no", path)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        if path.endswith("/maps"):
            data = "".join(
                f"{start:x}-{start + len(one) * PAGE:x} rw-p 00000000 00:00 0 \n"
                for start, one in zip(self.starts, self.regions, strict=True)
            ).encode()
            return data[offset:] if size < 0 else data[offset : offset + size]
        if path.endswith("/pagemap"):
            self.time += self.cost
            first, count = offset // 8, size // 8
            self.reads.append((first, count))
            out = np.zeros(count, np.uint64)
            for start, one in zip(self.starts, self.regions, strict=True):
                low, high = max(first, start // PAGE), min(first + count, start // PAGE + len(one))
                if low < high:
                    part = one[low - start // PAGE : high - start // PAGE]
                    out[low - first : high - first] = np.where(part != HOLE, np.uint64(1 << 63), np.uint64(0))
            return out.tobytes()
        raise FileNotFoundError(errno.ENOENT, "no", path)

    def pagemap_scan(self, pid: int, start: int, end: int, count: int) -> tuple[int, bytes]:
        if not self.records:
            raise OSError(errno.ENOTTY, "no")
        inside = [
            first + int(page) * PAGE
            for first, one in zip(self.starts, self.regions, strict=True)
            for page in np.flatnonzero(one != HOLE)
            if start <= first + int(page) * PAGE < end
        ]
        more = len(inside) > min(count, self.records)
        told = inside[: min(count, self.records)]
        records = np.array([(page, page + PAGE, 8) for page in told], np.uint64)
        return inside[len(told)] if more else end, records.tobytes()

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        assert nodes is None
        if self.refuse:
            raise OSError(self.refuse, "no")
        self.asked += len(pages)
        for index, address in enumerate(pages):
            for start, one in zip(self.starts, self.regions, strict=True):
                if start <= address < start + len(one) * PAGE:
                    told = int(one[(address - start) // PAGE])
                    status[index] = {HIDDEN: -errno.ENOENT, ZERO: -errno.EFAULT}.get(told, told)
        return 0


def mixed(rng: np.random.Generator) -> LaidOut:
    """Some mappings of very different size, each with pages on its own nodes, in runs or scattered, with holes."""
    regions: list[np.ndarray] = []
    for _ in range(int(rng.integers(1, 12))):
        size = int(2 ** rng.uniform(1, 14))
        share = rng.dirichlet(np.full(4, 0.3))
        nodes = rng.choice(4, size, p=share)
        if rng.random() < 0.5:
            nodes = np.sort(nodes)
        nodes[rng.random(size) < rng.choice([0, 0.3])] = HOLE
        regions.append(nodes)
    regions[0][0] = 0
    return LaidOut(regions)
