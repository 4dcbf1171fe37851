"""What the seam reads: /proc, /sys and /etc as files of an emulated machine, rendered when they are read."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from backend.emulator.abi import cgroupfs, kpageflags, proc_numatui, sysfs_cpu, sysfs_hugepages, sysfs_memory
from backend.emulator.frames.zone import Zone
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_PRESENT, PTE_SHIFT, PTE_SWAP, PTE_ZERO, VM
from backend.emulator.storage.filesystem import AddressSpace
from backend.emulator.tasks.credentials import Caller, Cap
from backend.emulator.tasks.permissions import may_access
from backend.emulator.tasks.task import Task, Thread
from backend.errors import os_error
from backend.nodeset import CpuSet, NodeSet

_NODE = re.compile(r"/sys/devices/system/node/node(\d+)(?:/(\w+))?\Z")
_PROCESS = re.compile(r"/proc/(\d+)(?:/(\w+))?\Z")
_THREAD = re.compile(r"/proc/(\d+)/task/(\d+)/(\w+)\Z")
_PAGEMAP_PRESENT, _PAGEMAP_SWAP, _PAGEMAP_FILE, _PAGEMAP_EXCLUSIVE = 1 << 63, 1 << 62, 1 << 61, 1 << 56
_OCTAL = {byte: f"\\{byte:03o}" for byte in b" \t\n\\"}
_HUGETLB = int(VM.HUGETLB)
_OWNER_ONLY = ("numa_maps", "maps", "pagemap")
_PF_KTHREAD = 0x00200000


def read(m: Machine, caller: Caller, path: str, offset: int, size: int) -> bytes:
    """A file's bytes. OSError ENOENT, ESRCH, EACCES as the kernel has them."""
    if match := _PROCESS.match(path):
        task = m.tasks.get(int(match[1]))
        if task is None or match[2] is None:
            raise os_error(errno.ENOENT, path)
        return _read_process(m, caller, task, match[2], path, offset, size)
    if match := _THREAD.match(path):
        task = m.tasks.get(int(match[1]))
        thread = next((one for one in task.threads if one.tid == int(match[2])), None) if task else None
        if task is None or thread is None or match[3] not in ("stat", "comm"):
            raise os_error(errno.ENOENT, path)
        data = _stat(m, task, thread, [thread]) if match[3] == "stat" else thread.name + b"\n"
        return _slice(data, offset, size)
    if match := _NODE.match(path):
        node = int(match[1])
        render = _NODE_FILES.get(match[2] or "")
        if node not in m.nodes or render is None:
            raise os_error(errno.ENOENT, path)
        return _slice(render(m, node), offset, size)
    if path == kpageflags.PATH:
        if not caller.can(Cap.SYS_ADMIN):
            raise os_error(errno.EACCES, path)
        return kpageflags.read(m, offset, size)
    if cgroupfs.owns(path):
        return _slice(cgroupfs.read(m, path), offset, size)
    for place in (sysfs_cpu, sysfs_memory, sysfs_hugepages, proc_numatui):
        if (data := place.read(m, path)) is not None:
            return _slice(data, offset, size)
    render_machine = _MACHINE_FILES.get(path)
    if render_machine is None:
        raise os_error(errno.ENOENT, path)
    return _slice(render_machine(m), offset, size)


def listdir(m: Machine, path: str) -> list[str]:
    """The names in a directory. OSError ENOENT."""
    path = path.rstrip("/") or "/"
    if cgroupfs.owns(path):
        return cgroupfs.listdir(m, path)
    for place in (sysfs_memory, sysfs_hugepages, proc_numatui):
        if (names := place.listdir(m, path)) is not None:
            return names
    if path == "/proc":
        return [*map(str, m.tasks), "numatui", *_children("/proc")]
    if path == "/sys/devices/system/node":
        return [*(f"node{node}" for node in m.nodes), *_children(path)]
    if match := _NODE.match(path):
        if int(match[1]) in m.nodes and match[2] is None:
            return [*_NODE_FILES, "hugepages", *sysfs_memory.of_node(m, int(match[1]))]
    elif match := re.match(r"/proc/(\d+)(/task)?\Z", path):
        task = m.tasks.get(int(match[1]))
        if task is not None:
            return [str(thread.tid) for thread in task.threads] if match[2] else [*_PROCESS_FILES, *_OWNER_ONLY, "task"]
    elif match := re.match(r"/proc/(\d+)/task/(\d+)\Z", path):
        task = m.tasks.get(int(match[1]))
        if task is not None and any(thread.tid == int(match[2]) for thread in task.threads):
            return ["stat", "comm"]
    elif names := [*sysfs_cpu.listdir(m, path), *_children(path)]:
        return names
    raise os_error(errno.ENOENT, path)


