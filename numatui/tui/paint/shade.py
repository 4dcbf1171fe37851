"""Shades from near to far, for the roles `heat:0` to `heat:9`. Pure."""

from __future__ import annotations

STEPS = 9


def heat_of(value: float, least: float, most: float) -> int:
    """0 for `least`, 9 for `most`."""
    return round((value - least) / (most - least) * STEPS) if most > least else 0
