"""The members of a tarball, one after the other, within limits: ustar, pax and GNU, plain or compressed.

Not tarfile: it reads the header of a long name whole, whatever its size, follows sizes below zero backwards, and keeps
every member; a file of 369 bytes made it use 6 GB. It also takes five times as long.
"""

from __future__ import annotations

import bz2
import io
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Literal, NamedTuple, Protocol

from backend.errors import ParseError
from backend.files.text import decode
from backend.recording import limits
from backend.recording.limits import MIB, too_large

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_FIELDS = struct.Struct("100s 24x 12s 12x 8s c 100s 6s 82x 155s 12x")
"""Name, size, checksum, type, link, magic, prefix."""
_HEADER = 16 << 10
"""Bytes of a header that gives a long name."""
_CHAIN = 4
"""Such headers before one member."""
_BZIP2 = 64 * MIB
"""Bytes that a bzip2 file may unpack to: it is slower, and hwloc-gather-topology's are small."""
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"xX", b"g", b"L", b"K"
_EXTENDED = _PAX + _PAX_GLOBAL + _LONG_NAME + _LONG_LINK
_SPARSE = b"S"
_USTAR = b"ustar\0"
_MODULUS = 65521
Kind = Literal["file", "hard link", "link", "folder", "other"]
_KINDS: dict[bytes, Kind] = {
    b"0": "file", b"\0": "file", b"7": "file", b"1": "hard link", b"2": "link", b"5": "folder", b"3": "other",
    b"4": "other", b"6": "other",
}  # fmt: skip


class CutOff(Exception):
    """The tarball ends in the middle of a member, or what follows is no tarball."""


class Member(NamedTuple):
    """`name`, `link`: as they stand there. `data`: the contents of a file; empty if they were not asked for."""

    name: str
    kind: Kind
    link: str
    data: bytes


def members(file: IO[bytes], what: str, keep: bool) -> Iterator[Member]:
    """`file` is read from where it stands. `what`: its name, for errors. `keep`: contents are wanted. Raises ParseError
    beyond the limits, CutOff, OSError."""
    return iter(_Reader(file, what, keep))


