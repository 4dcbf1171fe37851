"""Many files in one answer, and only what has changed since the last one.

The agent keeps what it sent last; the other side keeps what it got. A batch is a list of patterns (`*` and `?` and
`[…]` in any part of a path; one that ends in a slash stands for folders, whose contents are their names). Its answer
has the paths that are new or gone, a byte of news for each path, and the new contents: whole, or the middle that
differs from what was there before, also some batches ago."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any

from backend.files.patterns import expand

if TYPE_CHECKING:
    from collections.abc import Callable

SAME, WHOLE, PART, FAILED = 0, 1, 2, 3
"""News of a path. Contents of FAILED are its errno."""
_LENGTH = struct.Struct("<I")
_ENDS = struct.Struct("<II")
MOST_PATHS = 200_000
_MOST = 48 << 20
"""Bytes of files that one batch brings, and that are kept of it, at most: what is beyond is read one by one."""
_LARGEST = 4 << 20
"""Bytes of one file in a batch, at most."""
_SECONDS = 5.0
"""What a batch may take. What is not read by then is read one by one: somebody may hold a file up."""
_MOST_KEPT = 16
"""Batches that are kept, by their key."""
_ROUNDS = 16
"""Batches for which contents are kept that none of them asked for. Both sides drop them at the same time."""


class Kept:
    """Contents by path, with the batch in which they were seen last. The same on both sides, so the same is dropped."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, int]] = {}
        self._round = 0

    def begin(self) -> None:
        """A batch begins."""
        self._round += 1

    def get(self, path: str) -> bytes | None:
        """What is known of it."""
        found = self._files.get(path)
        return None if found is None else found[0]

    def put(self, path: str, data: bytes | None) -> None:
        """None: it cannot be read now."""
        if data is None:
            self._files.pop(path, None)
        else:
            self._files[path] = (data, self._round)

    def end(self) -> None:
        """Drop what no batch has asked for lately; all of it if it is too much."""
        most = sum(len(data) for data, _ in self._files.values()) > _MOST
        oldest = self._round if most else self._round - _ROUNDS
        self._files = {path: one for path, one in self._files.items() if one[1] >= oldest}


class Batches:
    """The agent's side: what it sent last, by the key of a batch."""

    def __init__(
        self, read: Callable[[str, int, int], bytes], listdir: Callable[[str], list[str]], clock: Callable[[], float]
    ) -> None:
        self._read, self._listdir, self._clock = read, listdir, clock
        self._kept: dict[str, tuple[list[str], Kept]] = {}

    def answer(self, key: str, patterns: list[str], anew: bool) -> tuple[dict[str, Any], bytes]:
        """`anew`: the other side has nothing of this batch. Returns the header's part and the payload."""
        end = self._clock() + _SECONDS
        lists: dict[str, list[str]] = {}
        now: dict[str, None] = {}
        cut = False
        for pattern in patterns:
            for path in expand(pattern, self._listdir, lists):
                cut = cut or (len(now) >= MOST_PATHS and path not in now)
                if not cut:
                    now[path] = None
        if len(self._kept) >= _MOST_KEPT and key not in self._kept:
            self._kept.clear()
        before, known = self._kept.get(key, ([], Kept()))
        if anew:
            before, known = [], Kept()
        was = set(before)
        gone = [number for number, path in enumerate(before) if path not in now]
        new = [path for path in now if path not in was]
        order = [path for path in before if path in now] + new
        news, amount = bytearray(), 0
        parts: list[bytes] = []
        known.begin()
        for path in order:
            data = self._contents(path) if amount < _MOST and self._clock() < end else _failed(errno.EAGAIN)
            amount += len(data[1])
            old = known.get(path)
            kind, body = _difference(data, old)
            news.append(kind)
            if body is not None:
                parts.append(_LENGTH.pack(len(body)) + body)
            known.put(path, data[1] if data[0] == WHOLE else None)
        known.end()
        self._kept[key] = (order, known)
        paths = "\0".join(new).encode("utf-8", "surrogateescape")
        head = struct.pack("<III", len(gone), len(paths), len(news)) + struct.pack(f"<{len(gone)}I", *gone)
        return {"count": len(order), "had": len(before), "cut": cut}, head + paths + bytes(news) + b"".join(parts)

    def _contents(self, path: str) -> tuple[int, bytes]:
        try:
            if path.endswith("/"):
                data = "\0".join(sorted(self._listdir(path))).encode("utf-8", "surrogateescape")
            else:
                data = self._read(path, 0, -1)
        except OSError as exc:
            return _failed(exc.errno or errno.EIO)
        return (WHOLE, data) if len(data) <= _LARGEST else _failed(errno.EAGAIN)


