"""Who migrates pages: the kernel's counters of /proc/vmstat by reason (mm/migrate.c, mm/vmscan.c). Pure.

The kernel counts every page that has moved in pgmigrate_success, and apart from that those of balancing, promotion and
demotion. What is left was moved by system calls (numatui's, migratepages', a program's own), by cpusets, by compaction,
by memory that went offline: it does not count these apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Migrator = Literal["balancing", "promotion", "demotion", "others"]
MIGRATORS: tuple[Migrator, ...] = ("balancing", "promotion", "demotion", "others")
WHOLE = "pgmigrate_success"
DEMOTIONS = ("pgdemote_kswapd", "pgdemote_direct", "pgdemote_khugepaged", "pgdemote_proactive")
"""By who reclaims; khugepaged since 6.6, proactive since 6.15."""
PROMOTION, BALANCING = "pgpromote_success", "numa_pages_migrated"


def by_migrator(counters: Mapping[str, float]) -> dict[Migrator, float]:
    """Pages by who moved them; of what the kernel counts. Empty without the counters. `counters`: since boot, or a
    second."""
    if WHOLE not in counters:
        return {}
    demoted = sum(counters.get(name, 0) for name in DEMOTIONS)
    promoted = counters.get(PROMOTION, 0)
    # Promotion is part of NUMA balancing: migrate_misplaced_folio() counts both.
    balanced = max(0, counters.get(BALANCING, 0) - promoted)
    rest = max(0, counters[WHOLE] - balanced - promoted - demoted)
    out: dict[Migrator, float] = {"others": rest}
    if BALANCING in counters:
        out["balancing"] = balanced
    if PROMOTION in counters:
        out["promotion"] = promoted
    if any(name in counters for name in DEMOTIONS):
        out["demotion"] = demoted
    return {name: out[name] for name in MIGRATORS if name in out}
