"""What the automatic mover of this user is doing, from its audit log, which it holds while it runs."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from backend.errors import NotFound
from backend.files.fields import Fields
from backend.files.text import printable
from backend.kernel import Kernel
from backend.mover.audit import LOG
from backend.state_files import StateFiles

_TAIL = 256 << 10
"""Bytes of the log that are read, from its end; four times as many until its beginning is seen."""
_MOST = 4 << 20
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class WatchStatus:
    """`running`: one is at work. `since`: when it began, seconds since 1970; `policy`, `dry`: with what, and whether it
    only says what it would do; None if its beginning is too far back. `at`, `event`, `text`: the last record. `moves`,
    `moved`: of the last day, as far back as was read; bytes. `stopped`: why it moves nothing any more."""

    running: bool
    since: float | None = None
    policy: str | None = None
    dry: bool | None = None
    at: float | None = None
    event: str = ""
    text: str = ""
    moves: int = 0
    moved: int = 0
    stopped: str = ""


def watch_status(kernel: Kernel) -> WatchStatus | None:
    """None: none has ever run, as this user. Raises NotFound for a user without a home, Untrusted, OSError."""
    records, running = _records(kernel.files)
    return _summed(records, running) if records or running else None


def _records(files: StateFiles) -> tuple[list[Fields], bool]:
    """The last ones, the oldest first, back to how the present one began, without those that are damaged; whether a
    mover writes them."""
    folder = files.jobs_dir().parent
    try:
        files.check_private(folder)
        fd, size, own, running = files.open(folder / LOG)
    except (FileNotFoundError, NotFound, NotADirectoryError):
        return [], False
    try:
        out: list[Fields] = []
        most = _TAIL
        while own:
            least = max(0, size - most)
            lines = files.pread(fd, size - least, least).split(b"\n")
            out = [record for line in lines[bool(least) :] if (record := _record(line)) is not None]
            if not least or most >= _MOST or any(_text(one, "event") == "started" for one in out):
                break
            most *= 4
    finally:
        files.close(fd)
    return out, running and own


def _record(line: bytes) -> Fields | None:
    try:
        record = Fields(json.loads(line))
        record.number("at")
        return record
    except (ValueError, RecursionError):
        return None


def _summed(records: list[Fields], running: bool) -> WatchStatus:
    begun = [number for number, one in enumerate(records) if _text(one, "event") == "started"]
    session = records[begun[-1] :] if begun else records
    first, last = session[0] if begun else None, session[-1] if session else None
    loaded = [one for one in session if _text(one, "event") in ("started", "loaded")]
    stopped = [one for one in session if _text(one, "event") in ("stopped", "loaded")]
    since = time.time() - _DAY
    day = [one for one in records if _text(one, "event") == "moved" and one.number("at") > since]
    return WatchStatus(
        running,
        first.number("at") if first is not None else None,
        _text(loaded[-1], "policy") if loaded else None,
        first.either("dry", first.truth, None) if first is not None else None,
        last.number("at") if last is not None else None,
        _text(last, "event"),
        _text(last, "text"),
        len(day),
        sum(one.either("moved", one.integer, 0) for one in day),
        _text(stopped[-1], "text") if stopped and _text(stopped[-1], "event") == "stopped" else "",
    )


def _text(record: Fields | None, name: str) -> str:
    return printable(record.either(name, record.text, ""), 300) if record is not None else ""


def document(status: WatchStatus | None) -> dict[str, Any]:
    """For JSON. None: none has ever run."""
    return asdict(status or WatchStatus(False))
