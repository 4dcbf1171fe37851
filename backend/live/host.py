"""What the running Linux is asked and told, in small integers, bytes and errno: one call, one method.

Runs on Python 3.6 too: the agent answers another machine with it. What it means to code above the seam is added by
`backend.live.kernel`, or by `backend.remote.kernel` on the other machine."""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import re
import select
from functools import lru_cache
from typing import TYPE_CHECKING

from backend.errors import NotSupported, os_error
from backend.live import pagemap_scan, pid_namespace, syscalls
from backend.live.file_id import file_id
from backend.patience import Patience

if TYPE_CHECKING:
    from backend.kernel import Numbers

_CHUNK = 1 << 16  # bytes of one read(2): most files of /proc and /sys need one
_CAP_SYS_NICE, _CAP_SYS_PTRACE = 23, 19  # include/uapi/linux/capability.h
_MOVE_ALL = 4
_CLEAR_REFS = re.compile(r"/proc/(\d+)/clear_refs$")
_OF_MEMORY = re.compile(r"/proc/(\d+)/(?:task/\d+/)?(?:maps|numa_maps|smaps|smaps_rollup|pagemap|cmdline|environ)$")
_PATIENCE = 10.0
"""Seconds. A read of numa_maps takes 5 for the largest mapping of a machine with a terabyte."""


