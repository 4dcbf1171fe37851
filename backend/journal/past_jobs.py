"""All jobs that have a journal: listing, finding, following and forgetting them."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from backend.errors import NotFound, NumatuiError, ParseError
from backend.files.text import printable
from backend.files.walk import Untrusted
from backend.journal.journal_file import SUFFIX, OpenFile, fact, whole_size
from backend.journal.past_job import JobState, PastJob, read_job, shown
from backend.state.local import LOCAL
from backend.state.numbering import numbers
from backend.state_files import StateFiles

KEEP = 500
"""Journals of ended jobs that are kept: the newest."""


def list_jobs(directory: Path, files: StateFiles = LOCAL) -> tuple[list[PastJob], list[str]]:
    """All jobs, the newest first, and what is wrong with files that are no journals. Never raises."""
    jobs: list[PastJob] = []
    problems: list[str] = []
    try:
        files.check_private(directory)
    except Untrusted as exc:
        return [], [str(exc)]
    for path in _numbered(directory, files):
        try:
            size, regular = files.stat(path)
            if size or not regular:  # else a job is just beginning
                jobs.append(read_job(path, files))
        except NumatuiError as exc:
            problems.append(str(exc))
        except FileNotFoundError:
            continue
        except OSError as exc:
            problems.append(f"{shown(path)}: {exc.strerror}")
    return jobs, problems


def own_jobs(files: StateFiles = LOCAL) -> tuple[list[PastJob], list[str]]:
    """As `list_jobs`, those of the user. Never raises."""
    try:
        return list_jobs(files.jobs_dir(), files)
    except NumatuiError as exc:
        return [], [str(exc)]


def newest_jobs(files: StateFiles, most: int) -> tuple[int, list[PastJob]]:
    """How many jobs the user has, and the newest that can be read, at most so many. Never raises."""
    out: list[PastJob] = []
    try:
        directory = files.jobs_dir()
        files.check_private(directory)
        paths = _numbered(directory, files)
    except (NumatuiError, OSError):
        return 0, []
    for path in paths[:most]:
        with suppress(NumatuiError, OSError):
            out.append(read_job(path, files))
    return len(paths), out


Known = dict[Path, tuple[int, JobState]]
"""Journal → its size and the state of its job, when last read."""


def changed_jobs(directory: Path, known: Known, files: StateFiles = LOCAL) -> list[PastJob]:
    """The jobs that changed since the last call, the oldest first. `known`: state kept from call to call, empty at
    first. Unreadable journals are left out. Never raises."""
    out: list[PastJob] = []
    for path in reversed(_numbered(directory, files)):
        before = known.get(path)
        try:
            size, _ = files.stat(path)
            if before is not None and before[0] == size and before[1] != "running":
                continue
            job = read_job(path, files)
        except (NumatuiError, OSError):
            continue
        known[path] = (size, job.state)
        if known[path] != before:
            out.append(job)
    return out


def find_job(directory: Path, name: str | None, files: StateFiles = LOCAL) -> PastJob:
    """The job of this name, or the newest that moved something and was not undone. Raises NotFound, ParseError,
    Untrusted."""
    files.check_private(directory)
    if name is not None:
        nothing = NotFound(f"there is no job '{printable(name)}'", "numatui jobs lists all")
        if not (name.isascii() and name.isdecimal()):
            raise nothing
        try:
            return read_job(directory / f"{name}{SUFFIX}", files)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise nothing from None
            raise ParseError(f"job '{printable(name)}' cannot be read ({exc.strerror})") from None
    for job in list_jobs(directory, files)[0]:
        if not job.undone_by and not job.undoes and (job.moved or job.cpusets or job.state == "interrupted"):
            return job
    raise NotFound("there is no job to undo", "numatui jobs lists all")


def mark_undone(job: PastJob, by: str) -> None:
    """Records in the journal that another job has undone this one. Raises OSError, ValueError."""
    fd, size, *_ = job.files.open(job.path, append=True)
    try:
        job.files.truncate(fd, whole_size(OpenFile(job.files, fd, size)))
        job.files.append(fd, fact({"undone_by": by}))
    finally:
        job.files.close(fd)


def prune(directory: Path, boot: str, keep: int = KEEP, files: StateFiles = LOCAL) -> None:
    """Removes the oldest journals beyond `keep`, except those of running jobs, and of interrupted ones of this boot of
    the machine: they can still be undone. Never raises."""
    for path in _numbered(directory, files)[keep:]:
        with suppress(OSError, NumatuiError):
            job = read_job(path, files)
            if job.state != "running" and (job.state != "interrupted" or job.boot != boot):
                files.unlink(path)


def _numbered(directory: Path, files: StateFiles) -> list[Path]:
    """The journals of a folder, the newest first."""
    return [directory / f"{number}{SUFFIX}" for number in numbers(files.names(directory), SUFFIX)]
