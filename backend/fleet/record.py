"""What was moved on many hosts, so that it can be taken back as a whole. The journals of the jobs are on the hosts;
here is which host has which: a file for each, a JSON document a line, on disk before a host is asked to move."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.errors import Busy, NotFound, NumatuiError, ParseError
from backend.files.fields import Fields
from backend.remote.ssh import Destination
from backend.state.local import LOCAL
from backend.state.numbering import numbers

SUFFIX = ".fleet"
_MOST = 16 << 20
"""Bytes of a record."""


@dataclass(frozen=True, slots=True)
class Moved:
    """`hosts`: in their order; a job by host, where one is known. A host without one was asked to move, and did not say
    what became of it. `began`: when each host's job began by that host's clock (`PastJob.at`), 0 if that is not known:
    its folder may have been emptied since, and the number be another job's."""

    name: str
    at: float
    sudo: bool
    title: str
    hosts: list[str]
    jobs: dict[str, str] = field(default_factory=dict[str, str])
    began: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def back(self) -> list[str]:
        """The hosts on which there is something to take back, the last one first."""
        return [host for host in reversed(self.hosts) if host in self.jobs]

    @property
    def unknown(self) -> list[str]:
        return [host for host in self.hosts if host not in self.jobs]


def folder() -> Path:
    """Where the records lie. Raises NotFound for a user without a home."""
    return LOCAL.jobs_dir().parent / "fleet"


class Record:
    """A new one. Raises NumatuiError if it cannot be written."""

    def __init__(self, title: str, sudo: bool, of: str = "") -> None:
        """`of`: the one that this takes back."""
        first = {"at": time.time(), "sudo": sudo, "title": title, "of": of}
        self.name, self._fd = LOCAL.begin(folder(), SUFFIX, _line(first))

    def begins(self, hosts: list[str]) -> None:
        """These are about to move."""
        self._write({"begins": hosts})

    def ended(self, host: str, job: str, began: float = 0.0) -> None:
        """`job`: the name of the job over there; empty: nothing was done."""
        self._write({"host": host, "job": job, "began": began})

    def complete(self) -> None:
        """All of the other one was taken back."""
        self._write({"complete": True})

    def close(self) -> None:
        LOCAL.close(self._fd)

    def _write(self, record: dict[str, Any]) -> None:
        LOCAL.append(self._fd, _line(record))


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def find(name: str | None) -> Moved:
    """That of this name, or the newest that was not taken back. Raises NotFound, ParseError, Untrusted."""
    where = folder()
    LOCAL.check_private(where)
    names = [str(one) for one in numbers(LOCAL.names(where), SUFFIX)]
    if name is not None and name not in names:
        raise NotFound(f"there is no fleet job {name[:20]}", f"there are {', '.join(names[:10]) or 'none'}")
    undone: set[str] = set()
    for one in names:
        try:
            found, of, complete, running = _read(where / (one + SUFFIX), one)
        except NumatuiError:
            if one == name:
                raise
            continue  # another one that is damaged keeps nobody from taking this one back
        if complete:
            undone.add(of)
        if of or not (one == name or (name is None and one not in undone and found.hosts)):
            if one == name:
                raise NotFound(f"fleet job {one} took {of} back itself", f"numatui fleet undo {of}")
            continue
        if one in undone:
            raise NotFound(f"fleet job {one} was taken back already", "name another")
        if running:
            raise Busy(f"fleet job {one} is still moving", "wait until it has ended, or stop it")
        return found
    raise NotFound("there is no fleet job to take back", "numatui fleet jobs lists what hosts have done")


def _read(path: Path, name: str) -> tuple[Moved, str, bool, bool]:
    """The record; the name of that which it takes back, and whether it has done so; whether it is at work."""
    try:
        fd, size, own, running = LOCAL.open(path)
        try:
            if not own or size > _MOST:
                raise ValueError("it is not a file of yours")
            lines = LOCAL.pread(fd, size, 0).decode("ascii").split("\n")[:-1]  # what has no end was not written whole
        finally:
            LOCAL.close(fd)
        head = Fields(json.loads(lines[0]))
        found = Moved(name, head.number("at"), head.truth("sudo"), head.text("title"), [])
        complete = False
        for line in lines[1:]:
            record = Fields(json.loads(line))
            if "begins" in record:
                found.hosts.extend(Destination(str(one)).host for one in record.items("begins"))
            elif "complete" in record:
                complete = record.truth("complete")
            elif record.text("job"):
                found.jobs[record.text("host")] = _job(record.text("job"))
                found.began[record.text("host")] = record.number("began") if "began" in record else 0.0
            else:
                found.hosts.remove(record.text("host"))
        return found, head.text("of"), complete, running
    except (OSError, ValueError, IndexError) as exc:
        raise ParseError(f"the record of fleet job {name} is damaged ({exc})", f"look at {path}") from None


def _job(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ValueError("that is no name of a job")
    return text
