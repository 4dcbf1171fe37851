"""Jobs as their journals record them: what ran, runs or was interrupted, and which pages came from where."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from backend.errors import NotFound, NumatuiError, ParseError
from backend.files.fields import Fields, integer, items, text
from backend.files.text import printable
from backend.job.journal import KEEP, VERSION, Runs, append_line, is_locked
from backend.nodeset import MAX_ID
from backend.plan.remap import Move
from backend.process.process import Identity

JobState = Literal["running", "interrupted", "done", "partly", "cancelled", "failed"]
_ENDS: tuple[JobState, ...] = ("done", "partly", "cancelled", "failed")
_LARGEST = 1 << 30
"""Bytes. Larger journals are refused."""
# Bytes of a page, at most.
_LARGEST_PAGE = 1 << 40
_MOST_PAGES = 1 << 24
"""Pages of one chunk, at most."""
_LATEST = 1 << 34
"""Seconds since 1970, at most: the year 2514."""


@dataclass(frozen=True, slots=True)
class JournaledChunk:
    """Pages that were about to move. `runs`: as `Runs`, of pages of `page_size` bytes (0: only the number of pages per
    mapping is known). `moved`: pages that moved, None if the job was interrupted meanwhile. `left`: those that did not.
    `shared`: shared pages moved as well."""

    move: Move
    page_size: int
    runs: Runs
    moved: int | None = None
    left: Runs = field(default_factory=Runs)
    shared: bool = False

    @property
    def pages(self) -> int:
        return sum(count for _, count in self.runs)


@dataclass(frozen=True, slots=True)
class PastJob:
    """One journal. `at`: seconds since 1970. `moved`: bytes, a lower bound. `undoes`, `undone_by`: names of jobs.
    `cpusets`: (path, mems before) of those changed with it. `worst_call`: seconds of the longest call, 0 if unknown."""

    job: str
    path: Path
    at: float
    source: str
    boot: str
    identity: Identity
    program: tuple[int, int]
    command: str
    method: str
    moves: tuple[Move, ...]
    state: JobState
    chunks: tuple[JournaledChunk, ...]
    moved: int
    error: str = ""
    undoes: str = ""
    undone_by: str = ""
    cpusets: tuple[tuple[str, str], ...] = ()
    worst_call: float = 0.0


def list_jobs(directory: Path) -> tuple[list[PastJob], list[str]]:
    """All jobs, the newest first, and what is wrong with files that are no journals. Never raises."""
    jobs: list[PastJob] = []
    problems: list[str] = []
    try:
        paths = sorted(directory.glob("*.jsonl"), reverse=True)
    except OSError:
        return [], []
    for path in paths:
        try:
            jobs.append(read_job(path))
        except NumatuiError as exc:
            problems.append(str(exc))
        except OSError as exc:
            problems.append(f"{_shown(path)}: {exc.strerror}")
    jobs.sort(key=lambda one: one.at, reverse=True)
    return jobs, problems


Known = dict[Path, tuple[int, JobState]]
"""Journal → its size and the state of its job, when last read."""


def changed_jobs(directory: Path, known: Known) -> list[PastJob]:
    """The jobs that changed since the last call, the oldest first. `known`: state kept from call to call, empty at
    first. Unreadable journals are left out. Never raises."""
    out: list[PastJob] = []
    try:
        paths = sorted(directory.glob("*.jsonl"))
    except OSError:
        return []
    for path in paths:
        before = known.get(path)
        try:
            size = path.stat().st_size
            if before is not None and before[0] == size and before[1] != "running":
                continue
            job = read_job(path)
        except (NumatuiError, OSError):
            continue
        known[path] = (size, job.state)
        if known[path] != before:
            out.append(job)
    return sorted(out, key=lambda one: one.at)


def find_job(directory: Path, name: str | None) -> PastJob:
    """The job of this name, or the newest that moved something and was not undone. Raises NotFound, ParseError."""
    if name is not None:
        nothing = NotFound(f"there is no job '{printable(name)}'", "numatui jobs lists all")
        if "/" in name or "\0" in name:
            raise nothing
        try:
            return read_job(directory / f"{name}.jsonl")
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise nothing from None
            raise ParseError(f"job '{printable(name)}' cannot be read ({exc.strerror})") from None
    for job in list_jobs(directory)[0]:
        if job.chunks and not job.undone_by and not job.undoes and (job.moved or job.state == "interrupted"):
            return job
    raise NotFound("there is no job to undo", "numatui jobs lists all")


def read_job(path: Path) -> PastJob:
    """Reads one journal. A truncated last line is ignored: it was being written when the job was interrupted. Raises
    ParseError, OSError."""
    # O_NONBLOCK: never blocks, for example on a FIFO.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
            raise ParseError(f"{_shown(path)} is not a file of yours", "remove it")
        if facts.st_size > _LARGEST:
            raise ParseError(f"{_shown(path)} is too large for a journal", "remove it")
        running = is_locked(fd)
        with open(fd, "rb", closefd=False) as file:
            raw = file.read(_LARGEST)
    finally:
        os.close(fd)
    try:
        return _job(path, [*_records(raw)], running)
    except ValueError as exc:
        why = printable(str(exc), 100)
        raise ParseError(f"{_shown(path)} is not a journal of this numatui ({why})", "remove it") from None


def mark_undone(job: PastJob, by: str) -> None:
    """Records in the journal that another job has undone this one. Raises OSError."""
    fd = os.open(job.path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _mend(fd)
        append_line(fd, {"undone_by": by})
    finally:
        os.close(fd)


def _mend(fd: int) -> None:
    """Prepares the file for another line: a truncated last line is removed, a complete one without newline gets it."""
    end = start = os.fstat(fd).st_size
    tail = b""
    while start and b"\n" not in tail:
        step = min(start, 1 << 16)
        start -= step
        tail = os.pread(fd, step, start) + tail
    rest = tail.rpartition(b"\n")[2]
    if not rest:
        return
    try:
        json.loads(rest)
        os.write(fd, b"\n")
    except (ValueError, RecursionError):
        os.ftruncate(fd, end - len(rest))


def prune(directory: Path, keep: int = KEEP) -> None:
    """Removes the oldest journals beyond `keep`, except those of running or interrupted jobs. Never raises."""
    with suppress(OSError):
        for path in sorted(directory.glob("*.jsonl"), reverse=True)[keep:]:
            with suppress(OSError, NumatuiError):
                if read_job(path).state not in ("running", "interrupted"):
                    path.unlink()


def _records(raw: bytes) -> Iterator[Fields]:
    lines = raw.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            record: object = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines):
                return
            raise ValueError(f"line {number} is not JSON") from None
        yield Fields(record, f"line {number}")


def _job(path: Path, records: list[Fields], running: bool) -> PastJob:
    if not records or records[0].raw.get("numatui-journal") != VERSION:
        raise ValueError("its first line is not a journal header of this version")
    head = records[0]
    chunks: dict[int, JournaledChunk] = {}
    ended: Fields | None = None
    undone_by = ""
    for record in records[1:]:
        if "chunk" in record:
            chunks[record.integer("chunk")] = _chunk(record)
        elif "after" in record:
            number = record.integer("after")
            known = chunks.get(number)
            if known is None:
                raise ValueError(f"there is no chunk {number}")
            left = _runs(record.items("left") if "left" in record else [], known.page_size)
            chunks[number] = replace(known, moved=record.integer("moved", 0, known.pages), left=left)
        elif "end" in record:
            ended = record
        elif "undone_by" in record:
            undone_by = record.text("undone_by")
    moved = sum((chunk.moved or 0) * chunk.page_size for chunk in chunks.values())
    state: JobState = "interrupted"
    if ended is not None:
        if ended.raw["end"] not in _ENDS:
            raise ValueError("it ended in an unknown way")
        state = ended.choice("end", _ENDS)
        moved = ended.get("moved", ended.integer, moved)
    code, stack = (integer(one, "program") for one in items(head.items("program"), "program", 2))
    cpusets = (items(one, "cpusets", 2) for one in (head.items("cpusets") if "cpusets" in head else []))
    return PastJob(
        job=path.stem,
        path=path,
        at=head.number("at", 0, _LATEST),
        source=head.text("source"),
        boot=head.text("boot"),
        identity=Identity(head.integer("pid"), head.integer("start_time")),
        program=(code, stack),
        command=head.text("command"),
        method=head.text("method"),
        moves=tuple(_move(*items(one, "moves", 2)) for one in head.items("moves")),
        state="running" if running else state,
        chunks=tuple(chunks.values()),
        moved=moved,
        error="" if ended is None else ended.get("error", ended.text, ""),
        undoes=head.get("undoes", head.text, ""),
        undone_by=undone_by,
        worst_call=0.0 if ended is None else ended.get("worst_call", ended.integer, 0) / 1e9,
        cpusets=tuple((text(one[0], "cpusets"), text(one[1], "cpusets")) for one in cpusets),
    )


def _chunk(record: Fields) -> JournaledChunk:
    size = record.integer("page_size", 0, _LARGEST_PAGE)
    move = _move(record.raw.get("from"), record.raw.get("to"))
    return JournaledChunk(move, size, _runs(record.items("runs"), size), shared="shared" in record)


def _runs(raw: list[Any], page_size: int) -> Runs:
    pairs = (items(one, "runs", 2) for one in raw)
    runs = [(integer(start, "runs"), integer(count, "runs")) for start, count in pairs]
    if page_size and sum(count for _, count in runs) > _MOST_PAGES:
        raise ValueError("more pages than are moved at once")
    if any(start + count * page_size >= 1 << 64 for start, count in runs):
        raise ValueError("pages beyond the end of all memory")
    return runs


def _move(source: Any, target: Any) -> Move:
    return Move(integer(source, "from", 0, MAX_ID), integer(target, "to", 0, MAX_ID))


def _shown(path: Path) -> str:
    return printable(str(path))
