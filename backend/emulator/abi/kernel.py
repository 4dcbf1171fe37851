"""The emulated machine as a `Kernel`: the same files and system calls as the live kernel."""

from __future__ import annotations

import errno
import re
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

from backend.emulator.abi import (
    cgroupfs,
    pagemap_scan,
    policy_calls,
    proc_pid,
    procfs,
    syscalls,
    sysfs_damon,
    sysfs_hugepages,
    sysfs_memory,
    sysfs_tiers,
)
from backend.emulator.abi.mbind import mbind
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration import numa_balancing
from backend.emulator.mm.placing import OutOfMemory, SegmentationFault
from backend.emulator.tasks import signals
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.permissions import may_write
from backend.emulator.tasks.task import Task
from backend.errors import os_error
from backend.files.text import decode
from backend.kernel import Capabilities, Capability, Numbers, Source, Traits
from backend.nodeset import NodeSet
from backend.state.local import LOCAL

T = TypeVar("T")
_SLICE = 0.05  # Real seconds between two advances of simulated time.
_AT_ONCE = 1.0
"""Most simulated seconds that one advance catches up. A larger lag, as after a suspended laptop, is dropped."""

_WRITTEN_IN_SYSFS = (sysfs_memory, sysfs_hugepages, sysfs_tiers, sysfs_damon)
_ROOT_ONLY = "control files can be written by root only"


