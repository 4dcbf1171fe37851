"""The audit log of the automatic mover: one JSON document per line, private, append-only."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.advice.advice import Proposal
from backend.errors import Busy, NumatuiError
from backend.files.text import printable
from backend.mover.mover import Decision
from backend.process.process import Process
from backend.state.local import LOCAL
from backend.state_files import Held, StateFiles

SCHEMA = "numatui/watch/1"
LOG = "watch.jsonl"
MAX_BYTES = 16 << 20
"""Beyond this size the log is renamed to `watch.jsonl.1`, which replaces the previous one."""


class AuditLog:
    """`locks`: the folder in which movers of this machine lock. Raises Busy if another mover runs, NumatuiError if it
    cannot be written."""

    def __init__(self, folder: Path, locks: Path, files: StateFiles = LOCAL) -> None:
        self.path, self._files = folder / LOG, files
        files.make_private(folder)
        self._lock = self._held(locks)
        self._held_log = False
        self._beginning: dict[str, Any] | None = None
        """How it began, and by which policy: at the head of every log, as the old one is put aside."""
        try:
            self._fd = self._open(self.path)
            self._hold()
        except BaseException:
            self._lock.close()
            raise

    def _held(self, locks: Path) -> Held:
        try:
            return self._files.lock_name(locks, "watch.lock")
        except OSError:
            raise Busy(
                "another numatui watch is running on this machine", "two would undo each other's work: stop one of them"
            ) from None

    def _open(self, path: Path) -> int:
        try:
            return self._files.open_log(path)
        except OSError as exc:
            raise self._cannot_write(exc) from None

    def write(self, record: dict[str, Any]) -> None:
        """Raises NumatuiError if it cannot be written; nothing may be moved after that."""
        try:
            if self._files.size(self._fd) > MAX_BYTES:
                self._files.rename(self.path, self.path.with_suffix(".jsonl.1"))
                old, self._fd = self._fd, self._open(self.path)
                self._files.close(old)
                self._held_log = False
                if self._beginning is not None:
                    self._files.append(self._fd, _line(self._beginning))
            self._hold()
            if record.get("event") in ("started", "loaded"):
                self._beginning = {**(self._beginning or {}), **record, "event": "started"}
            self._files.append(self._fd, _line(record), sync=record.get("event") in ("moving", "moved"))
        except OSError as exc:
            raise self._cannot_write(exc) from None

    def _hold(self) -> None:
        """Shows that it is running. Whoever looks at it in this moment is in the way: the next record tries again. The
        log of a home on several machines is held by one of them."""
        if not self._held_log:
            with suppress(OSError):
                self._files.hold(self._fd)
                self._held_log = True

    def _cannot_write(self, exc: OSError) -> NumatuiError:
        return NumatuiError(
            f"the audit log {self.path} cannot be written ({exc.strerror})", "nothing is moved without it"
        )

    def close(self) -> None:
        self._files.close(self._fd)
        self._lock.close()


def _line(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, separators=(",", ":")) + "\n").encode()


def event(name: str, **more: Any) -> dict[str, Any]:
    """A record of another kind than a decision: started, loaded, moving, stopped, ended, trouble."""
    return {"schema": SCHEMA, "at": round(time.time(), 3), "event": name, **more}


def announcement(process: Process, proposal: Proposal) -> dict[str, Any]:
    """What is about to be done: on disk before it is."""
    return event("moving", **_who(process), **_what(proposal))


def _who(process: Process) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "start_time": process.identity.start_time,
        "user": printable(process.user, 64),
        "command": printable(process.command, 200),
    }


def _what(proposal: Proposal) -> dict[str, Any]:
    return {"from": list(proposal.sources), "to": list(proposal.targets), "bytes": proposal.bytes}


def record_of(decision: Decision, wall: float) -> dict[str, Any]:
    """A decision as a record."""
    proposal, process, outcome = decision.proposal, decision.process, decision.outcome
    return {
        "schema": SCHEMA,
        "at": round(wall, 3),
        "event": decision.action,
        **_who(process),
        **_what(proposal),
        "gain": round(proposal.ratio, 4),
        "confidence": proposal.confidence,
        "why": decision.code or None,
        "text": decision.text,
        "job": outcome.job if outcome is not None else None,
        "moved": outcome.moved if outcome is not None else None,
        "seconds": outcome.elapsed / 1e9 if outcome is not None else None,
        "worst_call_seconds": outcome.worst_call / 1e9 if outcome is not None else None,
    }
