"""All jobs that have a journal: listing, finding, following and forgetting them."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from backend.errors import NotFound, NumatuiError, ParseError
from backend.files.jobs_dir import check_private, jobs_dir
from backend.files.text import printable
from backend.files.walk import Untrusted
from backend.journal.journal_file import append, fact, whole_size
from backend.journal.journal_folder import SUFFIX, numbered
from backend.journal.past_job import JobState, PastJob, read_job, shown

KEEP = 500
"""Journals of ended jobs that are kept: the newest."""


def list_jobs(directory: Path) -> tuple[list[PastJob], list[str]]:
    """All jobs, the newest first, and what is wrong with files that are no journals. Never raises."""
    jobs: list[PastJob] = []
    problems: list[str] = []
    try:
        check_private(directory)
    except Untrusted as exc:
        return [], [str(exc)]
    for _, path in numbered(directory):
        try:
            facts = path.lstat()
            if facts.st_size or not stat.S_ISREG(facts.st_mode):  # else a job is just beginning
                jobs.append(read_job(path))
        except NumatuiError as exc:
            problems.append(str(exc))
        except FileNotFoundError:
            continue
        except OSError as exc:
            problems.append(f"{shown(path)}: {exc.strerror}")
    return jobs, problems


def own_jobs() -> tuple[list[PastJob], list[str]]:
    """As `list_jobs`, those of the user. Never raises."""
    try:
        return list_jobs(jobs_dir())
    except NumatuiError as exc:
        return [], [str(exc)]


Known = dict[Path, tuple[int, JobState]]
"""Journal → its size and the state of its job, when last read."""


def changed_jobs(directory: Path, known: Known) -> list[PastJob]:
    """The jobs that changed since the last call, the oldest first. `known`: state kept from call to call, empty at
    first. Unreadable journals are left out. Never raises."""
    out: list[PastJob] = []
    for _, path in reversed(numbered(directory)):
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
    return out


def find_job(directory: Path, name: str | None) -> PastJob:
    """The job of this name, or the newest that moved something and was not undone. Raises NotFound, ParseError,
    Untrusted."""
    check_private(directory)
    if name is not None:
        nothing = NotFound(f"there is no job '{printable(name)}'", "numatui jobs lists all")
        if not (name.isascii() and name.isdecimal()):
            raise nothing
        try:
            return read_job(directory / f"{name}{SUFFIX}")
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise nothing from None
            raise ParseError(f"job '{printable(name)}' cannot be read ({exc.strerror})") from None
    for job in list_jobs(directory)[0]:
        if not job.undone_by and not job.undoes and (job.moved or job.cpusets or job.state == "interrupted"):
            return job
    raise NotFound("there is no job to undo", "numatui jobs lists all")


def mark_undone(job: PastJob, by: str) -> None:
    """Records in the journal that another job has undone this one. Raises OSError, ValueError."""
    fd = os.open(job.path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, whole_size(fd))
        append(fd, fact({"undone_by": by}))
    finally:
        os.close(fd)


def prune(directory: Path, boot: str, keep: int = KEEP) -> None:
    """Removes the oldest journals beyond `keep`, except those of running jobs, and of interrupted ones of this boot of
    the machine: they can still be undone. Never raises."""
    for _, path in numbered(directory)[keep:]:
        with suppress(OSError, NumatuiError):
            job = read_job(path)
            if job.state != "running" and (job.state != "interrupted" or job.boot != boot):
                path.unlink()