class _Reader:
    def __init__(self, file: IO[bytes], what: str, keep: bool) -> None:
        self._stream, self._most = _unpacked(file)
        self._what, self._keep = what, keep
        self._bytes = self._headers = self._count = self._names = self._told = 0

    def __iter__(self) -> Iterator[Member]:
        told: dict[str, str] = {}
        chain = 0
        while (header := self._header()) is not None:
            name, digits, _, kind, link, magic, prefix = header
            self._headers += 1
            if self._headers > limits.MAX_HEADERS:
                raise too_large(self._what, f"{limits.MAX_HEADERS} headers")
            size = _number(digits)
            if size > limits.MAX_FILE:
                raise too_large(self._what, f"files of {limits.MAX_FILE // MIB} MiB")
            if kind == _SPARSE:
                raise ParseError(f"{self._what} has sparse files", "pack it without: a recording has none")
            if kind in _EXTENDED:
                chain += 1
                if size > _HEADER or chain > _CHAIN:
                    raise too_large(self._what, f"names of {limits.MAX_NAME} bytes")
                told |= self._extended(kind, self._data(size))
                continue
            path, target = _text(name), _text(link) if link[0] else ""
            if prefix[0] and magic == _USTAR:
                path = f"{_text(prefix)}/{path}"
            if chain:
                path, target = told.get("path") or path, told.get("linkpath") or target
                told, chain = {}, 0
            yield self._member(path, target, kind, size)

    def _member(self, name: str, link: str, kind: bytes, size: int) -> Member:
        self._count += 1
        self._names += len(name)
        if self._count > limits.MAX_MEMBERS or self._names > limits.MAX_NAMES:
            raise too_large(self._what, f"{limits.MAX_MEMBERS} files")
        if len(name) > limits.WRITTEN_NAME or name.count("/") > limits.WRITTEN_DEPTH or len(link) > limits.WRITTEN_NAME:
            raise too_large(self._what, f"names of {limits.MAX_NAME} bytes and {limits.MAX_DEPTH} folders")
        what = _KINDS.get(kind, "file")
        if kind == b"\0" and name.endswith("/"):  # before POSIX, a folder was a file like this
            what = "folder"
        return Member(name, what, link, self._data(size, self._keep) if size and what == "file" else b"")

    def _header(self) -> tuple[bytes, ...] | None:
        """None at the end: a block of zeros, or of nothing if there was a member."""
        block = self._take(_BLOCK)
        if block == _ZEROS or (not block and self._count):
            return None
        if len(block) == _BLOCK:
            fields: tuple[bytes, ...] = _FIELDS.unpack(block)
            # The checksum counts its own field as spaces.
            if (_sum(block) - _sum(fields[2]) + 8 * 32 - _number(fields[2])) % _MODULUS == 0:
                return fields
        raise CutOff("it ends in the middle" if self._count else "it does not begin as one")

    def _data(self, size: int, keep: bool = True) -> bytes:
        padded = -(-size // _BLOCK) * _BLOCK
        if keep:
            data = self._take(padded)
            if len(data) < size:
                raise CutOff("it ends in the middle")
            return data[:size]
        while padded:
            part = self._take(min(padded, MIB))
            if not part:
                raise CutOff("it ends in the middle")
            padded -= len(part)
        return b""

    def _take(self, size: int) -> bytes:
        self._bytes += size
        if self._bytes > self._most:
            raise too_large(self._what, f"{self._most // MIB} MiB, unpacked,")
        try:
            return self._stream.read(size)
        except (zlib.error, EOFError, ValueError) as exc:
            raise CutOff(str(exc)) from None

    def _extended(self, kind: bytes, data: bytes) -> dict[str, str]:
        if kind == _LONG_NAME:
            return {"path": _text(data)}
        if kind == _LONG_LINK:
            return {"linkpath": _text(data)}
        told = self._records(data)
        if "size" in told or any(name.startswith("GNU.sparse") for name in told):
            raise ParseError(f"{self._what} has sparse files, or very large ones", "a recording has none")
        # What holds for all members cannot be a name.
        return {} if kind == _PAX_GLOBAL else {name: told[name] for name in ("path", "linkpath") if name in told}

    def _records(self, data: bytes) -> dict[str, str]:
        """The records of a pax header: "LENGTH NAME=VALUE\\n", with the length of all of it."""
        out: dict[str, str] = {}
        at = 0
        while at < len(data):
            space = data.find(b" ", at, at + 8)
            length = int(data[at:space]) if space > at and data[at:space].isdigit() else 0
            record = data[space + 1 : at + length]
            name, equals, value = record.partition(b"=")
            if length <= space - at + 1 or at + length > len(data) or not equals or not value.endswith(b"\n"):
                raise CutOff("a header is damaged")
            self._told += 1
            if self._told > limits.MAX_RECORDS:
                raise too_large(self._what, f"{limits.MAX_RECORDS} records in its headers")
            out[decode(name)] = decode(value[:-1])
            at += length
        return out


def _sum(data: bytes) -> int:
    """The sum of the bytes and one, modulo `_MODULUS`: the lower half of Adler-32. Python's sum() takes twenty times
    as long, which was half of what a header cost."""
    return zlib.adler32(data) & 0xFFFF


def _number(field: bytes) -> int:
    """Octal digits. Larger and negative numbers, of the GNU form, are in no recording."""
    digits = field.strip(b" \0")
    if not digits:
        return 0
    try:
        return int(digits, 8) if digits.isdigit() else limits.MAX_BYTES + 1
    except ValueError:
        return limits.MAX_BYTES + 1


def _text(field: bytes) -> str:
    return decode(field.partition(b"\0")[0])


def _unpacked(file: IO[bytes]) -> tuple[IO[bytes], int]:
    """The bytes of the tarball, and how many there may be."""
    start = file.read(4)
    file.seek(0)
    if start[:2] == b"\x1f\x8b":
        return io.BufferedReader(_Unpacking(file, zlib.decompressobj(31)), MIB), limits.MAX_BYTES
    if start[:3] == b"BZh":
        return io.BufferedReader(_Unpacking(file, bz2.BZ2Decompressor()), MIB), min(_BZIP2, limits.MAX_BYTES)
    return file, limits.MAX_BYTES


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Unpacking(io.RawIOBase):
    """A compressed stream, never more of it than is asked for. Only the first of several that follow each other."""

    def __init__(self, file: IO[bytes], unpacker: _Unpacker) -> None:
        self._file, self._unpacker = file, unpacker
        self._packed = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._unpacker.eof:
            if not self._packed:
                self._packed = self._file.read(1 << 16)
            ended = not self._packed
            try:
                data = self._unpacker.decompress(self._packed, len(buffer))
            except OSError as exc:  # bzip2: not what the kernel says of the file
                raise ValueError(str(exc)) from None
            self._packed = getattr(self._unpacker, "unconsumed_tail", b"")
            if data:
                buffer[: len(data)] = data
                return len(data)
            if ended:
                raise EOFError("it is cut off")
        return 0
