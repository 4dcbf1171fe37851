"""Indexing without needless copies: a slice for consecutive numbers, the batch itself for a mask that is all True."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
At = NDArray[np.intp] | slice
"""An index into a per-frame array."""
Pairs = tuple[NDArray[np.int32], NDArray[np.int32]]
Item = TypeVar("Item", bound=np.generic)
# Frames: in shorter batches the search for a run costs more than the slice saves.
_SHORT = 32
# Answers of span() that are cached, and the longest batch (frames) among them: the cache keeps its batches alive.
_KEPT, _KEPT_LENGTH = 8, 1 << 17
# Frames: the shortest average run that is worth cutting at its ends, and the batch size without such runs.
_LONG, _SCATTERED = 1024, 8192


def span(batch: NDArray[np.int32] | NDArray[np.int64]) -> At:
    """A slice if the numbers of the batch are consecutive and ascending, so that numpy gives views. Otherwise the batch
    as intp, the index type that numpy does not have to convert.

    The answers for the last few batches are cached: a batch passes through many functions and is never written to."""
    # The cache entry holds the batch, so its id() cannot be reused while the entry exists.
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
    """Cut pairs into batches of at most `stride`: where a run of consecutive numbers ends on either side, if runs are
    long, else into smaller batches that stay in the CPU cache."""
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
    """Positions where a new run starts within a batch. The list ends as soon as there are too many for parts()."""
    if isinstance(span(batch), slice):
        return []
    ends = np.flatnonzero(batch[1:] - batch[:-1] != 1)
    return (ends[: len(batch) // _LONG + 1] + 1).tolist()


def take(batch: NDArray[Item], at: NDArray[Any] | slice) -> NDArray[Item]:
    """`batch[at]`, or the batch itself if `at` selects all of it."""
    return batch if isinstance(at, slice) and at == slice(None) else batch[at]


def every(mask: Mask) -> bool:
    """`mask.all()`, but faster for masks of any size."""
    return np.count_nonzero(mask) == len(mask)


def pick(batch: NDArray[Item], mask: Mask) -> NDArray[Item]:
    """`batch[mask]`, or the batch itself if the mask selects all of it."""
    return batch if every(mask) else batch[mask]


def divide(
    mask: Mask, old: NDArray[Item], new: NDArray[Item]
) -> tuple[tuple[NDArray[Item], NDArray[Item]], tuple[NDArray[Item], NDArray[Item]]]:
    """(pairs that the mask selects, the other pairs)."""
    if every(mask):
        return (old, new), (old[:0], new[:0])
    rest = ~mask
    return (old[mask], new[mask]), (old[rest], new[rest])
