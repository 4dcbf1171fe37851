"""Processes: identity, owner, CPU, cpuset, cgroup. /proc/PID/stat, status, cmdline, cgroup, cpuset (proc(5))."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from backend.errors import NotFound, NotPermitted, NotSupported, ParseError
from backend.files.program import program
from backend.files.text import decode, printable
from backend.kernel import Kernel
from backend.nodeset import CpuSet, NodeSet

_GONE = (errno.ENOENT, errno.ESRCH)
_STATUS = (b"\nUid:", b"\nVmSwap:", b"\nCpus_allowed_list:", b"\nMems_allowed_list:")
HERTZ = 100
"""Clock ticks a second in /proc: USER_HZ, which is 100 whatever CONFIG_HZ is (include/asm-generic/param.h)."""
_SMALL = 1 << 15
"""Bytes of one read. The files read with it (stat, status, cpuset, cgroup) are smaller, so one read gets all."""
_PF_KTHREAD = 0x00200000  # include/linux/sched.h
_PF_EXITING = 0x00000004
S = TypeVar("S", CpuSet, NodeSet)


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, distinct from a later one with the same pid. `start_time`: clock ticks since boot."""

    pid: int
    start_time: int


Program = tuple[int, ...]
UNTOLD: Program = (0, 0)
"""The program of a process that this caller may not trace."""
LAYOUT = (23, 25, 24, 42, 43, 44)
"""Where the fields of stat have startcode, startstack, endcode, start_data, end_data, start_brk. Those of arguments and
environment are not among them: prctl(PR_SET_MM) changes them in a running program, as systemd does."""


@dataclass(frozen=True, slots=True)
class Stat:
    """The used fields of /proc/PID/stat. `rss`: pages. `cpu`: the CPU it last ran on. `ticks`: user and system time.
    `faults`: minor and major. `program`: addresses of code, stack, data and heap, which exec(2) changes, unless it is
    of the same file with the same arguments and without address randomisation; UNTOLD if this caller may not trace the
    process (do_task_stat() in fs/proc/array.c) or the kernel omits them."""

    identity: Identity
    comm: str
    state: str
    ppid: int
    flags: int
    threads: int
    rss: int
    cpu: int
    ticks: int
    program: Program = UNTOLD
    faults: int = 0
    nice: int = 0

    @property
    def is_kernel_thread(self) -> bool:
        return bool(self.flags & _PF_KTHREAD)

    @property
    def has_ended(self) -> bool:
        """Whether it is exiting or a zombie: its memory is freed or about to be, but the pid is still in use."""
        return self.state in ("Z", "X", "x") or bool(self.flags & _PF_EXITING)


@dataclass(frozen=True, slots=True)
class Process:
    """One process as it was read. Names are raw text: pass them through `printable` to show them. `rss`, `swap`:
    bytes. `cgroup`: the cgroup that its memory is charged to. `ticks`: user and system CPU time, `HERTZ` a second."""

    identity: Identity
    ppid: int
    comm: str
    command: str
    uid: int
    user: str
    state: str
    threads: int
    cpu: int
    rss: int
    swap: int
    cpus_allowed: CpuSet | None
    mems_allowed: NodeSet | None
    cpuset: str
    is_kernel_thread: bool
    cgroup: str = "?"
    ticks: int = 0
    nice: int = 0

    @property
    def pid(self) -> int:
        return self.identity.pid


def parse_stat(raw: bytes) -> Stat:
    """/proc/PID/stat. The name may hold parentheses, spaces and newlines. Raises ParseError."""
    first, last = raw.find(b"("), raw.rfind(b")")
    fields = raw[last + 1 :].split()
    try:  # field n of proc(5) is fields[n - 3]
        if first < 1 or last < first:
            raise ValueError("no name in parentheses")
        return Stat(
            identity=Identity(int(raw[:first]), int(fields[19])),
            comm=decode(raw[first + 1 : last]),
            state=fields[0].decode("ascii", "replace"),
            ppid=int(fields[1]),
            flags=int(fields[6]),
            threads=int(fields[17]),
            rss=int(fields[21]),
            cpu=int(fields[36]) if len(fields) > 36 else -1,
            ticks=int(fields[11]) + int(fields[12]),
            program=_program(fields),
            faults=int(fields[7]) + int(fields[9]),
            nice=int(fields[16]),
        )
    except (ValueError, IndexError) as exc:
        raise ParseError(f"/proc/PID/stat is not as described in proc(5) ({printable(str(exc), 80)})") from None