class EmulatedKernel:
    """Serialises all access to the machine. `caller`: credentials of all calls.

    Simulated time stands still except during calls. After `start()` it follows the real clock at `speed`, and each call
    takes its simulated duration.
    """

    source: Source = "demo"
    traits = Traits(writable=True)

    def __init__(self, machine: Machine, caller: Caller | None = None, reference: str = "") -> None:
        self.machine = machine
        self.reference = reference
        self.files = LOCAL
        self.caller = caller or Caller()
        self.name = machine.name
        self.page_size = machine.page_size
        self._speed = 0.0
        self._origin = (0.0, 0.0)
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._clockwork: threading.Thread | None = None
        self._broken: Exception | None = None
        self._pidfds: dict[int, Task] = {}

    @property
    def speed(self) -> float:
        """Simulated seconds per real second; 0 while time stands still."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        with self._lock:
            self._speed = speed
            self._origin = (time.monotonic(), self.machine.now)

    def start(self, speed: float = 1.0) -> None:
        """Run time in a background thread. A second call only changes the speed."""
        self.speed = speed
        if self._clockwork is None:
            self._stopping.clear()
            self._clockwork = threading.Thread(target=self._run, name="emulated-time", daemon=True)
            self._clockwork.start()

    def stop(self) -> None:
        """Stop the background thread and the time."""
        self._stopping.set()
        if self._clockwork is not None:
            self._clockwork.join()
            self._clockwork = None
        self.speed = 0.0

    def _run(self) -> None:
        """Keep simulated time in step with the real clock. Time can be ahead after a call; then the thread waits."""
        while not self._stopping.wait(_SLICE):
            with self._lock:
                due = self._due() - self.machine.now
                if due <= 0:
                    continue
                try:
                    self.machine.advance(min(due, _AT_ONCE))
                except Exception as exc:
                    self._broken = exc
                    return
                if due > _AT_ONCE:
                    self.speed = self._speed  # The setter drops the lag.

    def _call(self, path: Callable[[Machine, Caller], Events]) -> Any:
        """Run a system call. While time runs, the calling thread sleeps for the call's duration, up to 1 s."""
        with self._lock:
            if self._broken is not None:
                raise RuntimeError("the emulated machine broke down") from self._broken
            try:
                result = self.machine.run(path(self.machine, self.caller))
            except OutOfMemory:
                raise os_error(errno.ENOMEM) from None
            except SegmentationFault:
                raise os_error(errno.EFAULT) from None
            ahead = self.machine.now - self._due()
        if ahead > 0 and self._speed > 0 and self._clockwork is not None:
            time.sleep(min(ahead / self._speed, 1.0))
        return result

    def _due(self) -> float:
        """The simulated time that corresponds to the real clock."""
        real, simulated = self._origin
        return simulated + (time.monotonic() - real) * self._speed

    def _locked(self, reading: Callable[[], T]) -> T:
        with self._lock:
            if self._broken is not None:
                raise RuntimeError("the emulated machine broke down") from self._broken
            return reading()

    def look(self, reading: Callable[[Machine], T]) -> T:
        """Result of `reading`, called with the machine locked. While time stands still, `reading` may also run the
        machine."""
        return self._locked(lambda: reading(self.machine))

    def capabilities(self) -> Capabilities:
        profile = self.machine.profile
        no_call = Capability(False, f"the profile {profile.name} has no move_pages (Linux has it since 2.6.18)")
        root_only = Capability(False, _ROOT_ONLY)
        unprivileged = Capability(False, "pages that other processes map too need CAP_SYS_NICE")
        has = profile.has_move_pages
        return {
            "read": Capability(True),
            "write": Capability(True) if may_write(self.caller) else root_only,
            "time": Capability(True),
            "pidfd": Capability(True),
            "migrate_pages": Capability(True),
            "move_pages": Capability(True) if has else no_call,
            "move_all": no_call
            if not has
            else Capability(True)
            if self.caller.can(profile.rights.move_all)
            else unprivileged,
            "mbind": Capability(True),
            "set_mempolicy": Capability(True),
            "get_mempolicy": Capability(True),
        }

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        return self._locked(lambda: procfs.read(self.machine, self.caller, path, offset, size))

    def listdir(self, path: str) -> list[str]:
        return self._locked(lambda: procfs.listdir(self.machine, path))

    def file_id(self, path: str) -> tuple[int, int]:
        """An emulated machine has no files but those of proc and sys: a program is known by its name alone."""
        match = re.fullmatch(r"/proc/(\d{1,10})/exe", path)
        if match:
            path = decode(self.read(f"/proc/{match[1]}/cmdline").partition(b"\0")[0])
        if not path:
            raise os_error(errno.ENOENT)
        return 0, zlib.crc32(path.rpartition("/")[2].encode("utf-8", "surrogateescape"))

    def write(self, path: str, data: bytes) -> None:
        if path == numa_balancing.SYSCTL:
            self._locked(lambda: numa_balancing.write_sysctl(self.machine, self.caller, data))
        elif proc_pid.owns(path):
            self._locked(lambda: proc_pid.write(self.machine, self.caller, path, data))
        elif place := next((one for one in _WRITTEN_IN_SYSFS if one.owns(path)), None):
            self._call(lambda m, caller: place.write(m, caller, path, data))
        else:
            self._call(lambda m, caller: cgroupfs.write(m, caller, path, data))

    def username(self, uid: int) -> str:
        return self.machine.users.get(uid, str(uid))

    def clock(self) -> int:
        running = self._clockwork is not None and self._speed > 0
        return int(max(self.machine.now, self._due() if running else 0.0) * 1e9)

    def pause(self, nanoseconds: int) -> None:
        seconds = nanoseconds / 1e9
        if self.speed > 0 and self._clockwork is not None:
            time.sleep(seconds / self.speed)
        else:
            self._locked(lambda: self.machine.advance(seconds))

    def credentials(self) -> tuple[int, bool]:
        return self.caller.uid, self.caller.can(self.machine.profile.rights.access)

    def pidfd_open(self, pid: int) -> int:
        with self._lock:
            task = self.machine.tasks.get(pid)
            if task is None:
                raise os_error(errno.ESRCH)
            fd = max(self._pidfds, default=2) + 1
            self._pidfds[fd] = task
            return fd

    def pidfd_alive(self, fd: int) -> bool:
        with self._lock:
            return self._pidfds[fd].alive

    def pidfd_close(self, fd: int) -> None:
        with self._lock:
            del self._pidfds[fd]

    def pidfd_send_signal(self, fd: int, number: int) -> None:
        self._locked(lambda: signals.send_signal(self.machine, self.caller, self._pidfds[fd], number))

    def setpriority(self, tid: int, nice: int) -> None:
        self._locked(lambda: signals.set_priority(self.machine, self.caller, tid, nice))

    def migrate_pages(self, pid: int, maxnode: int, old: bytes, new: bytes) -> int:
        return self._call(lambda m, caller: syscalls.migrate_pages(m, caller, pid, maxnode, old, new))

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        return self._call(lambda m, caller: syscalls.move_pages(m, caller, pid, pages, nodes, status, flags))

    def pagemap_scan(self, pid: int, start: int, end: int, count: int) -> tuple[int, bytes]:
        return self._locked(lambda: pagemap_scan.scan(self.machine, self.caller, pid, start, end, count))

    def mbind(self, address: int, length: int, mode: int, mask: bytes, maxnode: int, flags: int) -> int:
        return self._call(lambda m, caller: mbind(m, caller, address, length, mode, maxnode, mask, flags))

    def set_mempolicy(self, mode: int, mask: bytes, maxnode: int) -> int:
        return self._call(lambda m, caller: policy_calls.set_mempolicy(m, caller, mode, maxnode, mask))

    def get_mempolicy(self, maxnode: int, address: int, flags: int) -> tuple[int, bytes]:
        result: tuple[int, NodeSet] = self._call(
            lambda m, caller: policy_calls.get_mempolicy(m, caller, maxnode, address, flags)
        )
        return result[0], result[1].mask(maxnode - 1 if maxnode else 0)
