"""Machine assembly. Only this module knows the implementation behind each hook."""

from __future__ import annotations

from backend.emulator.frames.pagevec import LruPagevecs
from backend.emulator.machine import Machine, MachineSpec
from backend.emulator.migration.mechanism import MigrationEntries, SwapEntries
from backend.emulator.migration.numa_balancing import NumaBalancing
from backend.emulator.storage.reclaim import Reclaimer
from backend.emulator.tasks.cpuset import Cpusets


def boot(spec: MachineSpec) -> Machine:
    """A machine at time zero: no tasks, no memory in use, kswapd running on each node."""
    m = Machine(spec)
    m.mechanism = MigrationEntries() if spec.profile.migration_entries else SwapEntries()
    m.pagevecs = LruPagevecs(m)
    m.reclaim = Reclaimer(m)
    m.cpusets = Cpusets(m, spec.cgroups or spec.profile.cgroups)
    m.balancing = NumaBalancing(m)
    return m
