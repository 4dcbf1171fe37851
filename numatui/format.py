"""Formats amounts and names for people and scripts, and parses sizes and times. Pure: no terminal, no toolkit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from backend.errors import UsageError
from backend.files import units

T = TypeVar("T")


def size(amount: float | None) -> str:
    """Bytes for people, in powers of 1024: 812K, 7.1G; `.` for less than one byte, `?` if unknown."""
    if amount is None:
        return "?"
    if amount < 1:
        return "."
    for unit in "BKMGTP":
        if amount < 1000 or unit == "P":
            return f"{amount:.0f}{unit}" if amount >= 10 or unit == "B" else f"{amount:.1f}{unit}"
        amount /= 1024
    raise AssertionError


def parse_size(text: str) -> int:
    """`512`, `100M`, `2GiB` → bytes (`backend.files.units`). Raises UsageError."""
    return _measured(text, units.parse_size)


def parse_duration(text: str, zero: bool = False) -> int:
    """`5ms`, `200us`, `1s`, `2m`, `1h` → nanoseconds, at least one unless `zero` (`backend.files.units`). Raises
    UsageError."""
    nanoseconds = round(_measured(text, units.parse_seconds) * 1e9)
    if not nanoseconds and not zero:
        raise UsageError(f"'{text}' is not more than zero", "write it like 5ms, 10s or 2m")
    return nanoseconds


def _measured(text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as exc:
        what, _, fix = str(exc).partition(": ")
        raise UsageError(f"'{text}' {what}", fix) from None


def count(number: float) -> str:
    """`812`, `1.2M`: with a letter for powers of 1000."""
    for unit in ("", "k", "M", "G"):
        if number < 1000 or unit == "G":
            return f"{number:.0f}{unit}" if not unit or number >= 100 else f"{number:.1f}{unit}"
        number /= 1000
    raise AssertionError


def percent(share: float | None) -> str:
    """`91%`, or `-` for None (a share of nothing)."""
    return "-" if share is None else f"{share * 100:.0f}%"


def duration(seconds: float) -> str:
    """`4 ms`, `2.5 s`, `3 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else f"{seconds * 1e6:.0f} µs"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def age(seconds: float) -> str:
    """The largest whole unit: `40 s`, `12 min`, `5 h`, `3 d`."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def exact(text: str) -> str:
    """A complete name for JSON, with undecodable bytes as `\\xff` (JSON itself escapes control characters)."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


BASIS = {"measured": "as measured here", "similar": "as measured between other nodes", "assumed": "assumed"}
"""Basis of the estimated time of a plan, in words."""