class Host:
    """The running Linux. Thread-safe: reads and system calls take no lock but the kernel's. See `Kernel`."""

    def __init__(self, most: float = float("inf")) -> None:
        """`most`: bytes of a file that is read whole; more are EFBIG. Raises NotSupported elsewhere than
        on Linux."""
        if os.uname().sysname != "Linux":
            raise NotSupported(
                f"this is {os.uname().sysname}, not Linux: it has no page migration",
                "numatui --demo works everywhere",
            )
        self.name = os.uname().nodename
        self.own_pid = os.getpid()
        self.page_size = os.sysconf("SC_PAGE_SIZE")
        self.most = most
        self.patience = Patience(_PATIENCE)
        """For files that are read with the memory map of a process locked."""

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        # With the memory map of the process locked: somebody may hold that lock.
        of_memory = _OF_MEMORY.match(path)
        if of_memory:
            return self.patience.call(of_memory.group(1), lambda: self._read(path, offset, size))
        return self._read(path, offset, size)

    def _read(self, path: str, offset: int, size: int) -> bytes:
        return read_file(path, offset, size, self.most)

    def listdir(self, path: str) -> list[str]:
        return os.listdir(path)

    def file_id(self, path: str) -> tuple[int, int]:
        return file_id(path)

    def write(self, path: str, data: bytes) -> None:
        # It takes the lock of the process's memory map, which somebody may hold (fs/proc/task_mmu.c).
        clears = _CLEAR_REFS.match(path)
        if clears:
            self.patience.call(clears.group(1), lambda: self._write(path, data))
        else:
            self._write(path, data)

    def _write(self, path: str, data: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    def username(self, uid: int) -> str:
        return _username(uid)

    def credentials(self) -> tuple[int, bool]:
        return os.geteuid(), bool(effective_capabilities() >> _CAP_SYS_PTRACE & 1)

    def pidfd_open(self, pid: int) -> int:
        fd = syscalls.pidfd_open(pid)
        if pid_namespace.pid_of(fd) not in (pid, -1, None):
            os.close(fd)
            raise NotSupported(*pid_namespace.OTHER)
        return fd

    def pidfd_alive(self, fd: int) -> bool:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return not poll.poll(0)

    def pidfd_close(self, fd: int) -> None:
        os.close(fd)

    def pidfd_send_signal(self, fd: int, number: int) -> None:
        syscalls.pidfd_send_signal(fd, number)

    def setpriority(self, tid: int, nice: int) -> None:
        os.setpriority(os.PRIO_PROCESS, tid, nice)

    def migrate_pages(self, pid: int, maxnode: int, old: bytes, new: bytes) -> int:
        return syscalls.call("migrate_pages", pid, maxnode, syscalls.buffer(old), syscalls.buffer(new))

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        return syscalls.call(
            "move_pages",
            pid,
            len(pages),
            syscalls.pointer(pages),
            syscalls.pointer(nodes),
            syscalls.pointer(status),
            flags,
        )

    def pagemap_scan(self, pid: int, start: int, end: int, count: int) -> tuple[int, bytes]:
        return self.patience.call(str(pid), lambda: pagemap_scan.scan(f"/proc/{pid}/pagemap", start, end, count))

    def mbind(self, address: int, length: int, mode: int, mask: bytes, maxnode: int, flags: int) -> int:
        return syscalls.call("mbind", address, length, mode, syscalls.buffer(mask), maxnode, flags)

    def set_mempolicy(self, mode: int, mask: bytes, maxnode: int) -> int:
        return syscalls.call("set_mempolicy", mode, syscalls.buffer(mask), maxnode)

    def get_mempolicy(self, maxnode: int, address: int, flags: int) -> tuple[int, bytes]:
        mode = ctypes.c_int(-1)
        mask = ctypes.create_string_buffer(max(8, -(-maxnode // 64) * 8))
        syscalls.call(
            "get_mempolicy",
            ctypes.cast(ctypes.byref(mode), ctypes.c_void_p),
            mask if maxnode else None,
            maxnode,
            address,
            flags,
        )
        return mode.value, mask.raw

    def probe(self) -> dict[str, tuple[bool, str]]:
        """What this kernel can do for this caller, by the name of a call: whether, and why not."""
        return _probed()


def read_file(path: str, offset: int, size: int, most: float, dir_fd: int | None = None) -> bytes:
    """`size` bytes from `offset` on, in one read(2); -1: all of them, by as many as it takes. OSError (EFBIG) for more
    than `most`. `dir_fd`: of the folder that the path begins in."""
    # O_NONBLOCK: never blocks, for example on a FIFO.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=dir_fd)
    try:
        if size >= 0:
            return os.pread(fd, size, offset)
        parts: list[bytes] = []
        if offset:
            os.lseek(fd, offset, os.SEEK_SET)
        part, amount = os.read(fd, _CHUNK), 0
        while part:
            parts.append(part)
            amount += len(part)
            if amount > most:
                raise os_error(errno.EFBIG, path)
            part = os.read(fd, _CHUNK)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(fd)


@lru_cache(maxsize=4096)
def _username(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def effective_capabilities() -> int:
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"CapEff:"):
                    return int(line.split()[1], 16)
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _probed() -> dict[str, tuple[bool, str]]:
    yes = (True, "")
    out: dict[str, tuple[bool, str]] = {"read": yes, "write": yes, "time": yes}
    ours = pid_namespace.is_ours()
    for name in _PROBES:
        out[name] = _probe(name, _PROBES[name]) if ours else (False, "; ".join(pid_namespace.OTHER))
    out["set_mempolicy"] = out["get_mempolicy"]
    if not out["move_pages"][0]:
        out["move_all"] = out["move_pages"]
    elif effective_capabilities() >> _CAP_SYS_NICE & 1 and _probe("move_pages", (*_NO_PAGES, _MOVE_ALL))[0]:
        out["move_all"] = yes
    else:
        out["move_all"] = (False, "pages that other processes map too need CAP_SYS_NICE: run as root")
    try:
        os.close(syscalls.pidfd_open(os.getpid()))
        out["pidfd"] = yes
    except OSError:
        out["pidfd"] = (False, "no pidfd_open here (Linux 5.3 has it): the start time alone tells a recycled pid")
    return out


_NO_PAGES = (0, 0, None, None, None)
_PROBES: dict[syscalls.Name, tuple[int | None, ...]] = {
    "migrate_pages": (0, 2, None, None),
    "move_pages": (*_NO_PAGES, 0),
    "mbind": (0, 0, 0, None, 0, 0),
    "get_mempolicy": (None, None, 0, None, 0),
}
"""Arguments that change nothing. ENOSYS and EPERM mean that a call is not available; any other error comes from
them."""


def _probe(name: syscalls.Name, arguments: tuple[int | None, ...]) -> tuple[bool, str]:
    try:
        syscalls.call(name, *arguments)
    except OSError as exc:
        if exc.errno == errno.ENOSYS:
            return False, f"this kernel has no {name} (CONFIG_NUMA and CONFIG_MIGRATION are needed)"
        if exc.errno == errno.EPERM:
            return False, f"{name} is refused here: a container's seccomp profile (allow it, or add CAP_SYS_NICE)"
    return True, ""
