"""Whether the memory of a process has stayed as it was: no page came, went, or was moved by anybody else.

A page comes by a fault, which /proc/PID/stat counts, or from elsewhere into its mappings, which changes its resident
size or /proc/PID/maps. A page that moves is counted in /proc/vmstat for the whole machine (pgmigrate_success in
migrate_pages(), mm/migrate.c). khugepaged and ksmd replace pages without a fault; they have counts of their own."""

from __future__ import annotations

from dataclasses import dataclass

from backend.errors import NumatuiError
from backend.kernel import Kernel
from backend.machine.kernel_info import read_or_nothing
from backend.process.process import read_stat

_MIGRATED = b"pgmigrate_success"
_REPLACED = (b"thp_collapse_alloc", b"ksm_swpin_copy", b"cow_ksm")
_MERGED = "/sys/kernel/mm/ksm/pages_sharing"


@dataclass(frozen=True, slots=True)
class Stillness:
    """The counts at one moment. `migrated`: base pages that have moved since boot. `faults`: of the process. `others`:
    everything else; if two are equal, nothing else has happened in between."""

    migrated: int
    faults: int
    others: tuple[object, ...]

    def moved_since(self, earlier: Stillness) -> int | None:
        """Base pages that have moved on this machine since. None if anything else has happened as well."""
        still = self.faults == earlier.faults and self.others == earlier.others
        return self.migrated - earlier.migrated if still else None


def read_stillness(kernel: Kernel, pid: int) -> Stillness | None:
    """None if the kernel does not show all of it. Never raises."""
    lines = read_or_nothing(kernel, "/proc/vmstat").splitlines()
    counts = {name: value for name, _, value in (line.partition(b" ") for line in lines)}
    try:
        stat = read_stat(kernel, pid)
        mappings = kernel.read(f"/proc/{pid}/maps")
        return Stillness(
            int(counts[_MIGRATED]),
            stat.faults,
            (
                stat.identity, stat.program, stat.rss, mappings,
                *(counts.get(name) for name in _REPLACED), read_or_nothing(kernel, _MERGED),
            ),
        )  # fmt: skip
    except (NumatuiError, OSError, KeyError, ValueError):
        return None
