"""The seam: what numatui needs of a kernel, in the kernel's own language.

There are three: `backend.live` (this Linux), `backend.emulator` (a NUMA machine inside the process) and
`backend.recording` (a folder or tarball with proc/ and sys/). Parsing, planning, migrating and verifying exist once,
above this interface.

Only bytes, small integers and errno cross it: no Python objects of either side, so that it can be spoken over a pipe.
Refusals are OSError with errno, as the system calls document them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from backend.state_files import StateFiles

if TYPE_CHECKING:
    from array import array

Source = Literal["live", "demo", "replay", "remote"]
Call = Literal[
    "read",
    "migrate_pages",
    "move_pages",
    "move_all",
    "mbind",
    "set_mempolicy",
    "get_mempolicy",
    "write",
    "pidfd",
    "time",
]


Numbers: TypeAlias = "array[int] | memoryview[int]"
"""An argument of a system call, without a copy: an array, or numpy's memory."""


class MoveFlag(IntFlag):
    """Flags of mbind(2) and move_pages(2) (include/uapi/linux/mempolicy.h)."""

    STRICT = 1
    MOVE = 2
    MOVE_ALL = 4


class Mode(IntEnum):
    """Memory policy modes (include/uapi/linux/mempolicy.h)."""

    DEFAULT = 0
    PREFERRED = 1
    BIND = 2
    INTERLEAVE = 3
    LOCAL = 4
    PREFERRED_MANY = 5
    WEIGHTED_INTERLEAVE = 6


class ModeFlag(IntFlag):
    """Flags that are or-ed into a mode."""

    RELATIVE_NODES = 1 << 14
    STATIC_NODES = 1 << 15


class PolicyFlag(IntFlag):
    """Flags of get_mempolicy(2)."""

    NODE = 1
    ADDR = 2
    MEMS_ALLOWED = 4


@dataclass(frozen=True, slots=True)
class Capability:
    """Whether a kernel can do one thing for this caller, and if not, why and what would help. One line of text."""

    available: bool
    why: str = ""


Capabilities = dict[Call, Capability]


@dataclass(frozen=True, slots=True)
class Traits:
    """What a kernel is like to work with. Code above the seam asks for these, not which kernel it has.

    `parallel_calls`: calls run side by side when several threads make them. `reading_stalls`: reading where a process's
    memory lies holds that process up. `writable`: pages can be moved and files written, where the caller may; a
    recording is only read. `keeps_jobs`: jobs and measurements outlive this program, in the user's state directory.
    `is_host`: it is the machine that numatui itself runs on, with its container, its tools, its own status. `far`: each
    call takes its time on the way, so many are made side by side. `own_pid`: the pid there of whoever asks, of numatui
    or of its agent; 0 where neither is one of its processes."""

    parallel_calls: bool = False
    reading_stalls: bool = False
    writable: bool = False
    keeps_jobs: bool = False
    is_host: bool = False
    far: bool = False
    own_pid: int = 0

    @property
    def has_self(self) -> bool:
        """Whether `/proc/self` is of whoever asks."""
        return self.own_pid > 0


