"""The policy of a large process, from the first line of numa_maps alone."""

from __future__ import annotations

import errno
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel import Kernel
from backend.placement.first_policy import UNSURE, first_policy
from tests.kernels.around import Around
from tests.kernels.fake_kernel import FakeKernel

SMALL = b"".join(b"5500000%02x000-5500000%02x000 r-xp 0 08:01 7 /bin/x\n" % (n, n + 1) for n in range(6))
JAVA = b"6c0000000-7c0000000 rw-p 0 00:00 0\n" + SMALL


def told(numa_maps: bytes, maps: bytes = SMALL, **more: Any) -> tuple[str, Around]:
    kernel = Around(FakeKernel(), **more)
    kernel.answers = {"numa_maps": lambda _: numa_maps, "maps": lambda _: maps}
    return first_policy(cast("Kernel", kernel), 1001), kernel


@pytest.mark.parametrize(
    ("line", "policy"),
    [
        (b"550000000000 default file=/bin/x N0=1", UNSURE),
        (b"550000000000 default\n", UNSURE),
        (b"550000000000 interleave:0-3 file=/bin/x", "interleave:0-3"),
        (b"550000000000 bind=static:0,2 anon=1", "bind=static:0,2"),
        (b"00400000 prefer (many):0-1 anon=1", "prefer (many):0-1"),
        (b"00400000 weighted interleave:0-2 anon=1", "weighted interleave:0-2"),
        (b"00400000 local anon=1", "local"),
        (b"", "?"), (b"nonsense", "?"), (b"550000000000 interleave:" + b"0," * 100, "?"),
    ],
)  # fmt: skip
def test_the_first_line_says_it(line: bytes, policy: str) -> None:
    assert told(line)[0] == policy


def test_a_large_first_mapping_is_not_walked_for_it() -> None:
    policy, kernel = told(b"6c0000000 default", JAVA)
    assert policy == "?"
    assert kernel.count(1001, "numa_maps") == 0


@pytest.mark.parametrize("maps", [b"", SMALL[:60], b"\n\n\n", b"zz-yy r\n" * 9])
def test_maps_that_say_too_little(maps: bytes) -> None:
    assert told(b"00400000 default\n", maps)[0] == "?"


@pytest.mark.parametrize("file", ["maps", "numa_maps"])
def test_what_may_not_be_read(file: str) -> None:
    assert told(b"00400000 default\n", refused={file: errno.EACCES})[0] == "?"


@given(st.binary(max_size=100), st.binary(max_size=300))
def test_any_bytes(numa_maps: bytes, maps: bytes) -> None:
    assert told(numa_maps, maps)[0]
    assert told(numa_maps)[0]
