"""What was moved on many hosts, so that it can be taken back as a whole. The journals of the jobs are on the hosts;
here is which host has which: a file for each, a JSON document a line, on disk before a host is asked to move."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.errors import NotFound, ParseError
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
    what became of it."""

    name: str
    at: float
    sudo: bool
    title: str
    hosts: list[str]
    jobs: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def unknown(self) -> list[str]:
        return [host for host in self.hosts if host not in self.jobs]


def folder() -> Path:
    """Where the records lie. Raises NotFound for a user without a home."""
    return LOCAL.jobs_dir().parent / "fleet"


class Record:
    """A new one. Raises NumatuiError if it cannot be written."""

    def __init__(self, title: str, sudo: bool) -> None:
        first = {"at": time.time(), "sudo": sudo, "title": title}
        self.name, self._fd = LOCAL.begin(folder(), SUFFIX, _line(first))

    def begins(self, hosts: list[str]) -> None:
        """These are about to move."""
        self._write({"begins": hosts})

    def ended(self, host: str, job: str) -> None:
        """`job`: the name of the job over there; empty: nothing was done."""
        self._write({"host": host, "job": job})

    def undone(self, name: str) -> None:
        """Another one was taken back by this, all of it."""
        self._write({"undoes": name})

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
        found, undoes = _read(where / (one + SUFFIX), one)
        if undoes:
            undone.add(undoes)
        elif one == name or (name is None and one not in undone and found.hosts):
            if one in undone:
                raise NotFound(f"fleet job {one} was taken back already", "name another")
            return found
    raise NotFound("there is no fleet job to take back", "numatui fleet jobs lists what hosts have done")


def _read(path: Path, name: str) -> tuple[Moved, str]:
    """The record, and the name of that which it takes back."""
    try:
        lines = LOCAL.read(path, _MOST).decode("ascii").splitlines()
        head = Fields(json.loads(lines[0]))
        found = Moved(name, head.number("at"), head.truth("sudo"), head.text("title"), [])
        undoes = ""
        for line in lines[1:]:
            record = Fields(json.loads(line))
            if "begins" in record:
                found.hosts.extend(Destination(str(one)).host for one in record.items("begins"))
            elif "undoes" in record:
                undoes = record.text("undoes")
            elif record.text("job"):
                found.jobs[record.text("host")] = _job(record.text("job"))
            else:
                found.hosts.remove(record.text("host"))
    except (OSError, ValueError, IndexError) as exc:
        raise ParseError(f"the record of fleet job {name} is damaged ({exc})", f"look at {path}") from None
    return found, undoes


def _job(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ValueError("that is no name of a job")
    return text