def _children(path: str) -> list[str]:
    prefix = path.rstrip("/") + "/"
    return list(
        dict.fromkeys(name[len(prefix) :].partition("/")[0] for name in _MACHINE_FILES if name.startswith(prefix))
    )


def _slice(data: bytes, offset: int, size: int) -> bytes:
    return data[offset:] if size < 0 else data[offset : offset + size]


def _read_process(m: Machine, caller: Caller, task: Task, name: str, path: str, offset: int, size: int) -> bytes:
    if name in _OWNER_ONLY:
        if not may_access(m, task, caller):
            raise os_error(errno.EACCES, path)
        if name == "pagemap":
            return _pagemap(m, task, offset, size, caller.can(Cap.SYS_ADMIN))
        return _slice(_numa_maps(m, task) if name == "numa_maps" else _maps(task), offset, size)
    render = _PROCESS_FILES.get(name)
    if render is None:
        raise os_error(errno.ENOENT, path)
    return _slice(render(m, task), offset, size)


def _stat(m: Machine, task: Task, thread: Thread, threads: Sequence[Thread]) -> bytes:
    """`threads`: whose CPU time counts, all of them in the file of the process (do_task_stat())."""
    ticks = int(sum(one.ticks for one in threads))
    mm = task.mm
    size = sum(vma.pages for vma in mm.vmas) if mm else 0
    rss = mm.rss if mm else 0
    state = "R" if thread.rate else "S"
    flags = _PF_KTHREAD if mm is None else 0
    fields = [
        state,
        task.ppid,
        task.pid,
        task.pid,
        0,
        -1,
        flags,
        task.min_flt,
        0,
        0,
        0,
        ticks,
        0,
        0,
        0,
        20,
        0,
        len(task.threads),
        0,
        task.start_time,
        size * m.page_size,
        rss,
        18446744073709551615,
        *[0] * 12,
        17,
        thread.cpu,
        *[0] * 13,
    ]
    return b"%d (%s) " % (thread.tid, thread.name) + " ".join(map(str, fields)).encode() + b"\n"


def _status(m: Machine, task: Task) -> bytes:
    swap = sum(vma.nr_swap for vma in task.mm.vmas) * m.page_size // 1024 if task.mm else 0
    rss = (task.mm.rss if task.mm else 0) * m.page_size // 1024
    name = task.name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    return (
        b"Name:\t"
        + name
        + (
            f"\nState:\tS (sleeping)\nTgid:\t{task.pid}\nPid:\t{task.pid}\nPPid:\t{task.ppid}\n"
            f"Uid:\t{task.uid}\t{task.uid}\t{task.suid}\t{task.uid}\nVmRSS:\t{rss:8} kB\nVmSwap:\t{swap:8} kB\n"
            f"Threads:\t{len(task.threads)}\nCpus_allowed_list:\t{task.cpus_allowed}\n"
            f"{cgroupfs.status_lines(m, task)}"
        ).encode()
    )


