"""The other half of the seam: the state directory of the user on the machine whose pages move. Jobs, measurements and
locks lie there, wherever numatui itself runs, so that two administrators of one machine see one truth."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Held(Protocol):
    """Locks, until they are closed or the program ends."""

    def close(self) -> None: ...


class StateFiles(Protocol):
    """Files of the user's own, and what a journal needs of them. A descriptor is an integer of this object's. Methods
    raise NumatuiError with the reason where nothing may be moved then, else OSError."""

    @property
    def piece(self) -> int:
        """Bytes that are worth reading at once: 0 where reading is cheap."""
        ...

    def jobs_dir(self) -> Path:
        """Where jobs are kept: `$XDG_STATE_HOME/numatui/jobs`. Raises NotFound for a user without a home."""
        ...

    def lock_folder(self) -> Path | None:
        """Where all jobs of this user on this machine lock; None: in the folder of the journals."""
        ...

    def make_private(self, directory: Path) -> None:
        """A folder of the user's own that nobody else can enter, made if it is missing. Raises NumatuiError."""
        ...

    def check_private(self, directory: Path) -> None:
        """Raises Untrusted if somebody else could have put there what lies there."""
        ...

    def free_space(self, directory: Path) -> int:
        """Bytes. Raises NumatuiError."""
        ...

    def names(self, directory: Path) -> list[str]:
        """What lies in it; empty if it cannot be read."""
        ...

    def stat(self, path: Path) -> tuple[int, bool]:
        """Size, and whether it is a regular file. Links are not followed. Raises OSError."""
        ...

    def begin(self, directory: Path, suffix: str, first: bytes) -> tuple[str, int]:
        """A new file with the next number as its name, locked, its first bytes on disk: the number, and a descriptor.
        Raises NumatuiError."""
        ...

    def open(self, path: Path, append: bool = False) -> tuple[int, int, bool, bool]:
        """Descriptor, size, whether it is a regular file of the user's, and whether it is locked: its job is running.
        Raises OSError."""
        ...

    def size(self, fd: int) -> int: ...

    def pread(self, fd: int, count: int, at: int) -> bytes: ...

    def append(self, fd: int, data: bytes, sync: bool = True) -> None:
        """Write at the end; on disk when this returns if `sync`. What could not be written whole is taken away again.
        Raises OSError."""
        ...

    def truncate(self, fd: int, size: int) -> None: ...

    def close(self, fd: int) -> None: ...

    def unlink(self, path: Path) -> None: ...

    def replace(self, path: Path, text: str) -> None:
        """Write a file so that whoever reads it sees the old or the new one. Raises OSError."""
        ...

    def read(self, path: Path, most: int = 1 << 20) -> bytes:
        """A file in a folder that nobody else can change. Raises OSError."""
        ...

    def open_log(self, path: Path) -> int:
        """For `append`; made if it is missing. Raises OSError."""
        ...

    def hold(self, fd: int) -> None:
        """Until it is closed, whoever opens the file is told that it is running. Raises BlockingIOError if another
        one holds it, or somebody looks at it at this moment; OSError."""
        ...

    def rename(self, path: Path, other: Path) -> None: ...

    def lock_processes(self, folder: Path, pids: list[int]) -> Held:
        """One job a process. Raises Busy if another job holds one of them, NumatuiError if there can be no lock."""
        ...

    def lock_name(self, folder: Path, name: str) -> Held:
        """Raises BlockingIOError if another program holds it, NumatuiError."""
        ...