def _program(fields: list[bytes]) -> Program:
    """do_task_stat(): without ptrace permission, start_stack reads as 0 and start_code as 1."""
    found = tuple(int(fields[at]) for at in LAYOUT if at < len(fields))
    return found if len(found) > 1 and found[1] else UNTOLD


def parse_status(raw: bytes) -> dict[str, str]:
    """The used lines of /proc/PID/status, as key → value text."""
    out: dict[str, str] = {}
    raw = b"\n" + raw
    for key in _STATUS:
        start = raw.rfind(key)
        if start >= 0:
            value, _, _ = raw[start + len(key) :].partition(b"\n")
            out[key[1:-1].decode("ascii")] = decode(value.strip())
    return out


def read_stat(kernel: Kernel, pid: int) -> Stat:
    """Read /proc/PID/stat. Raises NotFound, NotPermitted, ParseError."""
    try:
        return parse_stat(kernel.read(f"/proc/{pid}/stat", 0, _SMALL))
    except OSError as exc:
        raise process_error(kernel, pid, exc) from None


def read_process(kernel: Kernel, pid: int, stat: Stat | None = None) -> Process:
    """Read one process. Raises NotFound if it has ended, NotPermitted if /proc hides it, ParseError."""
    stat = stat or read_stat(kernel, pid)
    status = parse_status(_read_optional(kernel, f"/proc/{pid}/status", _SMALL))
    uid = _leading_int(status.get("Uid", ""))
    command = _read_optional(kernel, f"/proc/{pid}/cmdline").rstrip(b"\0").replace(b"\0", b" ")
    cpuset, cgroup = _groups(kernel, pid)
    return Process(
        identity=stat.identity,
        ppid=stat.ppid,
        comm=stat.comm,
        command=decode(command) or f"[{stat.comm}]",
        uid=uid,
        user=kernel.username(uid) if uid >= 0 else "?",
        state=stat.state,
        threads=stat.threads,
        cpu=stat.cpu,
        rss=stat.rss * kernel.page_size,
        swap=max(0, _leading_int(status.get("VmSwap", ""))) * 1024,
        cpus_allowed=_optional_list(CpuSet, status.get("Cpus_allowed_list")),
        mems_allowed=_optional_list(NodeSet, status.get("Mems_allowed_list")),
        cpuset=cpuset,
        is_kernel_thread=stat.is_kernel_thread,
        cgroup=cgroup,
        ticks=stat.ticks,
        nice=stat.nice,
    )


def bare_process(stat: Stat, page_size: int) -> Process:
    """A process of which only `stat` could be read."""
    return Process(
        stat.identity, stat.ppid, stat.comm, f"[{stat.comm}]", -1, "?", stat.state, stat.threads, stat.cpu,
        stat.rss * page_size, 0, None, None, "?", stat.is_kernel_thread, "?", stat.ticks, stat.nice,
    )  # fmt: skip


_NUMBER = re.compile(r"[0-9]{1,10}\Z")


def pids(kernel: Kernel) -> list[int]:
    """All pids that /proc shows, ascending. Raises NotSupported without /proc."""
    try:
        names = kernel.listdir("/proc")
    except OSError as exc:
        raise NotSupported(
            f"processes cannot be listed: /proc is not there ({exc.strerror})",
            "a recording needs its proc/ as well; on Linux, mount it",
        ) from None
    return sorted(int(name) for name in names if _NUMBER.match(name))


def with_descendants(kernel: Kernel, roots: list[int]) -> list[int]:
    """These processes and all their descendants, parents before children. Raises NotSupported without /proc."""
    children: dict[int, list[int]] = {}
    for pid in pids(kernel):
        try:
            children.setdefault(read_stat(kernel, pid).ppid, []).append(pid)
        except (NotFound, NotPermitted, ParseError):
            continue
    out = dict.fromkeys(roots)
    queue = list(roots)
    while queue:
        for child in children.get(queue.pop(0), []):
            if child not in out:
                out[child] = None
                queue.append(child)
    return list(out)