def _failed(number: int) -> tuple[int, bytes]:
    return FAILED, _LENGTH.pack(number)


def _difference(data: tuple[int, bytes], old: bytes | None) -> tuple[int, bytes | None]:
    kind, new = data
    if kind == FAILED:
        return FAILED, new
    if old is None:
        return WHOLE, new
    if old == new:
        return SAME, None
    front = _alike(old, new, min(len(old), len(new)))
    most = min(len(old), len(new)) - front
    back = _alike(old[len(old) - most :][::-1], new[len(new) - most :][::-1], most)
    return PART, _ENDS.pack(front, back) + new[front : len(new) - back]


def _alike(a: bytes, b: bytes, most: int) -> int:
    """How many of their first bytes are the same, `most` at most."""
    low = 0
    while low < most:
        middle = (low + most + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            most = middle - 1
    return low


class Received:
    """The other side: the contents of a batch, kept up to date."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.files: dict[str, bytes | int] = {}
        """Path → contents, or the errno of reading it."""
        self.cut = False
        """There was more than a batch holds: what is missing may be there."""
        self._kept = Kept()

    def update(self, header: dict[str, Any], payload: bytes) -> None:
        """Raises ValueError for what is no answer; then nothing is known any longer."""
        order, kept = self.order, self._kept
        self.order, self.files, self._kept = [], {}, Kept()
        self.cut = header.get("cut") is not False
        if header.get("had") != len(order):
            raise ValueError("a batch refers to another one")
        try:
            gone_count, path_bytes, count = struct.unpack_from("<III", payload)
            at = 12
            gone = set(struct.unpack_from(f"<{min(gone_count, len(order))}I", payload, at))
            at += 4 * gone_count
            raw = payload[at : at + path_bytes].decode("utf-8", "surrogateescape")
            at += path_bytes
            news = payload[at : at + count]
            at += count
        except struct.error:
            raise ValueError("a batch is cut off") from None
        order = [path for number, path in enumerate(order) if number not in gone] + (raw.split("\0") if raw else [])
        if len(order) != count or len(news) != count or count > MOST_PATHS:
            raise ValueError("a batch does not fit together")
        files: dict[str, bytes | int] = {}
        kept.begin()
        for path, kind in zip(order, news):  # noqa: B905
            if kind == SAME:
                files[path] = _kept(kept.get(path))
                kept.put(path, kept.get(path))
                continue
            if at + 4 > len(payload):
                raise ValueError("a batch is cut off")
            (length,) = _LENGTH.unpack_from(payload, at)
            body = payload[at + 4 : at + 4 + length]
            at += 4 + length
            now = _applied(kind, body, kept.get(path))
            kept.put(path, now if isinstance(now, bytes) else None)
            files[path] = now
        kept.end()
        self.order, self.files, self._kept = order, files, kept


def _kept(data: bytes | None) -> bytes:
    if data is None:
        raise ValueError("a batch has nothing new of what is not known")
    return data


def _applied(kind: int, body: bytes, old: bytes | None) -> bytes | int:
    if kind == WHOLE:
        return body
    if kind == FAILED and len(body) == 4:
        return _LENGTH.unpack(body)[0]
    if kind == PART and len(body) >= 8 and old is not None:
        front, back = _ENDS.unpack_from(body)
        if front + back <= len(old):
            return old[:front] + body[8:] + old[len(old) - back :]
    raise ValueError("a batch has a part of nothing")
