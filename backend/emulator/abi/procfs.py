"""All files of an emulated machine that the seam reads: `ROUTES` has the modules that render /proc, /sys and /etc.
Files of the whole machine are rendered here. A file is rendered when it is read."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

from backend.emulator.abi import (
    cgroupfs,
    kpageflags,
    proc_numatui,
    proc_pid,
    sysfs_cpu,
    sysfs_damon,
    sysfs_hugepages,
    sysfs_memory,
    sysfs_node,
    sysfs_tiers,
)
from backend.emulator.abi.proc_pid import part
from backend.emulator.abi.sysfs_node import counters
from backend.emulator.machine import Machine
from backend.emulator.tasks.credentials import Caller, Cap
from backend.errors import os_error
from backend.nodeset import CpuSet, NodeSet


def read(m: Machine, caller: Caller, path: str, offset: int, size: int) -> bytes:
    """A file's bytes. Raises OSError ENOENT, ESRCH, EACCES as the kernel does."""
    for route in ROUTES:
        if (data := route.read(m, caller, path, offset, size)) is not None:
            return data
    raise os_error(errno.ENOENT, path)


def listdir(m: Machine, path: str) -> list[str]:
    """The names in a directory. Raises OSError ENOENT."""
    path = path.rstrip("/") or "/"
    for route in ROUTES:
        if (names := route.listdir(m, path)) is not None:
            return names
    raise os_error(errno.ENOENT, path)


def _vmstat(m: Machine) -> bytes:
    """Counters of this kernel, including those that are still zero."""
    names = ["pgmigrate_success", "pgmigrate_fail"] if m.profile.rule == "linux-6" else []
    names += ["numa_pages_migrated"] if m.profile.numa_balancing else []
    return counters({**dict.fromkeys(names, 0), **m.counters})


def _meminfo(m: Machine) -> bytes:
    kilo = m.page_size // 1024
    zones = m.frames.zones.values()
    values = {
        "MemTotal": sum(zone.pages - zone.kept_out for zone in zones), "MemFree": sum(zone.free for zone in zones),
        "SwapCached": sum(zone.nr_swapcached for zone in zones), "AnonPages": sum(zone.nr_anon for zone in zones),
        "Cached": sum(zone.nr_file for zone in zones), "Shmem": sum(zone.nr_shmem for zone in zones),
        "SwapTotal": m.swap.total, "SwapFree": min(m.swap.free, m.swap.total),
    }  # fmt: skip
    return "".join(f"{key + ':':<16}{value * kilo:>8} kB\n" for key, value in values.items()).encode()


def _zoneinfo(m: Machine) -> bytes:
    return "".join(
        f"Node {zone.nid}, zone   Normal\n  pages free     {zone.free}\n        boost    0\n        min      "
        f"{zone.wmark_min}\n"
        f"        low      {zone.wmark_low}\n        high     {zone.wmark_high}\n        spanned  {zone.pages}\n"
        f"        present  {zone.pages}\n        managed  {zone.pages}\n  start_pfn:           {zone.start}\n"
        for zone in m.frames.zones.values()
        if zone.pages
    ).encode()


def _proc_stat(m: Machine) -> bytes:
    ticks = dict.fromkeys(sorted(m.node_of_cpu), 0)
    for task in m.tasks.values():
        for thread in task.threads:
            ticks[thread.cpu] += int(thread.ticks)
    up = int(m.now * 100)
    lines = [f"cpu{cpu} {used} 0 0 {max(0, up - used)} 0 0 0 0 0 0" for cpu, used in ticks.items()]
    total = sum(ticks.values())
    return "\n".join([f"cpu  {total} 0 0 {max(0, up * len(ticks) - total)} 0 0 0 0 0 0", *lines, ""]).encode()


def _swaps(m: Machine) -> bytes:
    kilo = m.page_size // 1024
    area = f"/swap file {m.swap.slots * kilo} {m.swap.used * kilo} -1\n" if m.swap.total else ""
    return f"Filename Type Size Used Priority\n{area}".encode()


def _passwd(m: Machine) -> bytes:
    return "".join(f"{name}:x:{uid}:{uid}::/:/bin/false\n" for uid, name in sorted(m.users.items())).encode()


def _list(ids: NodeSet | CpuSet) -> bytes:
    return f"{ids}\n".encode()


def _cpus(m: Machine) -> bytes:
    return _list(CpuSet(m.node_of_cpu))


