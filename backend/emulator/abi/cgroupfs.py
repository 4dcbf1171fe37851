"""Files of cpusets and cgroups: /sys/fs/cgroup (v2) or /sys/fs/cgroup/cpuset (v1), and the files of /proc/PID that
show them (kernel/cgroup/cpuset.c, mm/memcontrol.c)."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import numpy as np

from backend.emulator.abi.sysfs_tiers import pages_of
from backend.emulator.frames.page import PG, State
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import Indices
from backend.emulator.tasks import partition
from backend.emulator.tasks.cgroup import Cpuset
from backend.emulator.tasks.cpuset import Cpusets
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.permissions import may_write
from backend.emulator.tasks.task import Task
from backend.errors import ParseError, os_error
from backend.nodeset import CpuSet, NodeSet

MOUNT = "/sys/fs/cgroup"
_MAX_NUMNODES, _NR_CPUS = 1024, 8192  # The largest that Kconfig allows on x86-64; distributions use them.
S = TypeVar("S", NodeSet, CpuSet)

Read = Callable[["Machine", Cpuset], str]


def owns(path: str) -> bool:
    """Whether a path is at or below the cgroup mount point."""
    return path == MOUNT or path.startswith(MOUNT + "/")


def read(m: Machine, path: str) -> bytes:
    """Contents of a file. Raises OSError ENOENT, EISDIR, EINVAL (it can only be written)."""
    cs, name = _locate(m, path)
    if not name:
        raise os_error(errno.EISDIR, path)
    return _files(m, cs)[name](m, cs).encode("utf-8", "surrogateescape")


def listdir(m: Machine, path: str) -> list[str]:
    """Names of the files and child cpusets in a directory. Raises OSError ENOENT, ENOTDIR."""
    if path == MOUNT and m.cpusets.version == "v1":
        return ["cpuset"]
    cs, name = _locate(m, path)
    if name:
        raise os_error(errno.ENOTDIR, path)
    return [*_files(m, cs), *cs.children]


def write(m: Machine, caller: Caller, path: str, data: bytes) -> Events:
    """One write(2) to a control file; returns when the pages have moved. Raises OSError ENOENT, EISDIR, EACCES (not
    root), EINVAL (invalid value or read-only file), ERANGE (node or CPU number beyond the kernel's limit), ESRCH, and
    the errors of `Cpusets`."""
    if not owns(path):
        raise os_error(errno.EACCES, path)
    cs, name = _locate(m, path)
    if not may_write(caller):
        raise os_error(errno.EACCES, path)
    if not name:
        raise os_error(errno.EISDIR, path)
    yield from m.step("write", m.costs.syscall)
    if not data:  # cgroup_file_write() asks nobody about nothing
        return
    text = data.decode("ascii", "replace").strip(" \t\n\0")
    if name == "cpuset.mems":
        yield from Cpusets.of(m).set_mems(cs, _ids(NodeSet, text, _MAX_NUMNODES))
    elif name == "cpuset.cpus":
        yield from Cpusets.of(m).set_cpus(cs, _ids(CpuSet, text, _nr_cpus(m)))
    elif name == "cpuset.cpus.partition":
        if text not in partition.STATES:
            raise os_error(errno.EINVAL, path)
        yield from Cpusets.of(m).set_partition(cs, text)
    elif name == "memory.reclaim":
        wanted = pages_of(text, m.page_size)
        family = frozenset(one.id for one in cs.family())
        if (yield from m.reclaim.proactive(wanted, m.memory_nodes, family)) < wanted:
            raise os_error(errno.EAGAIN, path)
    elif name == "cpuset.memory_migrate":
        if not re.fullmatch(r"[+]?(0|[1-9]\d{0,18})", text):  # kstrtoull() allows one plus sign.
            raise os_error(errno.EINVAL, path)
        cs.memory_migrate = int(text) != 0
    elif name in ("cgroup.procs", "tasks"):
        yield from Cpusets.of(m).attach(cs, _task(m, caller, text))
    else:
        raise os_error(errno.EINVAL, path)


def proc_cgroup(m: Machine, task: Task) -> bytes:
    """/proc/PID/cgroup: lines of `hierarchy:controllers:path`. In v1 the unified hierarchy has a line too, as in
    systemd's hybrid mode."""
    path = _path(task)
    return (f"0::{path}\n" if m.cpusets.version == "v2" else f"1:cpuset:{path}\n0::/\n").encode(
        "utf-8", "surrogateescape"
    )


def proc_cpuset(m: Machine, task: Task) -> bytes:
    """/proc/PID/cpuset."""
    return f"{_path(task)}\n".encode("utf-8", "surrogateescape")


def status_lines(m: Machine, task: Task) -> str:
    """Mems_allowed (hexadecimal mask in words of 32 bits) and Mems_allowed_list of /proc/PID/status."""
    return _mems_lines(m.cpusets.mems_allowed(task))


@lru_cache(maxsize=256)
def _mems_lines(mems: NodeSet) -> str:
    bits = sum(1 << node for node in mems)
    words = [f"{bits >> 32 * word & 0xFFFFFFFF:08x}" for word in reversed(range(_MAX_NUMNODES // 32))]
    return f"Mems_allowed:\t{','.join(words)}\nMems_allowed_list:\t{mems}\n"


def numa_stat(m: Machine, cs: Cpuset) -> dict[str, dict[int, int]]:
    """Kind of memory → node → bytes charged to a cgroup and its descendants; the root counts all frames. A page stays
    charged to the cgroup in which it was first touched, even if its task leaves the cgroup."""
    frames = m.frames
    mine = _charged(m, cs)
    flags, nid = frames.flags[mine], frames.nid[mine]
    anon = frames.mapping[mine] != 0
    active, locked = (flags & PG.ACTIVE) != 0, (flags & PG.MLOCKED) != 0
    kinds = {
        "anon": anon, "file": None, "shmem": None, "file_mapped": None, "file_dirty": None, "file_writeback": None,
        "swapcached": (flags & PG.SWAPCACHE) != 0, "inactive_anon": anon & ~active & ~locked,
        "active_anon": anon & active & ~locked, "inactive_file": None, "active_file": None,
        "unevictable": anon & locked,
    }  # fmt: skip
    out: dict[str, dict[int, int]] = {}
    for kind, which in kinds.items():
        counts = [0] * m.node_slots if which is None else np.bincount(nid[which], minlength=m.node_slots)
        out[kind] = {node: int(counts[node]) * m.page_size for node in m.nodes}
    return out


def _charged(m: Machine, cs: Cpuset) -> Indices:
    """The frames in use that are charged to a cgroup or one below it; of the root, all in use."""
    frames = m.frames
    if cs.parent is None:
        return np.flatnonzero(frames.state == State.IN_USE)
    # Compared one by one: as fast as the memory is read, unlike np.isin.
    family = [one.id for one in cs.family()]
    mine = frames.cgroup == family[0]
    for one in family[1:]:
        mine |= frames.cgroup == one
    found = np.flatnonzero(mine)
    return found[frames.state[found] == State.IN_USE]


def _numa_stat(m: Machine, cs: Cpuset) -> str:
    return "".join(
        f"{kind} {' '.join(f'N{node}={count}' for node, count in nodes.items())}\n"
        for kind, nodes in numa_stat(m, cs).items()
    )


def _current(m: Machine, cs: Cpuset) -> str:
    stat = numa_stat(m, cs)
    return f"{sum(sum(stat[kind].values()) for kind in ('anon', 'file'))}\n"


def _write_only(m: Machine, cs: Cpuset) -> str:
    raise os_error(errno.EINVAL)


def _procs(m: Machine, cs: Cpuset) -> str:
    return "".join(f"{task.pid}\n" for task in Cpusets.of(m).tasks(cs))


def _threads(m: Machine, cs: Cpuset) -> str:
    return "".join(f"{thread.tid}\n" for task in Cpusets.of(m).tasks(cs) for thread in task.threads)


_V2_ROOT: dict[str, Read] = {
    "cgroup.controllers": lambda m, cs: "cpuset memory\n",
    "cgroup.procs": _procs,
    "cgroup.subtree_control": lambda m, cs: "cpuset memory\n" if cs.children else "\n",
    "cpuset.cpus.effective": lambda m, cs: f"{cs.effective_cpus}\n",
    "cpuset.mems.effective": lambda m, cs: f"{Cpusets.of(m).online_mems(cs)}\n",
    "memory.numa_stat": _numa_stat,
}
_V2: dict[str, Read] = {
    **_V2_ROOT,
    "cpuset.cpus": lambda m, cs: f"{cs.cpus}\n",
    "cpuset.cpus.partition": lambda m, cs: partition.show(cs),
    "cpuset.mems": lambda m, cs: f"{cs.mems}\n",
    "memory.current": _current,
    "memory.reclaim": _write_only,
}
_V1: dict[str, Read] = {
    "cgroup.procs": _procs,
    "tasks": _threads,
    "cpuset.cpus": lambda m, cs: f"{cs.cpus}\n",
    "cpuset.mems": lambda m, cs: f"{cs.mems}\n",
    "cpuset.effective_cpus": lambda m, cs: f"{cs.effective_cpus}\n",
    "cpuset.effective_mems": lambda m, cs: f"{Cpusets.of(m).online_mems(cs)}\n",
    "cpuset.memory_migrate": lambda m, cs: f"{int(cs.memory_migrate)}\n",
}
FILES = frozenset(_V2) | frozenset(_V1)
"""Names of control files, which no cpuset can have."""


def directory(m: Machine, cs: Cpuset) -> str:
    """The directory of a cpuset."""
    return (MOUNT + ("/cpuset" if m.cpusets.version == "v1" else "") + cs.path).rstrip("/")


def _files(m: Machine, cs: Cpuset) -> dict[str, Read]:
    if m.cpusets.version == "v1":
        return _V1
    return _V2 if cs.parent is not None else _V2_ROOT


def _locate(m: Machine, path: str) -> tuple[Cpuset, str]:
    """(cpuset, file name) of a path; the name is empty for the directory itself. Raises OSError ENOENT."""
    root = directory(m, m.cpusets.root)
    inside = path.removeprefix(root).rstrip("/")
    if not path.startswith(root) or (inside and not inside.startswith("/")):
        raise os_error(errno.ENOENT, path)
    cs = Cpusets.of(m).find(inside)
    if cs is not None:
        return cs, ""
    above, _, name = inside.rpartition("/")
    cs = Cpusets.of(m).find(above)
    if cs is None or name not in _files(m, cs):
        raise os_error(errno.ENOENT, path)
    return cs, name


def _nr_cpus(m: Machine) -> int:
    """Exclusive upper bound of CPU numbers in a list: nr_cpu_ids if the profile checks cpusets, else NR_CPUS."""
    return max(m.node_of_cpu) + 1 if m.profile.checks_cpusets else _NR_CPUS


def _ids(kind: type[S], text: str, limit: int) -> S:
    """nodelist_parse(), cpulist_parse(). Raises OSError EINVAL, ERANGE."""
    try:
        ids = kind.parse_list(text)
    except ParseError as exc:
        # A number of five digits is beyond every bitmap: bitmap_parselist() answers ERANGE, not EINVAL.
        number = errno.ERANGE if re.fullmatch(r"[\d,-]*\d{5,}[\d,-]*", text) else errno.EINVAL
        raise os_error(number) from exc
    if any(one >= limit for one in ids):
        raise os_error(errno.ERANGE)
    return ids


def _task(m: Machine, caller: Caller, text: str) -> Task:
    """The process of a pid or thread id; 0 means the writer (cgroup_procs_write_start()). Raises OSError EINVAL,
    ESRCH."""
    if not re.fullmatch(r"\d{1,9}", text):
        raise os_error(errno.EINVAL)
    wanted = int(text) or caller.pid
    for task in m.tasks.values():
        if any(thread.tid == wanted for thread in task.threads):
            return task
    raise os_error(errno.ESRCH)


def _path(task: Task) -> str:
    return task.cpuset.path if task.cpuset is not None else "/"
