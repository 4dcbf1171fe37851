"""How long a bar is, by how much memory it stands for. Pure."""

from __future__ import annotations

import math
from typing import Literal

Scale = Literal["size", "log", "full"]
SCALES: tuple[Scale, ...] = ("size", "log", "full")
"""What the length of a process's bar tells: its memory, the logarithm of it, nothing."""
_SMALLEST = 1 << 20
"""Bytes where the scale of logarithms begins."""


def cells_of(amount: int, most: int, width: int, scale: Scale) -> int:
    """The length of a bar for `amount` where `most` takes the whole `width`. What is there takes at least a cell."""
    if amount <= 0 or most <= 0:
        return 0
    share = amount / most
    if scale == "log":
        share = math.log(amount / _SMALLEST + 1) / math.log(most / _SMALLEST + 1)
    return width if scale == "full" else min(width, max(1, round(share * width)))
