"""Batches without needless copies: a slice where numbers follow each other, the batch itself where a mask takes all of it."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Numbers = TypeVar("Numbers", NDArray[np.int32], NDArray[np.int64])
Any1 = TypeVar("Any1", bound=np.generic)
_SHORT = 32


def span(batch: Numbers) -> Numbers | slice:
    """What to index with: the slice of a batch whose numbers follow each other, so that numpy gives views; else the batch."""
    count = len(batch)
    if count < _SHORT or int(batch[-1]) - int(batch[0]) != count - 1 or not (batch[1:] > batch[:-1]).all():
        return batch
    return slice(int(batch[0]), int(batch[0]) + count)


def pick(batch: NDArray[Any1], mask: Mask) -> NDArray[Any1]:
    """`batch[mask]`; the batch itself where the mask takes all of it."""
    return batch if mask.all() else batch[mask]


def divide(
    mask: Mask, old: NDArray[Any1], new: NDArray[Any1]
) -> tuple[tuple[NDArray[Any1], NDArray[Any1]], tuple[NDArray[Any1], NDArray[Any1]]]:
    """Pairs that the mask takes, and the others."""
    if mask.all():
        return (old, new), (old[:0], new[:0])
    rest = ~mask
    return (old[mask], new[mask]), (old[rest], new[rest])
