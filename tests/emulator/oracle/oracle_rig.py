"""Rows measured on a real 4-node kernel (Linux 6.1), and who drives which of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tests import DATA
from tests.emulator.rig import Me

Row = dict[str, Any]
TABLES: dict[str, list[Row]] = json.loads((DATA / "syscalls_rows.json").read_text())
ROWS = {row["case"]: row for rows in TABLES.values() for row in rows}
MODES = {
    "bind": 2,
    "interleave": 3,
    "local": 4,
    "prefer": 1,
    "preferred": 1,
    "preferred_many": 5,
    "default": 0,
}

DRIVERS: list[tuple[re.Pattern[str], Callable[..., Row]]] = []


def drives(pattern: str) -> Callable[[Callable[..., Row]], Callable[..., Row]]:
    """A driver for the rows whose case matches: given the row and the groups, it returns what the machine did."""

    def register(driver: Callable[..., Row]) -> Callable[..., Row]:
        DRIVERS.append((re.compile(pattern), driver))
        return driver

    return register


def driver_of(case: str) -> tuple[Callable[..., Row], tuple[str, ...]] | None:
    found = [(driver, match.groups()) for pattern, driver in DRIVERS if (match := pattern.fullmatch(case))]
    assert len(found) < 2, f"two drivers for {case!r}"
    return found[0] if found else None


def nodes_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def me_with(layout: dict[int, int] | None = None, size: int = 0, **options: Any) -> Me:
    """A task that runs on node 1 (as the measured one), with one mapping of the layout or of `size` untouched pages."""
    me = Me(cpu=2, **options)
    me.region(layout, size)
    return me