_MACHINE_FILES: dict[str, Callable[[Machine], bytes]] = {
    "/proc/meminfo": _meminfo,
    "/proc/cpuinfo": sysfs_cpu.cpuinfo,
    "/proc/vmstat": _vmstat,
    "/proc/zoneinfo": _zoneinfo,
    "/proc/stat": _proc_stat,
    "/proc/swaps": _swaps,
    "/proc/uptime": lambda m: f"{m.now:.2f} 0.00\n".encode(),
    "/proc/version": lambda m: f"Linux version {m.profile.release} (numatui) #1 SMP\n".encode(),
    "/proc/sys/kernel/osrelease": lambda m: f"{m.profile.release}\n".encode(),
    "/proc/sys/kernel/numa_balancing": lambda m: b"%d\n" % m.balancing.mode,
    "/proc/sys/vm/zone_reclaim_mode": lambda m: b"0\n",
    "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size": lambda m: b"%d\n" % (m.frames.huge * m.page_size),
    "/etc/passwd": _passwd,
    "/sys/devices/system/node/online": lambda m: _list(m.node_ids),
    "/sys/devices/system/node/possible": lambda m: _list(m.node_ids),
    "/sys/devices/system/node/has_cpu": lambda m: _list(NodeSet(node.id for node in m.nodes.values() if node.cpus)),
    "/sys/devices/system/node/has_memory": lambda m: _list(m.memory_nodes),
    "/sys/devices/system/node/has_normal_memory": lambda m: _list(m.memory_nodes),
    "/sys/devices/system/cpu/online": _cpus,
    "/sys/devices/system/cpu/possible": _cpus,
    "/sys/devices/system/cpu/present": _cpus,
}


def _nothing(m: Machine, path: str) -> None:
    """No directories."""


class Route(NamedTuple):
    """The functions for some paths. Both return None for a path of another route; the first answer counts."""

    read: Callable[[Machine, Caller, str, int, int], bytes | None]
    listdir: Callable[[Machine, str], list[str] | None] = _nothing


def _whole(render: Callable[[Machine, str], bytes | None]) -> Callable[[Machine, Caller, str, int, int], bytes | None]:
    """The `read` of a file that is rendered completely; a read returns a part."""

    def read_part(m: Machine, caller: Caller, path: str, offset: int, size: int) -> bytes | None:
        data = render(m, path)
        return None if data is None else part(data, offset, size)

    return read_part


def _read_cgroup(m: Machine, path: str) -> bytes | None:
    return cgroupfs.read(m, path) if cgroupfs.owns(path) else None


def _list_cgroup(m: Machine, path: str) -> list[str] | None:
    return cgroupfs.listdir(m, path) if cgroupfs.owns(path) else None


def _read_kpageflags(m: Machine, caller: Caller, path: str, offset: int, size: int) -> bytes | None:
    if path != kpageflags.PATH:
        return None
    if not caller.can(Cap.SYS_ADMIN):
        raise os_error(errno.EACCES, path)
    return kpageflags.read(m, offset, size)


def _read_damon(m: Machine, caller: Caller, path: str, offset: int, size: int) -> bytes | None:
    data = sysfs_damon.read(m, caller, path)
    return None if data is None else part(data, offset, size)


def _read_machine(m: Machine, path: str) -> bytes | None:
    render = _MACHINE_FILES.get(path)
    return None if render is None else render(m)


def _list_machine(m: Machine, path: str) -> list[str] | None:
    """The directories above the machine's files, with the processes and nodes in two of them."""
    prefix = path.rstrip("/") + "/"
    children = [name[len(prefix) :].partition("/")[0] for name in _MACHINE_FILES if name.startswith(prefix)]
    if path == "/proc":
        children = [*map(str, m.tasks), "numatui", *children]
    elif path == "/sys/devices/system/node":
        children = [*(f"node{node}" for node in m.nodes), *children]
    return [*sysfs_cpu.listdir(m, path), *dict.fromkeys(children)] or None


ROUTES = (
    Route(_whole(_read_cgroup), _list_cgroup),
    Route(_read_kpageflags),
    Route(_whole(sysfs_memory.read), sysfs_memory.listdir),
    Route(_whole(sysfs_hugepages.read), sysfs_hugepages.listdir),
    Route(_whole(sysfs_tiers.read), sysfs_tiers.listdir),
    Route(_read_damon, sysfs_damon.listdir),
    Route(_whole(proc_numatui.read), proc_numatui.listdir),
    Route(proc_pid.read, proc_pid.listdir),
    Route(_whole(sysfs_node.read), sysfs_node.listdir),
    Route(_whole(sysfs_cpu.read)),
    Route(_whole(_read_machine), _list_machine),
)
