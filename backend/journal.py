"""The journal of a migration: written ahead and synced, private, so that an interrupted one can be taken back.

One file a job, JSON lines: a head (who, what, how), one line a batch before its pages move (which pages came from
where, as runs of addresses), one line after it, and an end. A job whose file has no end was interrupted.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend.errors import NumatuiError
from backend.remap import Move

Runs = list[tuple[int, int]]
"""(first address, number of pages): pages of one size, one after the other."""


def state_dir() -> Path:
    """Where jobs are kept: `$XDG_STATE_HOME/numatui/jobs`, as platformdirs has it."""
    from platformdirs import user_state_path

    return user_state_path("numatui", appauthor=False) / "jobs"


def runs_of(addresses: Sequence[int], page_size: int) -> Runs:
    """Ascending addresses as runs."""
    runs: Runs = []
    for address in addresses:
        if runs and runs[-1][0] + runs[-1][1] * page_size == address:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((address, 1))
    return runs


class Journal:
    """One job's file. Opening it writes and syncs the head: when that fails, nothing has moved yet."""

    def __init__(self, directory: Path, head: dict[str, Any]) -> None:
        """Raises NumatuiError: directory not private, disk full, not writable."""
        _make_private(directory)
        self.job = (
            f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{head.get('pid', 0)}-{secrets.token_hex(3)}"
        )
        self.path = directory / f"{self.job}.jsonl"
        try:
            self._fd = os.open(
                self.path,
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
            )
        except OSError as exc:
            raise _cannot_write(directory, exc) from None
        try:
            self._append({"numatui-journal": 1, "job": self.job, "at": time.time(), **head})
            _sync_directory(directory)
        except BaseException:
            os.close(self._fd)
            raise

    def before(self, move: Move, page_size: int, runs: Runs) -> None:
        """These pages are about to move. On disk when this returns."""
        self._append({"from": move.source, "to": move.target, "page_size": page_size, "runs": runs})

    def after(self, moved: int) -> None:
        """How many of the last batch did. Not synced: the next batch's line takes it along."""
        self._append({"moved": moved}, sync=False)

    def end(self, how: str, **facts: Any) -> None:
        """`done`, `partly`, `cancelled`, `failed`."""
        try:
            self._append({"end": how, "at": time.time(), **facts})
        finally:
            os.close(self._fd)

    def _append(self, record: dict[str, Any], sync: bool = True) -> None:
        line = (json.dumps(record, separators=(",", ":")) + "\n").encode()
        try:
            while line:
                line = line[os.write(self._fd, line) :]
            if sync:
                os.fdatasync(self._fd)
        except OSError as exc:
            raise _cannot_write(self.path.parent, exc) from None


def _make_private(directory: Path) -> None:
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        facts = os.lstat(directory)
    except OSError as exc:
        raise _cannot_write(directory, exc) from None
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise NumatuiError(f"{directory} is not a folder of yours", "remove it: numatui makes its own")
    if facts.st_mode & 0o077:
        os.chmod(directory, 0o700)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _cannot_write(directory: Path, exc: OSError) -> NumatuiError:
    why = "the disk is full" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else exc.strerror or str(exc)
    return NumatuiError(
        f"the journal in {directory} cannot be written ({why}): nothing more is moved",
        "make room there, or set XDG_STATE_HOME to another folder",
    )
