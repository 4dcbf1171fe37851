"""The file of a journal: frames that are written whole, checked when they are read, and read from either end.

    "numatui-journal 3\\n", then frames: kind (1 byte), length (u32), contents, CRC-32 (u32), length again (u32)

Facts (`J`) are JSON objects, for everything of which there is little. Chunks (`C`) are the pages that are about to
move, results (`R`) which of them did not (`backend.journal.page_runs`). The first fact is the head. The last ones can
be read without the pages, as the length stands at the end too. Little-endian.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from backend.files.fields import Fields

MAGIC = b"numatui-journal 3\n"
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


def append(fd: int, data: bytes, sync: bool = True) -> None:
    """Write frames at the end; they are on disk when this returns if `sync`. What could not be written whole is taken
    away again, so that what follows can be read. Raises OSError."""
    end = os.fstat(fd).st_size
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
        if sync:
            os.fdatasync(fd)
    except OSError:
        with suppress(OSError):
            os.ftruncate(fd, end)
        raise


def contents(fd: int, one: Frame) -> bytes:
    """Raises ValueError if they are not what was written."""
    data = os.pread(fd, one.length + _AROUND, one.at)
    if len(data) != one.length + _AROUND:
        raise ValueError("it is cut off")
    inside = data[_FRONT.size : -_BACK.size]
    if _BACK.unpack(data[-_BACK.size :]) != (zlib.crc32(inside, zlib.crc32(one.kind)), one.length):
        raise ValueError(f"what stands at byte {one.at} is damaged")
    return inside


def beginning(fd: int, one: Frame, count: int) -> bytes:
    """The first bytes of its contents, unchecked: filled up with zeros if it is shorter."""
    return os.pread(fd, min(count, one.length), one.at + _FRONT.size).ljust(count, b"\0")


def read_fact(fd: int, one: Frame) -> Fields:
    """Raises ValueError."""
    try:
        return Fields(json.loads(contents(fd, one)), f"record at byte {one.at}")
    except RecursionError:
        raise ValueError(f"the record at byte {one.at} is nested too deeply") from None


def frames(fd: int, size: int, at: int = len(MAGIC)) -> Iterator[Frame]:
    """All whole frames from `at` on; their contents are not read. A last one that is cut off was being written when
    the job was interrupted. Raises ValueError."""
    while at + _AROUND <= size:
        kind, length = _FRONT.unpack(os.pread(fd, _FRONT.size, at).ljust(_FRONT.size, b"\0"))
        if kind not in _KINDS or length > _LARGEST:
            raise ValueError(f"what stands at byte {at} is no record")
        one = Frame(kind, at, length)
        if one.end > size:
            if last_frame(fd, size, at) is not None:
                raise ValueError(f"the record at byte {at} is damaged")
            return
        yield one
        at = one.end


def head_of(fd: int, size: int) -> tuple[Frame, Fields]:
    """Raises ValueError if the file does not begin with a whole head."""
    if os.pread(fd, len(MAGIC), 0) != MAGIC:
        raise ValueError("it does not begin as a journal of this version does")
    first = next(frames(fd, size), None)
    if first is None or first.kind != b"J":
        raise ValueError("it has no head")
    return first, read_fact(fd, first)


def last_frame(fd: int, size: int, after: int) -> Frame | None:
    """The frame that ends at `size` and begins at `after` or later; None if none does."""
    if size - _AROUND < after:
        return None
    tail = os.pread(fd, 4, size - 4)
    length = int.from_bytes(tail, "little")
    at = size - _AROUND - length
    front = os.pread(fd, _FRONT.size, at) if after <= at and length <= _LARGEST else b""
    if len(tail) < 4 or len(front) < _FRONT.size:
        return None
    kind, again = _FRONT.unpack(front)
    return Frame(kind, at, length) if kind in _KINDS and again == length else None


def last_facts(fd: int, size: int, after: int) -> list[Fields]:
    """The facts at the end of the file, in order, up to the last page record; none of those before `after`. Empty if
    the file does not end with a whole frame. Raises ValueError for a damaged one."""
    out: list[Fields] = []
    while (one := last_frame(fd, size, after)) is not None and one.kind == b"J":
        out.append(read_fact(fd, one))
        size = one.at
    return out[::-1]


def whole_size(fd: int) -> int:
    """The size of the file without a last frame that is cut off. Raises ValueError, OSError."""
    size = os.fstat(fd).st_size
    end = len(MAGIC)
    for one in frames(fd, size):
        end = one.end
    return min(size, end)
