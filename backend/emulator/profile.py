"""Profiles: the differences between the emulated kernels, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backend.emulator.storage.filesystem import TYPES_2_6, TYPES_6, FilesystemType
from backend.emulator.tasks.credentials import LINUX_2_6_15, LINUX_6, Rights
from backend.plan.remap import Rule

ProfileName = Literal["linux-6", "direct-v8", "swap-2.6.15"]


@dataclass(frozen=True, slots=True)
class Profile:
    """One kernel. `migration_entries`: PTEs of pages under migration hold migration entries, else swap entries.
    `strict_target`: a full target node stops the move with ENOMEM, else the allocator falls back to other nodes.
    `new_anon_active`: new anonymous pages enter the active LRU list. `chunk`: target frames allocated at once; 0
    allocates one at a time. `mlocked_flag`: mlocked pages have PG_mlocked and count as active (unevictable LRU).
    `rights`: the capabilities that the calls require. `cgroups`: default cgroup version. `remaps_preferred`: a change
    of a cpuset's mems also remaps MPOL_PREFERRED nodes. `swaps_out`: migrate_pages swaps pages out instead of moving
    them. `write_notify`: the first write to a clean page of a shared file mapping faults (since 2.6.19).
    `numa_balancing`: the kernel has automatic NUMA balancing. `pagevec_size`: new pages that a CPU holds back from the
    LRU. `checks_cpusets`: absent nodes in a cpuset's mems are refused, and CPU numbers beyond the last CPU are out of
    range; else absent nodes are ignored. `mbind_merges`: mbind() merges VMAs with equal policies (since 2.6.33).
    `fault_around`: pages that a read fault on a file looks at, mapping those that are cached (since 3.15)."""

    name: ProfileName
    release: str
    rule: Rule
    migration_entries: bool
    strict_target: bool
    has_move_pages: bool
    new_anon_active: bool
    chunk: int
    rights: Rights
    cgroups: Literal["v1", "v2"]
    mlocked_flag: bool
    pagevec_size: int
    remaps_preferred: bool = False
    swaps_out: bool = False
    numa_balancing: bool = False
    checks_cpusets: bool = False
    write_notify: bool = False
    mbind_merges: bool = False
    fault_around: int = 1
    filesystem_types: Mapping[str, FilesystemType] = field(default_factory=lambda: TYPES_2_6)


PROFILES: dict[str, Profile] = {
    "linux-6": Profile(
        "linux-6",
        "6.1.0-numatui",
        "linux-6",
        migration_entries=True,
        strict_target=True,
        has_move_pages=True,
        new_anon_active=False,
        chunk=0,
        rights=LINUX_6,
        cgroups="v2",
        mlocked_flag=True,
        pagevec_size=15,  # PAGEVEC_SIZE (include/linux/pagevec.h) of 6.1; 14 in 2.6.
        write_notify=True,
        filesystem_types=TYPES_6,
        numa_balancing=True,
        checks_cpusets=True,
        mbind_merges=True,
        fault_around=16,  # fault_around_bytes (mm/memory.c): 64 KiB.
    ),
    "direct-v8": Profile(
        "direct-v8",
        "2.6.15-rc5-mm3-direct-v8",
        "direct-v8",
        migration_entries=False,
        strict_target=False,
        has_move_pages=False,
        new_anon_active=True,
        chunk=256,  # MIGRATE_CHUNK_SIZE (2.6.17 mm/migrate.c).
        rights=LINUX_2_6_15,
        cgroups="v1",
        mlocked_flag=False,
        pagevec_size=14,
        remaps_preferred=True,
    ),
    "swap-2.6.15": Profile(
        "swap-2.6.15",
        "2.6.15-rc5-mm3",
        "direct-v8",
        migration_entries=False,
        strict_target=False,
        has_move_pages=False,
        new_anon_active=True,
        chunk=256,
        rights=LINUX_2_6_15,
        cgroups="v1",
        mlocked_flag=False,
        pagevec_size=14,
        remaps_preferred=True,
        swaps_out=True,
    ),
}