def thread_ids(kernel: Kernel, pid: int) -> list[int]:
    """The thread ids of a process, ascending; empty if they cannot be listed."""
    try:
        names = kernel.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return sorted(int(name) for name in names if _NUMBER.match(name))


def read_threads(kernel: Kernel, pid: int, tids: Iterable[int] | None = None) -> list[Stat]:
    """The stat of these threads (None: all) in order, without unreadable ones. `identity.pid` is the thread id."""
    out: list[Stat] = []
    for tid in thread_ids(kernel, pid) if tids is None else tids:
        try:
            out.append(parse_stat(kernel.read(f"/proc/{pid}/task/{tid}/stat", 0, _SMALL)))
        except (OSError, ParseError):
            continue
    return out


def still_the_same(kernel: Kernel, identity: Identity) -> Stat:
    """The stat of this process. Raises NotFound if the process has ended or its pid belongs to another. A zombie counts
    as ended: it has no memory."""
    stat = read_stat(kernel, identity.pid)
    if stat.identity == identity and stat.has_ended:
        raise NotFound(f"process {identity.pid} has ended", "its memory went with it")
    if stat.identity != identity:
        raise NotFound(
            f"process {identity.pid} has ended and another has its number now",
            "nothing was done to it: look at numatui ps",
        )
    return stat


def process_error(kernel: Kernel, pid: int, exc: OSError) -> NotFound | NotPermitted:
    """The error for a user, from an errno on /proc/PID or on a system call with a pid."""
    if exc.errno in _GONE:
        if _hides_others(kernel):
            return NotFound(
                f"there is no process {pid} that you may see: /proc hides those of other users (hidepid)",
                "run numatui as root, or as the process's owner",
            )
        return NotFound(
            f"there is no process {pid}",
            f"it may have ended: {program(kernel)} ps lists all",
        )
    if exc.errno in (errno.EACCES, errno.EPERM):
        privileged = kernel.credentials()[1]
        return NotPermitted(
            f"the kernel does not let you look at or move process {pid}",
            "a container or security module forbids it even to you: run numatui outside"
            if privileged
            else "it belongs to another user, or lets nobody look at it: run numatui as root or as its owner",
        )
    if exc.errno == errno.ETIMEDOUT:
        return NotPermitted(
            f"process {pid} keeps whoever reads its memory waiting without end",
            "a filesystem that it maps does not answer: it was left alone",
        )
    return NotFound(f"process {pid} cannot be read ({exc.strerror or exc})", "look at it with numatui doctor")


def _hides_others(kernel: Kernel) -> bool:
    """Whether /proc is mounted with hidepid=2: an unprivileged caller does not see init (proc(5))."""
    if not kernel.traits.has_self or kernel.credentials()[1]:
        return False
    try:
        return "1" not in kernel.listdir("/proc")
    except OSError:
        return True


def _read_optional(kernel: Kernel, path: str, size: int = -1) -> bytes:
    try:
        return kernel.read(path, 0, size)
    except OSError as exc:
        if exc.errno == errno.ESRCH:  # read(2) of an open /proc/PID file whose task has ended
            raise NotFound("the process has ended meanwhile") from None
        return b""


def _groups(kernel: Kernel, pid: int) -> tuple[str, str]:
    """(its cpuset, the cgroup that its memory is charged to). The latter is v1's if v1 has the memory controller."""
    own = decode(_read_optional(kernel, f"/proc/{pid}/cpuset", _SMALL)).rstrip("\n")
    memory, unified = "", ""
    for line in _read_optional(kernel, f"/proc/{pid}/cgroup", _SMALL).split(b"\n"):
        controllers, _, path = line.partition(b":")[2].partition(b":")
        if b"memory" in controllers.split(b","):
            memory = decode(path)
        elif not controllers and path:
            unified = decode(path)
    return (own if own not in ("", "/") else unified or own or "/"), memory or unified or "/"


def _leading_int(text: str) -> int:
    word = text.split(maxsplit=1)[:1]
    return int(word[0]) if word and word[0].isascii() and word[0].isdigit() and len(word[0]) < 20 else -1


def _optional_list(kind: type[S], text: str | None) -> S | None:
    if text is None:
        return None
    try:
        return _parsed(kind, text)
    except ParseError:
        return None


@lru_cache(maxsize=1024)
def _parsed(kind: type[S], text: str) -> S:
    return kind.parse_list(text)