class Kernel(Protocol):
    """One kernel, live, emulated or recorded.

    Paths are absolute and POSIX (`/proc/1/numa_maps`); names from directories are text with undecodable bytes kept as
    surrogate escapes. Masks are arrays of unsigned longs (`NodeSet.mask`), `maxnode` as the system calls count it.
    Every method may raise OSError; ENOSYS where this kernel has no such call.
    """

    @property
    def source(self) -> Source:
        """What the header says: live, demo, replay or remote. For showing only: code asks `traits`."""
        ...

    @property
    def traits(self) -> Traits:
        """What it is like to work with. The same for as long as the kernel is open."""
        ...

    @property
    def name(self) -> str:
        """The host, scenario or recording, as its own text: hostile, like every name."""
        ...

    @property
    def reference(self) -> str:
        """What has to be named to open this kernel again: a scenario, a recording; empty for the live one."""
        ...

    @property
    def files(self) -> StateFiles:
        """The state directory of the machine: where its jobs and their locks are kept."""
        ...

    @property
    def page_size(self) -> int:
        """Bytes of a base page."""
        ...

    def capabilities(self) -> Capabilities:
        """What this kernel can do for this caller, and why not. Asked once; never raises."""
        ...

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """A file's contents from `offset`, at most `size` bytes (all of it: -1)."""
        ...

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, unordered."""
        ...

    def file_id(self, path: str) -> tuple[int, int]:
        """Device and inode of a file, links followed (stat(2)). `/proc/PID/exe` leads to the file that a process
        runs, whatever it is called where the process is."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a control file (cgroup, cpuset) in one write(2)."""
        ...

    def username(self, uid: int) -> str:
        """The name of a user as this machine knows it, else the number as text."""
        ...

    def clock(self) -> int:
        """Monotonic nanoseconds: of the real clock, or of the emulated machine's."""
        ...

    def pause(self, nanoseconds: int) -> None:
        """Let that much of `clock()` pass."""
        ...

    def credentials(self) -> tuple[int, bool]:
        """The caller's effective uid, and whether it may act on other users' processes."""
        ...

    def pidfd_open(self, pid: int) -> int:
        """A descriptor that stands for the process and never for another with the same pid (pidfd_open(2))."""
        ...

    def pidfd_alive(self, fd: int) -> bool:
        """Whether that process still runs: not when it has ended, also before its parent has collected it."""
        ...

    def pidfd_close(self, fd: int) -> None:
        """Give the descriptor back."""
        ...

    def pidfd_send_signal(self, fd: int, number: int) -> None:
        """Send a signal to that process (pidfd_send_signal(2)); 0 only checks whether that is allowed."""
        ...

    def setpriority(self, tid: int, nice: int) -> None:
        """Set the nice value of one thread (setpriority(2) with PRIO_PROCESS)."""
        ...

    def migrate_pages(self, pid: int, maxnode: int, old: bytes, new: bytes) -> int:
        """migrate_pages(2): the number of pages not moved."""
        ...

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        """move_pages(2). `pages`: 64-bit addresses; `nodes`: 32-bit targets, or None to ask where they are;
        `status`: 32-bit, of the same length, written as the kernel writes it: also when the call then fails, entries it
        did not come to are left untouched. All are writable memory. Returns the number of pages not moved."""
        ...

    def pagemap_scan(self, pid: int, start: int, end: int, count: int) -> tuple[int, bytes]:
        """The ioctl PAGEMAP_SCAN for pages that are present or swapped: the address up to which it came, and at most
        `count` records of three 64-bit numbers (start, end, categories). ENOTTY before Linux 6.7."""
        ...

    def mbind(self, address: int, length: int, mode: int, mask: bytes, maxnode: int, flags: int) -> int:
        """mbind(2) on the calling task."""
        ...

    def set_mempolicy(self, mode: int, mask: bytes, maxnode: int) -> int:
        """set_mempolicy(2) on the calling task."""
        ...

    def get_mempolicy(self, maxnode: int, address: int, flags: int) -> tuple[int, bytes]:
        """get_mempolicy(2) on the calling task: (mode or node, mask)."""
        ...


@runtime_checkable
class FarKernel(Protocol):
    """What a kernel has in addition to which each call is a long way."""

    def read_ahead(self, name: str, patterns: Sequence[str]) -> Kernel: ...

    def read_entries(self, path: str, numbers: Sequence[int]) -> Numbers:
        """The 64-bit entries with these numbers, from a file of such: 0 for what cannot be read."""
        ...

    def read_resting(self, path: str, offset: int, size: int, rest: int) -> bytes:
        """As `read`, in pieces: after each, as many nanoseconds in which whoever waits for the process's memory map
        gets it."""
        ...


@runtime_checkable
class HelpedKernel(Protocol):
    """A kernel whose machine may have a helper: root's rights for this caller, cut to size (docs/helper.md)."""

    def helped(self) -> tuple[list[str], str]: ...


def helped(kernel: Kernel) -> tuple[list[str], str]:
    """What a helper lets this caller do, a line a rule, and why it cannot be used. Both are empty where there is none,
    or nothing that it could add. Never raises."""
    return kernel.helped() if isinstance(kernel, HelpedKernel) else ([], "")


def read_ahead(kernel: Kernel, name: str, patterns: Sequence[str]) -> Kernel:
    """The kernel for one reading, in which the files of these patterns will be read: a far one reads them in one go,
    for others there is nothing to do. `*`, `?` and `[…]` stand for characters of one part of a path. `name`: the same
    for a reading that is repeated, so that only what has changed is sent. Nothing that is changed may rest on what was
    read so. Raises OSError, NumatuiError."""
    return kernel.read_ahead(name, patterns) if isinstance(kernel, FarKernel) else kernel
