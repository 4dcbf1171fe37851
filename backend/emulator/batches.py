"""Batches without needless copies: a slice where numbers follow each other, the batch itself where a mask takes all of it."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
At = NDArray[np.intp] | slice
"""What to index with."""
Any1 = TypeVar("Any1", bound=np.generic)
_SHORT = 32
_LONG, _SCATTERED = 1024, 8192


def span(batch: NDArray[np.int32] | NDArray[np.int64]) -> At:
    """The slice of a batch whose numbers follow each other, so that numpy gives views; else the batch, as numpy's own index
    type, which it need not convert each time."""
    count = len(batch)
    if count >= _SHORT:
        first = batch.item(0)
        last = first + count - 1
        if batch.item(-1) == last and np.count_nonzero(batch[1:] > batch[:-1]) == count - 1:
            return slice(first, last + 1)
    return batch.astype(np.intp, copy=False)


def parts(stride: int, *batches: NDArray[np.int32]) -> list[slice]:
    """Where to cut batches of one length into parts of at most `stride`: where a run of numbers that follow each other ends
    in one of them, as long as the runs are long; else into smaller parts, which stay in the processor's cache."""
    count = len(batches[0])
    ends: list[int] = []
    if min(stride, count) >= _LONG:
        broken = np.flatnonzero(np.logical_or.reduce([np.diff(one) != 1 for one in batches])) + 1
        if len(broken) * _LONG <= count:
            ends = broken.tolist()
        else:
            stride = min(stride, _SCATTERED)
    starts = sorted({*range(0, count, stride), *ends})
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], count], strict=True)] if count else []


def every(mask: Mask) -> bool:
    """`mask.all()`, for large masks and small ones at a fraction of its cost."""
    return np.count_nonzero(mask) == len(mask)


def pick(batch: NDArray[Any1], mask: Mask) -> NDArray[Any1]:
    """`batch[mask]`; the batch itself where the mask takes all of it."""
    return batch if every(mask) else batch[mask]


def divide(
    mask: Mask, old: NDArray[Any1], new: NDArray[Any1]
) -> tuple[tuple[NDArray[Any1], NDArray[Any1]], tuple[NDArray[Any1], NDArray[Any1]]]:
    """Pairs that the mask takes, and the others."""
    if every(mask):
        return (old, new), (old[:0], new[:0])
    rest = ~mask
    return (old[mask], new[mask]), (old[rest], new[rest])
