"""The audit log of the automatic mover: one JSON document per line, private, append-only."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from backend.advice.advice import Proposal
from backend.errors import Busy, NumatuiError
from backend.files.jobs_dir import make_private
from backend.files.text import printable
from backend.job.machine_lock import open_lock
from backend.journal.journal_file import append
from backend.mover.mover import Decision
from backend.process.process import Process

SCHEMA = "numatui/watch/1"
MAX_BYTES = 16 << 20
"""Beyond this size the log is renamed to `watch.jsonl.1`, which replaces the previous one."""
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class AuditLog:
    """`locks`: the folder in which movers of this machine lock. Raises Busy if another mover runs, NumatuiError if it
    cannot be written."""

    def __init__(self, folder: Path, locks: Path) -> None:
        self.path = folder / "watch.jsonl"
        make_private(folder)
        self._lock = open_lock(locks, "watch.lock")
        try:
            self._hold()
            self._fd = self._open(self.path)
        except BaseException:
            os.close(self._lock)
            raise

    def _hold(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy(
                "another numatui watch is running on this machine", "two would undo each other's work: stop one of them"
            ) from None

    def _open(self, path: Path) -> int:
        try:
            return os.open(path, _FLAGS, 0o600)
        except OSError as exc:
            raise self._cannot_write(exc) from None

    def write(self, record: dict[str, Any]) -> None:
        """Raises NumatuiError if it cannot be written; nothing may be moved after that."""
        try:
            if os.fstat(self._fd).st_size > MAX_BYTES:
                os.replace(self.path, self.path.with_suffix(".jsonl.1"))
                old, self._fd = self._fd, self._open(self.path)
                os.close(old)
            line = (json.dumps(record, separators=(",", ":")) + "\n").encode()
            append(self._fd, line, sync=record.get("event") in ("moving", "moved"))
        except OSError as exc:
            raise self._cannot_write(exc) from None

    def _cannot_write(self, exc: OSError) -> NumatuiError:
        return NumatuiError(
            f"the audit log {self.path} cannot be written ({exc.strerror})", "nothing is moved without it"
        )

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._lock)


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
