"""Sizes and times: one grammar, every unit, and nothing else."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backend.files.units import MAX_SIZE, parse_seconds, parse_size

EXACT = 1 << 53
"""Up to this many bytes a number of bytes is exact; beyond, it is rounded as a float is."""
POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
NANOSECONDS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "": 10**9, "min": 60 * 10**9, "m": 60 * 10**9,
    "h": 3600 * 10**9, "d": 86400 * 10**9,
}  # fmt: skip
spaces = st.sampled_from(["", " ", "\t", "  "])


@given(st.integers(0, 1023), st.sampled_from(list(POWERS)), st.sampled_from(["", "B", "iB"]), spaces, spaces)
def test_a_size_is_its_number_times_the_power_of_1024_of_its_unit(
    number: int, unit: str, tail: str, between: str, around: str
) -> None:
    assert parse_size(f"{around}{number}{between}{unit}{tail}{around}") == number * 1024 ** POWERS[unit]


@given(st.integers(0, EXACT), st.sampled_from(list(POWERS)), st.sampled_from(list(POWERS)))
def test_a_size_is_the_same_in_every_unit_that_has_a_whole_number_for_it(size: int, one: str, other: str) -> None:
    coarse = 1024 ** max(POWERS[one], POWERS[other])
    size -= size % coarse
    written = {parse_size(f"{size // 1024 ** POWERS[unit]}{unit}") for unit in (one, other)}
    assert written == {size}


@given(st.integers(0, 999), st.integers(0, 999_999), st.sampled_from(list(POWERS)))
def test_a_decimal_fraction_of_a_unit_is_rounded_down_to_bytes(whole: int, millionths: int, unit: str) -> None:
    exact = (whole + Fraction(millionths, 10**6)) * 1024 ** POWERS[unit]
    size = parse_size(f"{whole}.{millionths:06}{unit}")
    assert abs(size - exact) < 1 + exact / EXACT
    if exact.denominator == 1 and exact <= EXACT:
        assert size == exact


@pytest.mark.parametrize(
    ("text", "size"), [("1024P", MAX_SIZE), ("1023.5P", MAX_SIZE - (1 << 49)), ("0", 0), ("0.000001", 0)]
)
def test_the_largest_and_the_smallest_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["1025P", "1024.000001P", "2000000T", "999999999999999999P", "999999999999999999k"])
def test_a_larger_size_is_too_large(text: str) -> None:
    with pytest.raises(ValueError, match="is too large"):
        parse_size(text)


@given(st.integers(0, 10**6), st.sampled_from(list(NANOSECONDS)), spaces, spaces)
def test_a_time_is_its_number_times_its_unit(number: int, unit: str, between: str, around: str) -> None:
    seconds = parse_seconds(f"{around}{number}{between}{unit}{around}")
    assert seconds == pytest.approx(number * NANOSECONDS[unit] / 1e9, rel=1e-12)
    assert round(seconds * 1e9) == pytest.approx(number * NANOSECONDS[unit], rel=1e-12)


@given(st.integers(0, 10**6), st.sampled_from(list(NANOSECONDS)), st.sampled_from(list(NANOSECONDS)))
def test_a_time_is_the_same_in_every_unit(number: int, one: str, other: str) -> None:
    nanoseconds = number * max(NANOSECONDS[one], NANOSECONDS[other])
    counts = [nanoseconds // NANOSECONDS[unit] for unit in (one, other)]
    assume(max(counts) < 10**12)
    first, second = (parse_seconds(f"{count}{unit}") for count, unit in zip(counts, (one, other), strict=True))
    assert first == pytest.approx(second, rel=1e-12)
    assert first == pytest.approx(nanoseconds / 1e9, rel=1e-12)


WRONG = [
    "", " ", "-1", "+1", "1e3", "nan", "inf", "NaN", "0x10", "1_000", "1,5", ".5", "5.", "1.5.5", "1 2", "one", "M",
    "1MM", "1KiBs", "1 x", "1\nM x", "²", "1\0", "٣x", "1" * 19 + "M", "1.1234567M", "1k iB", "1ki", "s", "5 mins",
    "5S", "5MS", "1.0123456789s",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_not_a_size_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write it like 100M or 2GiB"):
        parse_size(text)


@pytest.mark.parametrize("text", [*WRONG, "5K", "5Ms", "5 M", "5B", "1" * 13 + "s"])
def test_what_is_not_a_time_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time: write it like 5ms, 10s or 2m"):
        parse_seconds(text)


written = st.text() | st.from_regex(r"[0-9]{0,25}[.]?[0-9]{0,12} ?[kKMGTPmsunhdiB]{0,4}", fullmatch=True)


@given(written)
def test_any_text_is_a_size_within_bounds_or_a_value_error(text: str) -> None:
    try:
        size = parse_size(text)
    except ValueError:
        return
    assert type(size) is int
    assert 0 <= size <= MAX_SIZE
    assert parse_size(str(size)) == size or size > EXACT


@given(written)
def test_any_text_is_a_finite_time_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_seconds(text)
    except ValueError:
        return
    assert type(seconds) is float
    assert 0 <= seconds < 10**12 * 86400


def test_large_sizes_are_exact_and_digits_are_ascii() -> None:
    assert parse_size("9007199254740993") == 9007199254740993
    assert parse_size("999999999999999999") == 999999999999999999
    with pytest.raises(ValueError, match="is not a size"):
        parse_size("١M")
