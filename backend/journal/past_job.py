"""A job as its journal records it: what it was to do, how it ended, and which pages came from where."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from backend.errors import ParseError
from backend.files.fields import Fields, integer, items
from backend.files.text import printable
from backend.journal.journal_file import Frame, OpenFile, beginning, contents, frames, head_of, last_facts, read_fact
from backend.nodeset import MAX_ID, NodeSet
from backend.plan.remap import Move
from backend.process.process import LAYOUT, Identity, Program
from backend.state.local import LOCAL
from backend.state_files import StateFiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backend.placement.pagemap import Addresses

JobState = Literal["running", "interrupted", "done", "partly", "cancelled", "failed"]
_ENDS: tuple[JobState, ...] = ("done", "partly", "cancelled", "failed")
_LARGEST = 1 << 40
"""Bytes. Larger journals are refused."""
_SMALLEST_PAGE, _LARGEST_PAGE = 512, 1 << 40
NONE_LEFT = b"p" + bytes(4)
"""As `encode_marks` has it."""
_MOST_PAGES = 1 << 20
"""Pages of one chunk, at most."""
_LATEST = 1 << 34
"""Seconds since 1970, at most: the year 2514."""


@dataclass(frozen=True, slots=True)
class JournaledPart:
    """One process of a job. `program`: as in `Stat`. `confined`: it only shares a cpuset that the job narrowed."""

    identity: Identity
    program: Program
    command: str
    moves: tuple[Move, ...]
    confined: bool = False


@dataclass(frozen=True, slots=True)
class JournaledCpuset:
    """A cpuset that the job changed. `mems`, `written`: as in `Confinement`, before. `wide`: what its file said while
    pages moved. `final`: what it said in the end."""

    path: str
    mems: NodeSet
    written: NodeSet
    wide: NodeSet
    final: NodeSet


@dataclass(frozen=True, slots=True)
class PastJob:
    """One journal, without its pages. `at`: seconds since 1970. `moved`: bytes, a lower bound. `undoes`, `undone_by`:
    names of jobs. `counted`: pages were moved of which only the number is known. `worst_call`: seconds of the longest
    call, 0 if unknown. `files`: where its journal lies."""

    job: str
    path: Path
    at: float
    boot: str
    method: str
    parts: tuple[JournaledPart, ...]
    state: JobState
    moved: int
    cpusets: tuple[JournaledCpuset, ...] = ()
    error: str = ""
    undoes: str = ""
    undone_by: str = ""
    counted: bool = False
    worst_call: float = 0.0
    files: StateFiles = field(default=LOCAL, repr=False, compare=False)

    @property
    def moves(self) -> tuple[Move, ...]:
        """Those of all parts, each once."""
        return tuple(dict.fromkeys(move for part in self.asked for move in part.moves))

    @property
    def asked(self) -> tuple[JournaledPart, ...]:
        """The processes that were to be moved, without those that share their cpuset."""
        return tuple(one for one in self.parts if not one.confined)

    @property
    def title(self) -> str:
        """`4242 oracle`, `4242, 4243 and 6 more: postgres`. As hostile as every name."""
        pids = [str(one.identity.pid) for one in self.asked]
        command = self.asked[0].command if self.asked else ""
        if len(pids) == 1:
            return f"{pids[0]} {command}"
        return f"{', '.join(pids[:2])}{f' and {len(pids) - 2} more' if len(pids) > 2 else ''}: {command}"


@dataclass(frozen=True, slots=True)
class JournaledChunk:
    """Pages that were about to move. `part`: position of their process. `addresses`: of pages of `page_size` bytes,
    ascending. `left`: which of them did not move, None if the job was interrupted meanwhile. `shared`: pages that
    others map as well moved too."""

    part: int
    move: Move
    page_size: int
    addresses: Addresses
    left: NDArray[np.bool_] | None
    shared: bool


def read_job(path: Path, files: StateFiles = LOCAL) -> PastJob:
    """Reads the head and the end of one journal, and of one without an end what moved so far. Raises ParseError,
    OSError."""
    with _opened(path, files) as file:
        return _job(path, files, file)


Index = dict[int, list[tuple[Frame, Frame | None]]]
"""Part → its chunks in order, and what became of each: None if the job was interrupted meanwhile."""


def index_of(job: PastJob) -> Index:
    """Where the chunks of each part are. Reads none of their pages. Raises ParseError, OSError."""
    from backend.journal.journal import CHUNK, RESULT

    with _opened(job.path, job.files) as file:
        chunks: list[tuple[int, Frame]] = []
        results: dict[int, Frame] = {}
        for one in frames(file):
            if one.kind == b"C":
                part = int.from_bytes(beginning(file, one, 4), "little")
                if part >= len(job.parts) or one.length < CHUNK.size:
                    raise ValueError(f"chunk {len(chunks)} is of no process")
                chunks.append((part, one))
            elif one.kind == b"R":
                number, _ = RESULT.unpack(beginning(file, one, RESULT.size))
                if number >= len(chunks) or one.length < RESULT.size:
                    raise ValueError(f"there is no chunk {number}")
                results[number] = one
    out: Index = {}
    for number, (part, one) in enumerate(chunks):
        out.setdefault(part, []).append((one, results.get(number)))
    return out


def read_chunks(job: PastJob, index: Index, part: int) -> Iterator[JournaledChunk]:
    """The chunks of one part, the last first, one at a time. Raises ParseError, OSError."""
    from backend.journal.journal import CHUNK, RESULT
    from backend.journal.page_runs import decode_marks, decode_pages

    with _opened(job.path, job.files) as file:
        for chunk, result in reversed(index.get(part, [])):
            raw = contents(file, chunk)
            _, source, target, page_size, shared = CHUNK.unpack(raw[: CHUNK.size])
            if not _SMALLEST_PAGE <= page_size <= _LARGEST_PAGE or page_size & (page_size - 1):
                raise ValueError(f"the chunk at byte {chunk.at} is of no pages")
            addresses = decode_pages(raw[CHUNK.size :], page_size, _MOST_PAGES)
            left = None
            if result is not None:
                left = decode_marks(contents(file, result)[RESULT.size :] or NONE_LEFT, len(addresses))
            yield JournaledChunk(part, _move(source, target), page_size, addresses, left, bool(shared))


@contextmanager
def _opened(path: Path, files: StateFiles) -> Generator[OpenFile]:
    """The journal, open for reading. Turns ValueError into ParseError."""
    fd, size, own, running = files.open(path)
    try:
        if not own:
            raise ParseError(f"{shown(path)} is not a file of yours", "remove it")
        if size > _LARGEST:
            raise ParseError(f"{shown(path)} is too large for a journal", "remove it")
        yield OpenFile(files, fd, size, running)
    except ValueError as exc:
        why = printable(str(exc), 100)
        raise ParseError(f"{shown(path)} is not a journal of this numatui ({why})", "remove it") from None
    finally:
        files.close(fd)


def _job(path: Path, files: StateFiles, file: OpenFile) -> PastJob:
    first, head = head_of(file)
    facts = last_facts(file, first.end)
    if not any("end" in one for one in facts):
        facts = [read_fact(file, one) for one in frames(file, first.end) if one.kind == b"J"]
    ended = next((one for one in facts if "end" in one), None)
    state: JobState = "interrupted" if ended is None else ended.choice("end", _ENDS)
    job = PastJob(
        job=path.stem,
        path=path,
        at=head.number("at", 0, _LATEST),
        boot=head.text("boot"),
        method=head.text("method"),
        parts=tuple(_part(one) for one in head.objects("parts")),
        state="running" if file.running else state,
        moved=0 if ended is None else ended.integer("moved"),
        cpusets=tuple(_cpuset(one) for one in head.objects("cpusets")) if "cpusets" in head else (),
        error="" if ended is None else ended.get("error", ended.text, ""),
        undoes=head.get("undoes", head.text, ""),
        undone_by=next((one.text("undone_by") for one in reversed(facts) if "undone_by" in one), ""),
        counted=any("counted" in one for one in facts),
        worst_call=0.0 if ended is None else ended.get("worst_call", ended.integer, 0) / 1e9,
        files=files,
    )
    return replace(job, moved=_moved_so_far(file, first.end)) if ended is None else job


def _moved_so_far(file: OpenFile, at: int) -> int:
    """Bytes that a job without an end has moved for sure."""
    from backend.journal.journal import RESULT

    results = (beginning(file, one, RESULT.size) for one in frames(file, at) if one.kind == b"R")
    return sum(RESULT.unpack(one)[1] for one in results)


def _part(record: Fields) -> JournaledPart:
    return JournaledPart(
        Identity(record.integer("pid"), record.integer("start_time")),
        _program(record),
        record.text("command"),
        tuple(_move(*items(one, "moves", 2)) for one in record.items("moves")),
        "confined" in record,
    )


def _program(record: Fields) -> Program:
    """Journals had two of its numbers at first."""
    found = record.items("program")
    if not 2 <= len(found) <= len(LAYOUT):
        raise ValueError("program is not a list of addresses")
    return tuple(integer(one, "program") for one in found)


def _cpuset(record: Fields) -> JournaledCpuset:
    nodes = {name: NodeSet(integer(one, name, 0, MAX_ID) for one in record.items(name)) for name in _MEMS}
    return JournaledCpuset(record.text("path"), **nodes)


_MEMS = ("mems", "written", "wide", "final")


def _move(source: Any, target: Any) -> Move:
    return Move(integer(source, "from", 0, MAX_ID), integer(target, "to", 0, MAX_ID))


def shown(path: Path) -> str:
    return printable(str(path))
