"""Batches without needless copies: a slice where numbers follow each other, the batch itself where a mask takes all of
it."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
At = NDArray[np.intp] | slice
"""What to index with."""
Pairs = tuple[NDArray[np.int32], NDArray[np.int32]]
Item = TypeVar("Item", bound=np.generic)
_SHORT = 32
_KEPT, _KEPT_LENGTH = 8, 1 << 17
_LONG, _SCATTERED = 1024, 8192


def span(batch: NDArray[np.int32] | NDArray[np.int64]) -> At:
    """The slice of a batch whose numbers follow each other, so that numpy gives views; else the batch, as numpy's own
    index type, which it need not convert each time.

    The answers for the last few batches are kept: a batch goes through many functions and is never written to."""
    known = _recent.get(id(batch))
    if known is not None and known[0] is batch:
        return known[1]
    at = _span(batch)
    if _SHORT <= len(batch) <= _KEPT_LENGTH:
        if len(_recent) >= _KEPT:
            _recent.clear()
        _recent[id(batch)] = (batch, at)
    return at


_recent: dict[int, tuple[NDArray[np.int32] | NDArray[np.int64], At]] = {}


def _span(batch: NDArray[np.int32] | NDArray[np.int64]) -> At:
    count = len(batch)
    if count >= _SHORT:
        first = batch.item(0)
        last = first + count - 1
        if batch.item(-1) == last and np.count_nonzero(batch[1:] > batch[:-1]) == count - 1:
            return slice(first, last + 1)
    return batch.astype(np.intp, copy=False)


def parts(stride: int, old: NDArray[np.int32], new: NDArray[np.int32]) -> list[Pairs]:
    """Pairs, cut into batches of at most `stride`: where a run of numbers that follow each other ends on one side, as
    long as the runs are long; else into smaller batches, which stay in the processor's cache."""
    count = len(old)
    ends: list[int] = []
    if min(stride, count) >= _LONG:
        broken = sorted({*_ends(old), *_ends(new)})
        if len(broken) * _LONG <= count:
            ends = broken
        else:
            stride = min(stride, _SCATTERED)
    if count <= stride and not ends:
        return [(old, new)] if count else []
    starts = sorted({*range(0, count, stride), *ends})
    return [(old[a:b], new[a:b]) for a, b in zip(starts, [*starts[1:], count], strict=True)]


def _ends(batch: NDArray[np.int32]) -> list[int]:
    """Where runs end within a batch; of many a few, which are too many already."""
    if isinstance(span(batch), slice):
        return []
    ends = np.flatnonzero(batch[1:] - batch[:-1] != 1)
    return (ends[: len(batch) // _LONG + 1] + 1).tolist()


def take(batch: NDArray[Item], at: NDArray[Any] | slice) -> NDArray[Item]:
    """`batch[at]`; the batch itself where that is all of it."""
    return batch if isinstance(at, slice) and at == slice(None) else batch[at]


def every(mask: Mask) -> bool:
    """`mask.all()`, for large masks and small ones at a fraction of its cost."""
    return np.count_nonzero(mask) == len(mask)


def pick(batch: NDArray[Item], mask: Mask) -> NDArray[Item]:
    """`batch[mask]`; the batch itself where the mask takes all of it."""
    return batch if every(mask) else batch[mask]


def divide(
    mask: Mask, old: NDArray[Item], new: NDArray[Item]
) -> tuple[tuple[NDArray[Item], NDArray[Item]], tuple[NDArray[Item], NDArray[Item]]]:
    """Pairs that the mask takes, and the others."""
    if every(mask):
        return (old, new), (old[:0], new[:0])
    rest = ~mask
    return (old[mask], new[mask]), (old[rest], new[rest])
