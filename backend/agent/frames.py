"""How numatui and its agent talk: lines of text, so that whatever carries lines can carry it (ssh, ClusterShell).

A frame is a line with a JSON object and, if that has `lines`, as many lines of base64 after it: a payload, compressed
if that makes it smaller (`z`: its length before that). No line is longer than 64 KiB. Either side takes the other for
hostile: lengths are checked before anything is read or decompressed."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Protocol

    class Lines(Protocol):
        """What lines come from."""

        def readline(self, limit: int, /) -> bytes: ...


VERSION = 1
MAGIC = "numatui-agent"
"""In the first line of an agent: {MAGIC: VERSION, "hello": …}."""
LINE = 1 << 16
"""Bytes of a line, at most, its end included."""
_PIECE = 48_000
"""Bytes of payload in one line."""
MOST = 64 << 20
"""Bytes of a payload, at most."""
_WORTH = 200
"""Bytes from which on compressing is tried."""


class BadFrame(ValueError):
    """What came is no frame."""


def encode(header: dict[str, Any], payload: bytes | None = None) -> bytes:
    """One frame. Raises ValueError if its header is too long for a line."""
    lines: list[bytes] = []
    if payload is not None:
        if len(payload) >= _WORTH:
            small = zlib.compress(payload, 6)
            if len(small) < len(payload):
                header = dict(header, z=len(payload))
                payload = small
        lines = [base64.b64encode(payload[at : at + _PIECE]) + b"\n" for at in range(0, max(1, len(payload)), _PIECE)]
        header = dict(header, lines=len(lines))
    line = json.dumps(header, separators=(",", ":")).encode("ascii") + b"\n"
    if len(line) > LINE:
        raise ValueError(f"a header of {len(line)} bytes is too long")
    return line + b"".join(lines)


def read_line(stream: Lines) -> bytes:
    """One line without its end. Raises BadFrame, also at the end of the stream."""
    line = stream.readline(LINE + 1)
    if len(line) > LINE:
        raise BadFrame("a line is too long")
    if not line.endswith(b"\n"):
        raise BadFrame("a line is cut off")
    return line.rstrip(b"\r\n")


def decode(stream: Lines, most: int = MOST) -> tuple[dict[str, Any], bytes | None] | None:
    """The next frame: header, payload (`most` bytes). None at the end of the stream. Raises BadFrame, OSError."""
    line = stream.readline(LINE + 1)
    if not line:
        return None
    if len(line) > LINE or not line.endswith(b"\n"):
        raise BadFrame("a line is too long or cut off")
    try:
        header: Any = json.loads(line.decode("ascii"))
    except (ValueError, RecursionError):
        raise BadFrame(f"what came is no frame: {line[:60]!r}") from None
    if not _is_object(header):
        raise BadFrame("a header is no object")
    if "lines" not in header:
        return header, None
    count = whole(header["lines"], 2 * most // _PIECE)
    whole_size = whole(header["z"], most) if "z" in header else None
    parts: list[bytes] = []
    amount = 0
    for _ in range(count):
        try:
            parts.append(base64.b64decode(read_line(stream), validate=True))
        except binascii.Error:
            raise BadFrame("a payload is not base64") from None
        amount += len(parts[-1])
        if amount > most:
            raise BadFrame("a payload is too long")
    return header, _inflated(b"".join(parts), whole_size)


def _inflated(data: bytes, whole_size: int | None) -> bytes:
    if whole_size is None:
        return data
    inflating = zlib.decompressobj()
    try:
        out = inflating.decompress(data, whole_size + 1)
    except zlib.error:
        raise BadFrame("a payload is damaged") from None
    if len(out) != whole_size or not inflating.eof:
        raise BadFrame("a payload is not as long as it says")
    return out


def whole(value: Any, most: int) -> int:
    """A number from 0 to `most`. Raises BadFrame."""
    if type(value) is not int or not 0 <= value <= most:
        raise BadFrame("a number is out of range")
    return value


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)
