"""Which files of a machine are recorded: by pattern, per process, per cgroup."""

from __future__ import annotations

from collections.abc import Iterator

from backend.cgroup.cgroups import Hierarchy, find_hierarchies, read_file, walk
from backend.errors import NumatuiError
from backend.files.patterns import expand, harmless
from backend.kernel import Kernel
from backend.recording.limits import MAX_FILE, fits

ONCE = (
    "/proc/cpuinfo", "/proc/filesystems", "/proc/version",
    "/proc/sys/kernel/osrelease", "/proc/sys/kernel/hostname",
    "/sys/devices/system/cpu/cpu[0-9]*/topology/*",
    "/sys/devices/system/cpu/cpu[0-9]*/cache/index*/*",
    "/sys/devices/system/memory/block_size_bytes",
)  # fmt: skip
"""Files that do not change while a machine runs: in the first sample only."""
ALWAYS = (
    "/proc/meminfo", "/proc/stat", "/proc/vmstat", "/proc/zoneinfo", "/proc/buddyinfo", "/proc/uptime", "/proc/loadavg",
    "/proc/swaps", "/proc/self/mounts", "/proc/cgroups", "/proc/pressure/*",
    "/proc/sys/kernel/numa_balancing", "/proc/sys/vm/zone_reclaim_mode", "/proc/sys/vm/overcommit_memory",
    "/proc/numatui/*", "/proc/numatui/frames/*",
    "/sys/devices/system/node/*",
    "/sys/devices/system/node/node[0-9]*/*",
    "/sys/devices/system/node/node[0-9]*/hugepages/*/*",
    "/sys/devices/system/node/node[0-9]*/access[0-9]/*/*",
    "/sys/devices/system/node/node[0-9]*/access[0-9]/initiators/node[0-9]*/cpulist",
    "/sys/devices/system/node/node[0-9]*/memory_side_cache/index*/*",
    "/sys/devices/system/cpu/*",
    "/sys/devices/system/cpu/cpu[0-9]*/online",
    "/sys/devices/virtual/memory_tiering/*/nodelist",
    "/sys/kernel/mm/hugepages/*/*", "/sys/kernel/mm/transparent_hugepage/*", "/sys/kernel/mm/numa/*",
)  # fmt: skip
"""Files that may change."""
PROCESS = ("stat", "status", "cmdline", "comm", "cgroup", "cpuset", "maps", "numa_maps")
"""Files of each process. Reading numa_maps stalls the process: it holds the mmap lock."""
THREAD = ("stat", "comm")
_CGROUP = ("cgroup.", "cpuset.", "memory.", "pids.", "cpu.", "tasks", "mems", "cpus")
# Control files that are only written, or need an eventfd.
_NOT_CGROUP = (
    "cgroup.kill",
    "cgroup.event_control",
    "memory.reclaim",
    "memory.pressure_level",
    "memory.force_empty",
)


def lasting_files(kernel: Kernel) -> Iterator[tuple[str, bytes]]:
    """Path and contents of the files that do not change."""
    for pattern in ONCE:
        for path in expand(pattern, kernel.listdir, {}):
            yield from _read(kernel, path)


def files(kernel: Kernel) -> Iterator[tuple[str, bytes]]:
    """Path and contents of all other files, as they are now. Files that vanish or cannot be read are left out. Some may
    appear twice. Raises OSError if /proc cannot be listed."""
    for pattern in ALWAYS:
        for path in expand(pattern, kernel.listdir, {}):
            yield from _read(kernel, path)
    yield from _processes(kernel)
    yield from _cgroups(kernel)


def hierarchies(kernel: Kernel) -> list[Hierarchy]:
    """The mounted hierarchies; empty if there are none."""
    try:
        return find_hierarchies(kernel)
    except NumatuiError:
        return []


def _list(kernel: Kernel, path: str) -> list[str]:
    try:
        return kernel.listdir(path)
    except OSError:
        return []


def _read(kernel: Kernel, path: str) -> Iterator[tuple[str, bytes]]:
    """Nothing if it cannot be read, or is too large for a recording."""
    try:
        data = kernel.read(path) if fits(path) else None
    except OSError:
        return
    if data is not None and len(data) <= MAX_FILE:
        yield path, data


def _processes(kernel: Kernel) -> Iterator[tuple[str, bytes]]:
    for name in kernel.listdir("/proc"):
        if not (name.isascii() and name.isdigit()):
            continue
        for file in PROCESS:
            yield from _read(kernel, f"/proc/{name}/{file}")
        for tid in _list(kernel, f"/proc/{name}/task"):
            if tid.isascii() and tid.isdigit():
                for file in THREAD:
                    yield from _read(kernel, f"/proc/{name}/task/{tid}/{file}")


def _cgroups(kernel: Kernel) -> Iterator[tuple[str, bytes]]:
    for hierarchy in hierarchies(kernel):
        try:
            for one in walk(kernel, hierarchy):
                for name in sorted(one.names):
                    if not name.startswith(_CGROUP) or name in _NOT_CGROUP or not harmless(name):
                        continue
                    path = f"{hierarchy.directory(one.path)}/{name}"
                    data = read_file(kernel, hierarchy, one, name) if fits(path) else None
                    if data is not None and len(data) <= MAX_FILE:
                        yield path, data
        except NumatuiError:
            continue
