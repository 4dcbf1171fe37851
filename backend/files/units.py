"""Sizes and times as people write them, in one grammar: on the command line, in scenarios, policies and settings."""

from __future__ import annotations

import re

MAX_SIZE = 1 << 60
"""Bytes: no size is larger."""
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,6})?)\s*([kKMGTP]?)(?:iB|B)?\Z", re.ASCII)
_TIME = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*(ns|us|µs|ms|s|min|m|h|d)?\Z", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """`512`, `100M`, `2GiB` → bytes, by powers of 1024. Raises ValueError."""
    match = _SIZE.match(text.strip())
    if not match:
        raise ValueError("is not a size: write it like 100M or 2GiB")
    unit = 1024 ** " KMGTP".index(match[2].upper() or " ")
    # whole numbers stay exact: a float has 53 bits only
    size = int(match[1]) * unit if match[1].isdecimal() else int(float(match[1]) * unit)
    if size > MAX_SIZE:
        raise ValueError("is too large")
    return size


def parse_seconds(text: str) -> float:
    """`200us`, `5ms`, `1s`, `2m` or `2min`, `1h`, `1d` → seconds; so is a number without a unit. Raises ValueError."""
    match = _TIME.match(text.strip())
    if not match:
        raise ValueError("is not a time: write it like 5ms, 10s or 2m")
    return float(match[1]) * _SECONDS[match[2] or "s"]
