"""Node sets against the real libnuma on a machine with four nodes."""

from __future__ import annotations

import ctypes
import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backend.errors import NumatuiError
from backend.nodeset import NodeSet

NODES = NodeSet(range(4))
VALID = [
    "0", "1", "3", "0,2", "0-3", "1-2", "0-1,3", "3,1", "0,0", "2-2", "0-1,1-2", "all", "!0", "!1-2", "!0-3", "!all",
    "+0", "+0-1", "+3", "+0,2", "!+0-1", "+all", "!+all", " 1", "0, 1", "0- 1", "\t2", "+ 1", "00", "03", "0x1", "0X2",
    "0x0-0x3", "0,all", "++0", "01-02", "0,1,2,3", "3,2,1,0", "",
]  # fmt: skip
INVALID = [
    "4",
    "0-4",
    "7",
    "0,9",
    "a",
    "0,",
    ",0",
    "0,,1",
    "-",
    "0-",
    "-1",
    "1 ",
    "0 ,1",
    "0;1",
    "0:1",
    "x",
    "!",
    "+",
    "!!0",
    "+4",
    "+0-4",
    "!4",
    "alll",
    "al",
    "ALL",
    "all,0",
    "all ",
    "99999999999999999999",
    "0--1",
    "1-2-3",
    "0.5",
    "0\n",
    "08",
    "0x",
    "0xg",
    "!+",
    "+!0",
]


class Bitmask(ctypes.Structure):
    """struct bitmask of numa.h."""

    _fields_ = [("size", ctypes.c_ulong), ("words", ctypes.POINTER(ctypes.c_ulong))]


@pytest.fixture(scope="module")
def libnuma() -> ctypes.CDLL:
    library = ctypes.CDLL("libnuma.so.1")
    library.numa_parse_nodestring.restype = ctypes.POINTER(Bitmask)
    library.numa_parse_nodestring.argtypes = [ctypes.c_char_p]
    library.numa_bitmask_isbitset.argtypes = [ctypes.POINTER(Bitmask), ctypes.c_uint]
    library.numa_bitmask_free.argtypes = [ctypes.POINTER(Bitmask)]
    assert library.numa_available() == 0
    return library


@contextmanager
def silence() -> Iterator[None]:
    """Keep libnuma's warnings off stderr."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def theirs(library: ctypes.CDLL, text: str) -> NodeSet | None:
    """What libnuma makes of it; None where it refuses."""
    with silence():
        found = library.numa_parse_nodestring(text.encode())
    if not found:
        return None
    nodes = NodeSet(node for node in range(64) if library.numa_bitmask_isbitset(found, node))
    library.numa_bitmask_free(found)
    return nodes


def ours(text: str) -> NodeSet | None:
    """What we make of it; None where we refuse."""
    try:
        return NodeSet.parse(text, NODES)
    except NumatuiError:
        return None


def test_valid_strings_mean_the_same(libnuma: ctypes.CDLL) -> None:
    wrong = {text: (ours(text), theirs(libnuma, text)) for text in VALID}
    assert {text: pair for text, pair in wrong.items() if pair[0] != pair[1] or pair[0] is None} == {}


def test_invalid_strings_are_refused_by_both(libnuma: ctypes.CDLL) -> None:
    wrong = {text: (ours(text), theirs(libnuma, text)) for text in INVALID}
    assert {text: pair for text, pair in wrong.items() if pair != (None, None)} == {}


def test_a_backwards_range_is_refused_by_us_alone(libnuma: ctypes.CDLL) -> None:
    assert ours("3-1") is None
    assert theirs(libnuma, "3-1") is not None


def _random_strings(chance: random.Random) -> Iterator[str]:
    """Half of them any characters of the grammar; half well-formed, often spoilt by one of those."""
    characters = "0123456789,-!+alx "
    parts = ["0", "1", "2", "3", "0-1", "1-3", "0-3", "3-2", "all", "03", "0x2", "1-1", "2-9", "4"]
    for _ in range(400):
        yield "".join(chance.choices([*characters, "all"], k=chance.randint(1, 7)))
        text = chance.choice(["", "", "!", "+", "!+"]) + ",".join(chance.choices(parts, k=chance.randint(1, 3)))
        if chance.random() < 0.5:
            at = chance.randint(0, len(text))
            text = text[:at] + chance.choice(characters) + text[at:]
        yield text


def test_random_strings_mean_the_same(libnuma: ctypes.CDLL) -> None:
    valid = 0
    wrong: dict[str, tuple[NodeSet | None, NodeSet | None]] = {}
    for text in sorted(set(_random_strings(random.Random(20060508)))):
        pair = (ours(text), theirs(libnuma, text))
        valid += pair[0] is not None
        if pair[0] != pair[1] and not _runs_backwards(text):
            wrong[text] = pair
    assert wrong == {}
    assert valid > 100, "the random strings are all nonsense"


def _runs_backwards(text: str) -> bool:
    """Whether a range in it is the documented difference: its end is below its start."""
    ranges = re.findall(r"(0x[0-9a-f]+|[0-9]+)-\s*\+?(0x[0-9a-f]+|[0-9]+)", text)
    return any(_strtoul(high) < _strtoul(low) for low, high in ranges)


def _strtoul(digits: str) -> int:
    if digits.startswith("0x"):
        return int(digits, 16)
    if digits.startswith("0"):
        match = re.match(r"0[0-7]*", digits)
        assert match
        return int(match[0], 8)
    return int(digits)
