"""Frames: what is written is read; what is no frame is refused before it is kept or unpacked."""

from __future__ import annotations

import base64
import io
import json
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.agent.frames import LINE, MOST, BadFrame, decode, encode

keys = st.text(max_size=8).filter(lambda key: key not in ("lines", "z"))
headers = st.dictionaries(keys, st.integers() | st.text(max_size=20), max_size=4)
payloads = st.none() | st.binary(max_size=300) | st.integers(0, 200_000).map(bytes)


@given(st.lists(st.tuples(headers, payloads), max_size=4))
def test_what_is_written_is_read(frames: list[tuple[dict[str, Any], bytes | None]]) -> None:
    raw = b"".join(encode(header, payload) for header, payload in frames)
    assert all(len(line) <= LINE for line in raw.splitlines(keepends=True))
    stream = io.BytesIO(raw)
    for header, payload in frames:
        found = decode(stream)
        assert found is not None
        assert {key: value for key, value in found[0].items() if key not in ("lines", "z")} == header
        assert found[1] == payload
    assert decode(stream) is None


def everything(raw: bytes) -> int:
    """How many frames there are."""
    stream, count = io.BytesIO(raw), 0
    while decode(stream) is not None:
        count += 1
    return count


@given(st.binary(max_size=400) | st.lists(st.binary(max_size=30), max_size=6).map(b"\n".join))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with suppress(BadFrame):
        everything(raw)


@given(st.data())
def test_a_real_frame_with_other_bytes_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(encode({"id": 1, "ok": None}, bytes(range(256)) * 40))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    with suppress(BadFrame):
        everything(bytes(raw))


def line(**header: Any) -> bytes:
    return json.dumps(header).encode() + b"\n"


BOMB = base64.b64encode(zlib.compress(bytes(1 << 20), 9)) + b"\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"x" * (LINE + 5) + b"\n",
        b'{"id": 1}',
        b"[]\n",
        b"7\n",
        b"[" * 60_000 + b"\n",
        b"\xff\xfe\n",
        line(lines=-1),
        line(lines=True),
        line(lines=1 << 40),
        line(lines="1") + b"AAAA\n",
        line(lines=1) + b"%%%%\n",
        line(lines=2) + b"AAAA\n",
        line(lines=1, z=MOST + 1) + BOMB,
        line(lines=1, z=1000) + BOMB,
        line(lines=1, z=(1 << 20) + 1) + BOMB,
        line(lines=1, z=10) + b"AAAA\n",
        line(lines=1) + b"A" * (LINE + 4) + b"\n",
    ],
)  # fmt: skip
def test_what_is_no_frame_is_refused(raw: bytes) -> None:
    with pytest.raises(BadFrame):
        everything(raw)


def test_a_bomb_is_not_unpacked_beyond_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[int] = []
    real = zlib.decompressobj

    class Counting:
        def __init__(self) -> None:
            self.inner = real()

        def decompress(self, data: bytes, most: int) -> bytes:
            out = self.inner.decompress(data, most)
            unpacked.append(len(out))
            return out

        eof = False

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    with pytest.raises(BadFrame):
        decode(io.BytesIO(line(lines=1, z=1000) + BOMB))
    assert unpacked == [1001]


def test_a_payload_is_counted_while_it_comes() -> None:
    piece = base64.b64encode(bytes(48_000)) + b"\n"
    with pytest.raises(BadFrame, match="too long"):
        everything(line(lines=1500) + piece * 1500)
