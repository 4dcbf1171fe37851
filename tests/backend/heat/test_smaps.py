"""What smaps says, and what anybody could write into it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import ParseError
from backend.heat.smaps import Smap, parse_smaps

REAL = b"""55d0c8f3a000-55d0c8f3c000 r--p 00000000 fe:01 1048  /usr/bin/cat
Size:                  8 kB
KernelPageSize:        4 kB
Rss:                   8 kB
Referenced:            4 kB
Anonymous:             0 kB
ProtectionKey:         0
VmFlags: rd mr mw me
7ffd41a0e000-7ffd41a2f000 rw-p 00000000 00:00 0                          [stack]
Size:                132 kB
Rss:                  12 kB
Referenced:           12 kB
NewKey:              999 kB
"""


def test_what_a_kernel_says() -> None:
    assert parse_smaps(REAL) == [
        Smap(0x55D0C8F3A000, 0x55D0C8F3C000, "/usr/bin/cat", 8192, 4096),
        Smap(0x7FFD41A0E000, 0x7FFD41A2F000, "[stack]", 12288, 12288),
    ]


def test_more_is_never_hot_than_there_is() -> None:
    raw = REAL.replace(b"Referenced:           12 kB", b"Referenced: 999999999999 kB")
    assert parse_smaps(raw)[1].referenced == 12288


def test_names_are_only_names() -> None:
    """A mapping can be called anything (PR_SET_VMA, files), but has no newline in it."""
    raw = REAL.replace(b"[stack]", b"[anon:Rss: 7 kB]\x1b[2J")
    assert parse_smaps(raw)[1].rss == 12288


def test_a_kernel_that_does_not_say_it() -> None:
    with pytest.raises(ParseError, match="referenced"):
        parse_smaps(REAL.replace(b"Referenced", b"Else"))


@given(st.binary(max_size=400))
def test_anything_is_read_or_refused(raw: bytes) -> None:
    for text in (raw, REAL + raw, raw + REAL, REAL[: len(raw)] + raw):
        try:
            found = parse_smaps(text)
        except ParseError:
            continue
        assert all(0 <= one.referenced <= one.rss for one in found)
