"""Jobs as their journals tell them: what ran, what runs, what was interrupted, which pages came from where."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from backend.errors import NotFound, NumatuiError, ParseError
from backend.files.text import printable
from backend.job.journal import KEEP, VERSION, Runs, append_line, is_locked
from backend.nodeset import MAX_ID
from backend.plan.remap import Move
from backend.process.process import Identity

JobState = Literal["running", "interrupted", "done", "partly", "cancelled", "failed"]
_ENDS: tuple[JobState, ...] = ("done", "partly", "cancelled", "failed")
_LARGEST = 1 << 30
"""Bytes of a journal that is read."""
_LARGEST_PAGE = 1 << 40
_MOST_PAGES = 1 << 24
"""Pages of a chunk."""
_LATEST = 1 << 34
"""Seconds since 1970 that are taken for a time."""


@dataclass(frozen=True, slots=True)
class JournaledChunk:
    """Pages that were about to move. `runs` as `Runs`, of pages of `page_size` bytes (0: only numbers of pages by
    mapping are known). `moved`: how many did, None where the job was interrupted meanwhile; `left`: those that did not;
    `shared`: whether pages that others map moved as well."""

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
    """One journal. `at`: seconds since 1970; `moved`: bytes, at least; `undoes`, `undone_by`: names of jobs; `cpusets`:
    (path, mems before) of those that were changed with it; `worst_call`: seconds of the longest call, 0 where it is not
    told."""

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
    """All jobs, the newest first, and what is wrong with the files that are none. Never raises."""
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
"""Journals as they were: their sizes and how their jobs stood."""


def changed_jobs(directory: Path, known: Known) -> list[PastJob]:
    """The jobs that are not as they were at the last call, the oldest first. `known`: what it remembers from call to
    call, in the beginning nothing. What cannot be read is left out. Never raises."""
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
    """The job of this name, or the newest that moved something and was not taken back. Raises NotFound, ParseError."""
    if name is not None:
        nothing = NotFound(f"there is no job '{printable(name)}'", "numatui jobs lists those there are")
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
    raise NotFound("there is no job to take back", "numatui jobs lists those there were")


def read_job(path: Path) -> PastJob:
    """One journal. A last line that was cut off is left out: it was being written when the job was interrupted. Raises
    ParseError, OSError."""
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
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        why = printable(str(exc), 100)
        raise ParseError(f"{_shown(path)} is not a journal of this numatui ({why})", "remove it") from None


def mark_undone(job: PastJob, by: str) -> None:
    """Write into a journal that another job has taken it back. Raises OSError."""
    fd = os.open(job.path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _mend(fd)
        append_line(fd, {"undone_by": by})
    finally:
        os.close(fd)


def _mend(fd: int) -> None:
    """Nothing may stand before the next line: a last line that was cut off goes, one that only lacks its end gets
    it."""
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
    """Remove the oldest journals beyond `keep`; those of interrupted jobs stay. Never raises."""
    with suppress(OSError):
        for path in sorted(directory.glob("*.jsonl"), reverse=True)[keep:]:
            with suppress(OSError, NumatuiError):
                if read_job(path).state not in ("running", "interrupted"):
                    path.unlink()


def _records(raw: bytes) -> Iterator[dict[str, Any]]:
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
        if not isinstance(record, dict):
            raise ValueError(f"line {number} is not a record")
        yield cast(dict[str, Any], record)


def _job(path: Path, records: list[dict[str, Any]], running: bool) -> PastJob:
    if not records or records[0].get("numatui-journal") != VERSION:
        raise ValueError("its first line is not that of a journal, or of another version")
    head = records[0]
    chunks: dict[int, JournaledChunk] = {}
    ended: dict[str, Any] = {}
    undone_by = ""
    for record in records[1:]:
        if "chunk" in record:
            size = _count(record["page_size"], _LARGEST_PAGE)
            chunks[_count(record["chunk"])] = JournaledChunk(
                _move(record["from"], record["to"]),
                size,
                _runs(record["runs"], size),
                shared="shared" in record,
            )
        elif "after" in record:
            known = chunks[_count(record["after"])]
            moved, left = _count(record["moved"], known.pages), _runs(record.get("left", []), known.page_size)
            chunks[_count(record["after"])] = replace(known, moved=moved, left=left)
        elif "end" in record:
            ended = record
        elif "undone_by" in record:
            undone_by = str(record["undone_by"])
    how = ended.get("end")
    if how is not None and how not in _ENDS:
        raise ValueError("it ended in no known way")
    state: JobState = "running" if running else "interrupted" if how is None else how
    at = float(head["at"])
    if not 0 <= at < _LATEST:
        raise ValueError("it began at no time")
    code, stack = (_count(one) for one in head["program"])
    return PastJob(
        job=path.stem,
        path=path,
        at=at,
        source=str(head["source"]),
        boot=str(head["boot"]),
        identity=Identity(_count(head["pid"]), _count(head["start_time"])),
        program=(code, stack),
        command=str(head["command"]),
        method=str(head["method"]),
        moves=tuple(_move(a, b) for a, b in head["moves"]),
        state=state,
        chunks=tuple(chunks.values()),
        moved=_count(ended["moved"])
        if "moved" in ended
        else sum((c.moved or 0) * c.page_size for c in chunks.values()),
        error=str(ended.get("error", "")),
        undoes=str(head.get("undoes", "")),
        undone_by=undone_by,
        worst_call=_count(ended.get("worst_call", 0)) / 1e9,
        cpusets=tuple((str(path), str(mems)) for path, mems in head.get("cpusets", [])),
    )


def _runs(raw: Any, page_size: int) -> Runs:
    runs = [(_count(start), _count(count)) for start, count in raw]
    if page_size and sum(count for _, count in runs) > _MOST_PAGES:
        raise ValueError("more pages than are moved at once")
    if any(start + count * page_size >= 1 << 64 for start, count in runs):
        raise ValueError("pages beyond the end of all memory")
    return runs


def _move(source: Any, target: Any) -> Move:
    return Move(_count(source, MAX_ID), _count(target, MAX_ID))


def _count(raw: Any, most: int = (1 << 64) - 1) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw <= most:
        raise ValueError(f"{str(raw)[:40]!r} is not a number of it")
    return raw


def _shown(path: Path) -> str:
    return printable(str(path))
