"""Profiles: the differences between the emulated kernels, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from backend.emulator.storage.filesystem import TYPES_2_6, TYPES_6, FilesystemType
from backend.emulator.tasks.cgroup import Version
from backend.emulator.tasks.credentials import LINUX_2_6_15, LINUX_6, Rights
from backend.plan.remap import Rule

ProfileName = Literal["linux-7", "linux-6", "direct-v8", "swap-2.6.15"]


@dataclass(frozen=True, slots=True)
class Profile:
    """One kernel."""

    name: ProfileName
    release: str
    rule: Rule
    migration_entries: bool
    """PTEs of pages under migration hold migration entries, else swap entries."""
    strict_target: bool
    """A full target node stops the move with ENOMEM, else the allocator falls back to other nodes."""
    has_move_pages: bool
    new_anon_active: bool
    """New anonymous pages enter the active LRU list."""
    chunk: int
    """Target frames allocated at once; 0 allocates one at a time."""
    rights: Rights
    """The capabilities that the calls require."""
    cgroups: Version
    """The default."""
    mlocked_flag: bool
    """mlocked pages have PG_mlocked and count as active (unevictable LRU)."""
    pagevec_size: int
    """New pages that a CPU holds back from the LRU."""
    remaps_preferred: bool = False
    """A change of a cpuset's mems also remaps MPOL_PREFERRED nodes."""
    swaps_out: bool = False
    """migrate_pages swaps pages out instead of moving them."""
    numa_balancing: bool = False
    """There is automatic NUMA balancing."""
    cpusets_v1: bool = True
    """Cpusets of cgroup v1 are built in."""
    checks_cpusets: bool = False
    """Absent nodes in a cpuset's mems are refused, and CPU numbers beyond the last CPU are out of range; else absent
    nodes are ignored."""
    write_notify: bool = False
    """The first write to a clean page of a shared file mapping faults (since 2.6.19)."""
    mbind_merges: bool = False
    """mbind() merges VMAs with equal policies (since 2.6.33)."""
    fault_around: int = 1
    """Pages that a read fault on a file looks at, mapping those that are cached (since 3.15)."""
    cuts_offsets: bool = True
    """Interleaving counts the lower 32 bits of a page's offset (before 6.7)."""
    holds_lock: bool = True
    """migrate_pages holds mmap_sem for the whole move (before 6.7)."""
    folio_walk: bool = False
    """move_pages looks at page tables by itself (since 6.12)."""
    pagemap_scan: bool = False
    """There is the ioctl PAGEMAP_SCAN (since 6.7)."""
    weighted_interleave: bool = False
    """There is the policy (since 6.9)."""
    empty_mems: bool = False
    """A v2 cpuset with tasks may lose its mems and CPUs to an empty line (7.2; not 6.12)."""
    huge_over_zero: bool = False
    """A write to the huge zero page maps a new huge page (since 6.13)."""
    tiers: bool = False
    """Nodes are sorted into memory tiers by what the firmware's HMAT says (since 6.8)."""
    damon: bool = False
    """There is DAMON, with its files in sysfs (since 5.18)."""
    filesystem_types: Mapping[str, FilesystemType] = field(default_factory=lambda: TYPES_2_6)

    @property
    def cgroup_versions(self) -> tuple[Version, ...]:
        """Those that a machine can have, its default first."""
        return (self.cgroups, "v1") if self.cgroups == "v2" and self.cpusets_v1 else (self.cgroups,)


_LINUX_6 = Profile(
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
    damon=True,
    mbind_merges=True,
    fault_around=16,  # fault_around_bytes (mm/memory.c): 64 KiB.
)
_LINUX_7 = replace(
    _LINUX_6,
    name="linux-7",
    release="7.2.0-numatui",
    cuts_offsets=False,
    holds_lock=False,
    folio_walk=True,
    pagemap_scan=True,
    weighted_interleave=True,
    cpusets_v1=False,
    empty_mems=True,
    huge_over_zero=True,
    tiers=True,
)
_DIRECT_V8 = Profile(
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
)
PROFILES: dict[str, Profile] = {
    "linux-7": _LINUX_7,
    "linux-6": _LINUX_6,
    "direct-v8": _DIRECT_V8,
    "swap-2.6.15": replace(_DIRECT_V8, name="swap-2.6.15", release="2.6.15-rc5-mm3", swaps_out=True),
}