def _numa_maps(m: Machine, task: Task) -> bytes:
    """show_numa_map(): counts kept with the VMA, so the cost is per VMA."""
    lines: list[str] = []
    names: dict[int, str] = {}
    base = f" kernelpagesize_kB={m.page_size // 1024}\n"
    for vma in task.mm.vmas if task.mm else ():
        policy = vma.policy_at(0) or task.policy
        name = names.get(id(policy)) or names.setdefault(id(policy), str(policy))
        line = f"{vma.start:08x} {name}"
        if vma.file is not None:
            line += f" file={_file_name(vma.file)}"
        elif vma.kind in ("heap", "stack"):
            line += f" {vma.kind}"
        nodes = vma.nr_node.tolist()
        pages, anon, dirty, active = sum(nodes), vma.nr_anon, vma.nr_dirty, vma.nr_active
        tail = base
        if int(vma.flags) & _HUGETLB:
            unit = m.frames.huge
            line += " file=/anon_hugepage\\040(deleted) huge"
            nodes = [count // unit for count in nodes]
            pages, anon, dirty = pages // unit, anon // unit, dirty // unit
            active = pages
            tail = f" kernelpagesize_kB={m.page_size * unit // 1024}\n"
        if not pages:
            lines.append(line + "\n")
            continue
        if anon:
            line += f" anon={anon}"
        if dirty:
            line += f" dirty={dirty}"
        if pages != anon and pages != dirty:
            line += f" mapped={pages}"
        mapmax = m.rmap.mapmax(m.frames, vma)
        if mapmax > 1:
            line += f" mapmax={mapmax}"
        if active < pages:
            line += f" active={active}"
        for node, count in enumerate(nodes):
            if count:
                line += f" N{node}={count}"
        lines.append(line + tail)
    return "".join(lines).encode("latin-1")


def _file_name(space: AddressSpace) -> str:
    """The path as seq_file writes it: blanks, newlines and backslashes in octal (mangle_path())."""
    return _mangled(space.path, space.unlinked)


@lru_cache(maxsize=4096)
def _mangled(path: str, unlinked: bool) -> str:
    raw = path.encode("utf-8", "surrogateescape") + (b" (deleted)" if unlinked else b"")
    return raw.decode("latin-1").translate(_OCTAL)


def _maps(task: Task) -> bytes:
    out: list[str] = []
    for vma in task.mm.vmas if task.mm else ():
        mode = ("w" if vma.flags & VM.WRITE else "-") + "-" + ("s" if vma.shared else "p")
        name, offset, inode = "", 0, 0
        if vma.file is not None:
            name, offset, inode = _file_name(vma.file), vma.pgoff * vma.mm.page_size, -vma.file.id
        elif vma.kind in ("heap", "stack"):
            name = f"[{vma.kind}]"
        place = f"{vma.start:08x}-{vma.end:08x} r{mode} {offset:08x} 00:{1 if inode else 0:02x} {inode}"
        out.append(f"{place:<72} {name}".rstrip() + "\n" if name else f"{place} \n")
    return "".join(out).encode("latin-1")


def _pagemap(m: Machine, task: Task, offset: int, size: int, privileged: bool) -> bytes:
    """64 bits a virtual page: bit 63 present, 62 swapped, 61 a file's, 56 mapped by one PTE only; low bits the frame (0
    for the unprivileged)."""
    first, count = offset // 8, (size if size >= 0 else 0) // 8
    out = np.zeros(count, np.uint64)
    for vma in task.mm.vmas if task.mm else ():
        start = vma.start // m.page_size
        low, high = max(first, start), min(first + count, start + vma.pages)
        if low >= high:
            continue
        pte = vma.pte[low - start : high - start]
        present, swapped = (pte & PTE_PRESENT) != 0, (pte & PTE_SWAP) != 0
        entries = np.zeros(len(pte), np.uint64)
        entries[(pte & PTE_ZERO) != 0] = np.uint64(_PAGEMAP_PRESENT | (kpageflags.ZERO_PFN if privileged else 0))
        pfns = pte[present] >> PTE_SHIFT
        entries[present] = np.uint64(_PAGEMAP_PRESENT)
        entries[present] |= np.where(m.frames.mapping[pfns] < 0, np.uint64(_PAGEMAP_FILE), np.uint64(0))
        entries[present] |= np.where(m.frames.mapcount[pfns] == 1, np.uint64(_PAGEMAP_EXCLUSIVE), np.uint64(0))
        entries[swapped] = np.uint64(_PAGEMAP_SWAP)
        if privileged:
            entries[present] |= pfns.astype(np.uint64)
        out[low - first : high - first] = entries
    return out.tobytes()


def _node_meminfo(m: Machine, node: int) -> bytes:
    zone = m.frames.zones[node]
    kilo = m.page_size // 1024
    total = zone.pages - zone.kept_out
    used = total - zone.free
    anon, file = zone.lru[:2], zone.lru[2:]
    values = {
        "MemTotal": total, "MemFree": zone.free, "MemUsed": used, "SwapCached": zone.nr_swapcached,
        "Active": anon[1] + file[1], "Inactive": anon[0] + file[0], "Active(anon)": anon[1], "Inactive(anon)": anon[0],
        "Active(file)": file[1], "Inactive(file)": file[0], "FilePages": zone.nr_file, "AnonPages": _anon(zone),
        "Shmem": zone.nr_shmem,
    }  # fmt: skip
    lines = [f"Node {node} {key + ':':<15}{value * kilo:>8} kB" for key, value in values.items()]
    pool = (zone.nr_hugepages, len(zone.hugetlb_free), 0)
    lines += [
        f"Node {node} {key + ':':<15}{value:>6}"
        for key, value in zip(("HugePages_Total", "HugePages_Free", "HugePages_Surp"), pool, strict=True)
    ]
    return ("\n".join(lines) + "\n").encode()


def _anon(zone: Zone) -> int:
    """Anonymous pages: what is on the lists of swap-backed pages and not of shared memory."""
    return int(zone.lru[:2].sum()) - zone.nr_shmem


def _node_vmstat(m: Machine, node: int) -> bytes:
    zone = m.frames.zones[node]
    values = {
        "nr_free_pages": zone.free, "nr_inactive_anon": int(zone.lru[0]), "nr_active_anon": int(zone.lru[1]),
        "nr_inactive_file": int(zone.lru[2]), "nr_active_file": int(zone.lru[3]), "nr_file_pages": zone.nr_file,
        "nr_shmem": zone.nr_shmem,
        "nr_anon_pages": _anon(zone), "numa_hit": zone.numastat["numa_hit"], "numa_miss": zone.numastat["numa_miss"],
        "numa_foreign": zone.numastat["numa_foreign"], "numa_interleave": zone.numastat["interleave_hit"],
        "numa_local": zone.numastat["local_node"], "numa_other": zone.numastat["other_node"],
    }  # fmt: skip
    return _counters(values)


def _vmstat(m: Machine) -> bytes:
    """Counters that this kernel has are there from the beginning."""
    names = ["pgmigrate_success", "pgmigrate_fail"] if m.profile.rule == "linux-6" else []
    names += ["numa_pages_migrated"] if m.profile.numa_balancing else []
    return _counters({**dict.fromkeys(names, 0), **m.counters})


def _counters(values: dict[str, int]) -> bytes:
    return "".join(f"{key} {value}\n" for key, value in values.items()).encode()


def _distance(m: Machine, node: int) -> bytes:
    return (" ".join(str(m.distance(node, other)) for other in m.nodes) + "\n").encode()


def _meminfo(m: Machine) -> bytes:
    kilo = m.page_size // 1024
    zones = m.frames.zones.values()
    values = {
        "MemTotal": sum(zone.pages - zone.kept_out for zone in zones), "MemFree": sum(zone.free for zone in zones),
        "SwapCached": sum(zone.nr_swapcached for zone in zones), "AnonPages": sum(map(_anon, zones)),
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


_PROCESS_FILES: dict[str, Callable[[Machine, Task], bytes]] = {
    "stat": lambda m, task: _stat(m, task, task.leader, task.threads),
    "status": _status,
    "statm": lambda m, task: (
        f"{sum(v.pages for v in task.mm.vmas) if task.mm else 0} {task.mm.rss if task.mm else 0} 0 0 0 0 0\n".encode()
    ),
    "comm": lambda m, task: task.name + b"\n",
    "cmdline": lambda m, task: (
        task.command.replace(b" ", b"\0") + b"\0" if task.mm is not None and task.command else b""
    ),
    "cgroup": cgroupfs.proc_cgroup,
    "cpuset": cgroupfs.proc_cpuset,
}
_NODE_FILES: dict[str, Callable[[Machine, int], bytes]] = {
    "meminfo": _node_meminfo,
    "numastat": lambda m, node: _counters(m.frames.zones[node].numastat),
    "vmstat": _node_vmstat,
    "distance": _distance,
    "cpulist": lambda m, node: _list(m.nodes[node].cpus),
    "cpumap": lambda m, node: sysfs_cpu.hexmask(m, m.nodes[node].cpus),
}
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
    "/proc/sys/kernel/numa_balancing": lambda m: b"%d\n" % m.balancing.on,
    "/proc/sys/vm/zone_reclaim_mode": lambda m: b"0\n",
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
