"""The file of a journal: frames that are written whole, checked when they are read, and read from either end.

    "numatui-journal 3\\n", then frames: kind (1 byte), length (u32), contents, CRC-32 (u32), length again (u32)

Facts (`J`) are JSON objects, for everything of which there is little. Chunks (`C`) are the pages that are about to
move, results (`R`) which of them did not (`backend.journal.page_runs`). The first fact is the head. The last ones can
be read without the pages, as the length stands at the end too. Little-endian.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from backend.files.fields import Fields
from backend.state_files import StateFiles

MAGIC = b"numatui-journal 3\n"
SUFFIX = ".job"
"""Of the file of a job, whose name is its number."""
Kind = Literal[b"J", b"C", b"R"]
_KINDS = (b"J", b"C", b"R")
_FRONT = struct.Struct("<cI")
_BACK = struct.Struct("<II")
_AROUND = _FRONT.size + _BACK.size
_LARGEST = 64 << 20
"""Bytes of one frame: a head with 100,000 processes, or a chunk of millions of scattered pages."""


@dataclass(frozen=True, slots=True)
class Frame:
    """`at`: the byte at which it begins. `length`: bytes of its contents."""

    kind: bytes
    at: int
    length: int

    @property
    def end(self) -> int:
        return self.at + self.length + _AROUND


def frame(kind: Kind, contents: bytes) -> bytes:
    crc = zlib.crc32(contents, zlib.crc32(kind))
    return _FRONT.pack(kind, len(contents)) + contents + _BACK.pack(crc, len(contents))


def fact(record: dict[str, Any]) -> bytes:
    return frame(b"J", json.dumps(record, separators=(",", ":")).encode())


class OpenFile:
    """A journal that is open for reading, in the state directory of some machine. Of a far
    machine larger pieces are read: each is a round trip. `size`: bytes, when it was opened; `running`: it is locked."""

    def __init__(self, files: StateFiles, fd: int, size: int, running: bool = False) -> None:
        self._files, self._fd = files, fd
        self.size, self.running = size, running
        self._piece, self._at = b"", 0

    def pread(self, count: int, at: int) -> bytes:
        """Raises OSError."""
        if not self._at <= at <= at + count <= self._at + len(self._piece):
            begin = max(0, at - self._files.piece // 16)  # the end is read backwards
            self._piece = self._files.pread(self._fd, max(count + at - begin, self._files.piece), begin)
            self._at = begin
        return self._piece[at - self._at : at - self._at + count]


def contents(file: OpenFile, one: Frame) -> bytes:
    """Raises ValueError if they are not what was written."""
    data = file.pread(one.length + _AROUND, one.at)
    if len(data) != one.length + _AROUND:
        raise ValueError("it is cut off")
    inside = data[_FRONT.size : -_BACK.size]
    if _BACK.unpack(data[-_BACK.size :]) != (zlib.crc32(inside, zlib.crc32(one.kind)), one.length):
        raise ValueError(f"what stands at byte {one.at} is damaged")
    return inside


def beginning(file: OpenFile, one: Frame, count: int) -> bytes:
    """The first bytes of its contents, unchecked: filled up with zeros if it is shorter."""
    return file.pread(min(count, one.length), one.at + _FRONT.size).ljust(count, b"\0")


def read_fact(file: OpenFile, one: Frame) -> Fields:
    """Raises ValueError."""
    try:
        return Fields(json.loads(contents(file, one)), f"record at byte {one.at}")
    except RecursionError:
        raise ValueError(f"the record at byte {one.at} is nested too deeply") from None


def frames(file: OpenFile, at: int = len(MAGIC)) -> Iterator[Frame]:
    """All whole frames from `at` on; their contents are not read. A last one that is cut off was being written when
    the job was interrupted. Raises ValueError."""
    size = file.size
    while at + _AROUND <= size:
        kind, length = _FRONT.unpack(file.pread(_FRONT.size, at).ljust(_FRONT.size, b"\0"))
        if kind not in _KINDS or length > _LARGEST:
            raise ValueError(f"what stands at byte {at} is no record")
        one = Frame(kind, at, length)
        if one.end > size:
            if last_frame(file, size, at) is not None:
                raise ValueError(f"the record at byte {at} is damaged")
            return
        yield one
        at = one.end


def head_of(file: OpenFile) -> tuple[Frame, Fields]:
    """Raises ValueError if the file does not begin with a whole head."""
    if file.pread(len(MAGIC), 0) != MAGIC:
        raise ValueError("it does not begin as a journal of this version does")
    first = next(frames(file), None)
    if first is None or first.kind != b"J":
        raise ValueError("it has no head")
    return first, read_fact(file, first)


def last_frame(file: OpenFile, size: int, after: int) -> Frame | None:
    """The frame that ends at `size` and begins at `after` or later; None if none does."""
    if size - _AROUND < after:
        return None
    tail = file.pread(4, size - 4)
    length = int.from_bytes(tail, "little")
    at = size - _AROUND - length
    front = file.pread(_FRONT.size, at) if after <= at and length <= _LARGEST else b""
    if len(tail) < 4 or len(front) < _FRONT.size:
        return None
    kind, again = _FRONT.unpack(front)
    return Frame(kind, at, length) if kind in _KINDS and again == length else None


def last_facts(file: OpenFile, after: int) -> list[Fields]:
    """The facts at the end of the file, in order, up to the last page record; none of those before `after`. Empty if
    the file does not end with a whole frame. Raises ValueError for a damaged one."""
    out: list[Fields] = []
    size = file.size
    while (one := last_frame(file, size, after)) is not None and one.kind == b"J":
        out.append(read_fact(file, one))
        size = one.at
    return out[::-1]


def whole_size(file: OpenFile) -> int:
    """The size of the file without a last frame that is cut off. Raises ValueError, OSError."""
    end = len(MAGIC)
    for one in frames(file):
        end = one.end
    return min(file.size, end)
