"""Pages and marks as bytes: the same again, few, and harmless when nobody wrote them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.journal.page_runs import decode_marks, decode_pages, encode_marks, encode_pages
from backend.placement.pagemap import Addresses

SIZES = (4096, 65536, 2 << 20)
EXAMPLES = settings(max_examples=300)
COUNT = 4
"""Bytes of the number of runs."""


def addresses(numbers: Sequence[int], page_size: int = 4096) -> Addresses:
    return np.array(numbers, np.uint64) * np.uint64(page_size)


def laid_out(runs: Sequence[tuple[int, int]]) -> list[int]:
    """Numbers of pages, from the distance of each run from the one before and its length."""
    out: list[int] = []
    end = 0
    for gap, length in runs:
        out += range(end + gap, end + gap + length)
        end += gap + length
    return out


def extra(numbers: Sequence[int]) -> int:
    """Bytes that all pages take beside those of the first."""
    return len(encode_pages(addresses(numbers), 4096)) - len(encode_pages(addresses(numbers[:1]), 4096))


gaps = st.integers(0, 3) | st.integers(0, 1 << 14) | st.integers(0, 1 << 35)
lengths = st.integers(1, 3) | st.integers(1, 300)
scattered = st.sets(st.integers(0, (1 << 43) - 2), max_size=50).map(sorted)
page_numbers = st.lists(st.tuples(gaps, lengths), max_size=30).map(laid_out) | scattered
sizes = st.sampled_from(SIZES)


class TestPages:
    @EXAMPLES
    @given(page_numbers, sizes)
    def test_what_is_encoded_is_decoded(self, numbers: list[int], page_size: int) -> None:
        wanted = addresses(numbers, page_size)
        raw = encode_pages(wanted, page_size)
        assert decode_pages(raw, page_size, len(wanted)).tolist() == wanted.tolist()
        if numbers:
            with pytest.raises(ValueError, match="more pages"):
                decode_pages(raw, page_size, len(wanted) - 1)

    @pytest.mark.parametrize("page_size", SIZES)
    def test_at_either_end_of_the_memory_of_a_process(self, page_size: int) -> None:
        last = (1 << 57) // page_size - 1
        for numbers in ([], [0], [0, 1, 2, 5], [0, 2, 3], [last], [0, last], [last - 3, last - 2, last]):
            wanted = addresses(numbers, page_size)
            assert decode_pages(encode_pages(wanted, page_size), page_size, 4).tolist() == wanted.tolist()

    @EXAMPLES
    @given(st.integers(0, (1 << 35) - 1), st.lists(st.integers(1, 8191), max_size=300))
    def test_pages_less_than_32_mib_apart_take_two_bytes_at_most(self, first: int, steps: list[int]) -> None:
        numbers = np.cumsum([first, *steps]).tolist()
        assert extra(numbers) <= 2 * len(steps)
        assert len(encode_pages(addresses(numbers), 4096)) <= COUNT + 6 + 2 * len(steps)

    @EXAMPLES
    @given(st.integers(0, 1 << 35), st.integers(1, 5000))
    def test_memory_that_alternates_between_two_nodes_takes_one_byte_a_page(self, first: int, count: int) -> None:
        assert extra(range(first, first + 2 * count, 2)) == count - 1

    def test_a_terabyte_in_one_piece_takes_few_bytes(self) -> None:
        assert len(encode_pages(np.arange(1 << 20, dtype=np.uint64) * np.uint64(1 << 20), 1 << 20)) <= COUNT + 4


class TestMarks:
    @EXAMPLES
    @given(st.lists(st.booleans(), max_size=300))
    def test_what_is_encoded_is_decoded(self, marks: list[bool]) -> None:
        raw = encode_marks(np.array(marks, np.bool_))
        assert decode_marks(raw, len(marks)).tolist() == marks
        assert len(raw) <= 1 + (len(marks) + 7) // 8

    @EXAMPLES
    @given(st.integers(1, 1 << 16), st.sets(st.integers(0, (1 << 16) - 1), max_size=5))
    def test_few_among_many_take_few_bytes(self, count: int, which: set[int]) -> None:
        marks = np.isin(np.arange(count), sorted(which))
        raw = encode_marks(marks)
        assert decode_marks(raw, count).tolist() == marks.tolist()
        assert len(raw) <= 1 + COUNT + 4 * len(which)

    def test_those_of_a_smaller_chunk_are_refused(self) -> None:
        for marks in (np.ones(100, np.bool_), np.arange(100) % 3 == 0, np.arange(100) == 99):
            with pytest.raises(ValueError):
                decode_marks(encode_marks(marks), 50)


def number(value: int) -> bytes:
    """As ULEB128."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


numbers = st.integers(0, 300) | st.integers(0, (1 << 70) - 1)
hostile = st.binary(max_size=300) | st.tuples(st.integers(0, 30), st.lists(numbers, max_size=30)).map(
    lambda made: made[0].to_bytes(COUNT, "little") + b"".join(map(number, made[1]))
)


class TestHostile:
    @EXAMPLES
    @given(hostile, st.sampled_from([*SIZES, 1 << 40]), st.integers(0, 5000))
    def test_any_bytes_are_few_pages_or_refused(self, raw: bytes, page_size: int, most: int) -> None:
        tracemalloc.start()
        try:
            found = decode_pages(raw, page_size, most).tolist()
        except ValueError:
            found = []
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert len(found) <= most
        assert all(one < other for one, other in pairwise(found))
        assert all(one % page_size == 0 for one in found)
        assert peak < (64 << 10) + 100 * (len(raw) + most)

    @EXAMPLES
    @given(st.sampled_from([b"", b"p", b"b", b"x"]), hostile, st.integers(0, 5000))
    def test_any_bytes_are_the_marks_of_a_chunk_or_refused(self, kind: bytes, raw: bytes, count: int) -> None:
        with suppress(ValueError):
            assert len(decode_marks(kind + raw, count)) == count

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"\0\0\0",
            b"\1\0\0\0",
            b"\xff\xff\xff\xff\0",
            b"\1\0\0\0\x80",
            b"\1\0\0\0\0\0",
            b"\1\0\0\0\1",
            b"\1\0\0\0" + b"\x80" * 9 + b"\1",
            b"\1\0\0\0" + number((1 << 54) + 2),
            b"\1\0\0\0\1" + number((1 << 63) - 1),
            b"\2\0\0\0\1\1" + number((1 << 63) - 1) * 2,
        ],
    )
    def test_what_nobody_encodes(self, raw: bytes) -> None:
        with pytest.raises(ValueError):
            decode_pages(raw, 4096, 1 << 20)

    def test_marks_whose_distances_wrap_around_are_refused(self) -> None:
        far = [(1 << 62) - 512] * 4 + [1000] * 3
        raw = len(far).to_bytes(COUNT, "little") + b"".join(number(gap << 1) for gap in far)
        with pytest.raises(ValueError):
            decode_marks(b"p" + raw, 1000)
