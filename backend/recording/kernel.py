"""A recorded machine as a read-only `Kernel`. Its clock is that of the samples."""

from __future__ import annotations

import copy
import errno
import threading
import time
from pathlib import Path

from backend.errors import os_error
from backend.files.given_file import unreadable
from backend.kernel import Call, Capabilities, Capability, Numbers, Source, Traits
from backend.recording.manifest import MANIFEST, Manifest, Sample, parse_manifest
from backend.recording.timeline import Events, Timeline
from backend.recording.trees import open_tree
from backend.state.local import LOCAL

_READ_ONLY = Capability(False, "a recording can be looked at but not changed")
_ONE_SAMPLE = Capability(False, "the recording has one sample")


class RecordedKernel:
    """The kernel at one of its samples. `start` plays the samples, `speed` times as fast as they were taken. Only
    `settle` advances them, so everything read between two calls of it is of one sample."""

    source: Source = "replay"
    traits = Traits()

    def __init__(self, path: str | Path) -> None:
        """Raises NotFound if it cannot be read, ParseError if it is not a folder or tarball with proc/ and sys/."""
        path = Path(path)
        try:
            tree = open_tree(path)
        except OSError as exc:
            raise unreadable(f"the recording {path}", exc, "name a folder or tarball with proc/ and sys/") from None
        try:
            self.manifest = parse_manifest(tree.read(MANIFEST))
        except OSError:
            self.manifest = Manifest()
        self._timeline = Timeline(tree)
        self._at = 0
        self._speed = 0.0
        self._origin = (0.0, 0)
        self._wanted: int | None = None
        self._lock = threading.Lock()
        self._users = {uid: name for sample in self.samples for uid, name in sample.users.items()}
        self.cut_off = tree.cut_off
        self.name = self.manifest.name or path.name
        self.reference = str(path)
        self.files = LOCAL
        self.page_size = self.manifest.page_size

    @property
    def samples(self) -> tuple[Sample, ...]:
        """At least one."""
        return self._timeline.samples

    @property
    def events(self) -> list[Events]:
        """Processes that began and ended since the sample before, for each sample."""
        return self._timeline.events

    @property
    def at(self) -> int:
        """The number of the current sample, from 0."""
        return self._at

    def beside(self, number: int) -> RecordedKernel:
        """The same recording at another of its samples, where it stays: to look ahead while this one is shown."""
        other = copy.copy(self)
        other._lock, other._wanted, other._speed = threading.Lock(), None, 0.0
        other._at = max(0, min(number, len(self.samples) - 1))
        return other

    def seek(self, number: int) -> None:
        """Makes `settle` go to this sample, or to the first or last one if the number is out of range."""
        with self._lock:
            self._wanted = max(0, min(number, len(self.samples) - 1))

    @property
    def speed(self) -> float:
        """Recorded seconds per second; 0: the sample stays."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        with self._lock:
            self._origin = (time.monotonic(), max(self.clock(), self._position()))
            self._speed = speed

    def start(self, speed: float = 1.0) -> None:
        """Plays the samples. Does nothing if there is only one."""
        self.speed = speed if len(self.samples) > 1 else 0.0

    def stop(self) -> None:
        """Stays at the current sample."""
        self.speed = 0.0

    def settle(self) -> None:
        """Goes to the sample that was sought, or whose time has come. Playing ends at the last sample."""
        with self._lock:
            if self._wanted is not None:
                self._at, self._wanted = self._wanted, None
                self._origin = (time.monotonic(), self.clock())
            elif self._speed:
                self._forward(self._position())
                if self._at == len(self.samples) - 1:
                    self._speed = 0.0

    def _position(self) -> int:
        real, recorded = self._origin
        return recorded + int((time.monotonic() - real) * self._speed * 1e9)

    def _forward(self, to: int) -> None:
        while self._at + 1 < len(self.samples) and self.samples[self._at + 1].at <= to:
            self._at += 1

    def capabilities(self) -> Capabilities:
        calls: tuple[Call, ...] = (
            "migrate_pages", "move_pages", "move_all", "mbind", "set_mempolicy", "get_mempolicy", "write", "pidfd",
        )  # fmt: skip
        more = Capability(True) if len(self.samples) > 1 else _ONE_SAMPLE
        return {"read": Capability(True), "time": more, **dict.fromkeys(calls, _READ_ONLY)}

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        data = self._timeline.read(path, self._at)
        return data[offset:] if size < 0 else data[offset : offset + size]

    def listdir(self, path: str) -> list[str]:
        return self._timeline.listdir(path, self._at)

    def file_id(self, path: str) -> tuple[int, int]:
        raise _enosys()

    def write(self, path: str, data: bytes) -> None:
        raise os_error(errno.EROFS)

    def username(self, uid: int) -> str:
        return self._users.get(str(uid), str(uid))

    def clock(self) -> int:
        return self.samples[self._at].at

    def pause(self, nanoseconds: int) -> None:
        """Advances to the first sample that is at least so much later, or to the last one."""
        end = self.clock() + nanoseconds
        while self.clock() < end and self._at + 1 < len(self.samples):
            self._at += 1

    def credentials(self) -> tuple[int, bool]:
        """Root's: everything in a recording is readable, and callers ask what root could do."""
        return 0, True

    def pidfd_open(self, pid: int) -> int:
        raise _enosys()

    def pidfd_alive(self, fd: int) -> bool:
        raise _enosys()

    def pidfd_close(self, fd: int) -> None:
        return

    def pidfd_send_signal(self, fd: int, number: int) -> None:
        raise _enosys()

    def setpriority(self, tid: int, nice: int) -> None:
        raise _enosys()

    def migrate_pages(self, pid: int, maxnode: int, old: bytes, new: bytes) -> int:
        raise _enosys()

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        raise _enosys()

    def pagemap_scan(self, pid: int, start: int, end: int, count: int) -> tuple[int, bytes]:
        raise _enosys()

    def mbind(self, address: int, length: int, mode: int, mask: bytes, maxnode: int, flags: int) -> int:
        raise _enosys()

    def set_mempolicy(self, mode: int, mask: bytes, maxnode: int) -> int:
        raise _enosys()

    def get_mempolicy(self, maxnode: int, address: int, flags: int) -> tuple[int, bytes]:
        raise _enosys()


def _enosys() -> OSError:
    return os_error(errno.ENOSYS)
