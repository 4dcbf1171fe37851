"""The files of a process: /proc/PID and /proc/PID/task/TID (fs/proc/array.c, fs/proc/task_mmu.c)."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from backend.emulator.abi import cgroupfs, kpageflags, smaps
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_PRESENT, PTE_SHIFT, PTE_SWAP, PTE_ZERO, VM, Vma
from backend.emulator.storage.filesystem import AddressSpace
from backend.emulator.tasks.credentials import Caller, Cap
from backend.emulator.tasks.permissions import may_access
from backend.emulator.tasks.task import Task, Thread
from backend.errors import os_error

_PROCESS = re.compile(r"/proc/(\d+)(?:/(\w+))?\Z")
_THREAD = re.compile(r"/proc/(\d+)/task/(\d+)(?:/(\w+))?\Z")
_PAGEMAP_PRESENT, _PAGEMAP_SWAP, _PAGEMAP_FILE, _PAGEMAP_EXCLUSIVE = 1 << 63, 1 << 62, 1 << 61, 1 << 56
"""Bits of an entry (Documentation/admin-guide/mm/pagemap.rst)."""
_OCTAL = {byte: f"\\{byte:03o}" for byte in b" \t\n\\"}
_HUGETLB = int(VM.HUGETLB)
_OWNER_ONLY = ("numa_maps", "maps", "smaps", "pagemap")
"""Files that need ptrace access to the process."""
_THREAD_FILES = ("stat", "comm")
_PF_KTHREAD = 0x00200000
"""Flag of field 9 of stat (include/linux/sched.h)."""


def read(m: Machine, caller: Caller, path: str, offset: int, size: int) -> bytes | None:
    """A file's bytes; None for a path that is not of a process. Raises OSError ENOENT, EACCES."""
    if match := _PROCESS.match(path):
        task = m.tasks.get(int(match[1]))
        if task is None or match[2] is None:
            raise os_error(errno.ENOENT, path)
        return _read_process(m, caller, task, match[2], path, offset, size)
    if match := _THREAD.match(path):
        task, thread = _thread(m, match)
        if task is None or thread is None or match[3] not in _THREAD_FILES:
            raise os_error(errno.ENOENT, path)
        data = _stat(m, task, thread, [thread]) if match[3] == "stat" else thread.name + b"\n"
        return part(data, offset, size)
    return None


def write(m: Machine, caller: Caller, path: str, data: bytes) -> None:
    """A file of a process, of which only clear_refs is written to. Raises OSError ENOENT, EACCES, EINVAL."""
    match = _PROCESS.match(path)
    task = m.tasks.get(int(match[1])) if match else None
    if task is None or match is None or match[2] != "clear_refs":
        raise os_error(errno.EACCES if task is not None else errno.ENOENT, path)
    if not may_access(m, task, caller):
        raise os_error(errno.EACCES, path)
    smaps.clear_refs(m, task, data)


def owns(path: str) -> bool:
    """Whether the path is one of a process."""
    return _PROCESS.match(path) is not None


def listdir(m: Machine, path: str) -> list[str] | None:
    """The names in a directory of a process; None for others. Raises OSError ENOENT."""
    if match := _PROCESS.match(path):
        task = m.tasks.get(int(match[1]))
        if task is not None and match[2] is None:
            return [*_PROCESS_FILES, *_OWNER_ONLY, "task"]
        if task is not None and match[2] == "task":
            return [str(thread.tid) for thread in task.threads]
        raise os_error(errno.ENOENT, path)
    if match := _THREAD.match(path):
        if _thread(m, match)[1] is not None and match[3] is None:
            return [*_THREAD_FILES]
        raise os_error(errno.ENOENT, path)
    return None


def part(data: bytes, offset: int, size: int) -> bytes:
    """What one read(2) returns of a file; everything from `offset` on if `size` is negative."""
    return data[offset:] if size < 0 else data[offset : offset + size]


def _thread(m: Machine, match: re.Match[str]) -> tuple[Task | None, Thread | None]:
    task = m.tasks.get(int(match[1]))
    threads = task.threads if task is not None else []
    return task, next((one for one in threads if one.tid == int(match[2])), None)


def _read_process(m: Machine, caller: Caller, task: Task, name: str, path: str, offset: int, size: int) -> bytes:
    if name in _OWNER_ONLY:
        if not may_access(m, task, caller):
            raise os_error(errno.EACCES, path)
        if name == "pagemap":
            return _pagemap(m, task, offset, size, caller.can(Cap.SYS_ADMIN))
        if name == "smaps":
            return part(smaps.render(m, task, _maps_line), offset, size)
        return part(_numa_maps(m, task) if name == "numa_maps" else _maps(task), offset, size)
    render = _PROCESS_FILES.get(name)
    if render is None:
        raise os_error(errno.ENOENT, path)
    return part(render(m, task), offset, size)


def _stat(m: Machine, task: Task, thread: Thread, threads: Sequence[Thread]) -> bytes:
    """`threads`: the threads whose CPU time counts; in the file of a process, all (do_task_stat())."""
    ticks = int(sum(one.ticks for one in threads))
    mm = task.mm
    size = sum(vma.pages for vma in mm.vmas) if mm else 0
    rss = mm.rss if mm else 0
    state = "T" if task.stopped else "R" if thread.rate else "S"
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
        20 + thread.nice,
        thread.nice,
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
    state = "T (stopped)" if task.stopped else "S (sleeping)"
    return (
        b"Name:\t"
        + name
        + (
            f"\nState:\t{state}\nTgid:\t{task.pid}\nPid:\t{task.pid}\nPPid:\t{task.ppid}\n"
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
    return "".join(map(_maps_line, task.mm.vmas if task.mm else ())).encode("latin-1")


def _maps_line(vma: Vma) -> str:
    mode = ("w" if vma.flags & VM.WRITE else "-") + "-" + ("s" if vma.shared else "p")
    name, offset, inode = "", 0, 0
    if vma.file is not None:
        name, offset, inode = _file_name(vma.file), vma.pgoff * vma.mm.page_size, -vma.file.id
    elif vma.kind in ("heap", "stack"):
        name = f"[{vma.kind}]"
    place = f"{vma.start:08x}-{vma.end:08x} r{mode} {offset:08x} 00:{1 if inode else 0:02x} {inode}"
    return f"{place:<72} {name}".rstrip() + "\n" if name else f"{place} \n"


def _pagemap(m: Machine, task: Task, offset: int, size: int, privileged: bool) -> bytes:
    """64 bits a virtual page: bit 63 present, 62 swapped, 61 file or shared, 56 mapped by only one PTE; low bits: the
    frame (0 for unprivileged callers)."""
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
