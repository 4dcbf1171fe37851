"""Pages one by one: frames and their nodes, the zero page, what is shared, holes; emulated and on this machine."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.mm.fault import touch
from backend.emulator.mm.fork import fork
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.errors import ParseError
from backend.live.kernel import LiveKernel
from backend.placement.frame_nodes import (
    UNKNOWN,
    FrameNodes,
    Span,
    parse_block_size,
    parse_spans,
    read_frame_nodes,
)
from backend.placement.pagemap import ENTRIES, PageMap
from tests.emulator.machines import machine, region
from tests.kernels.laid_out import HOLE, LaidOut

PAGE = 4096
live = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="frames are told to root on Linux only")


def walked(kernel: Any, pid: int, start: int, end: int) -> tuple[list[int], list[int] | None, list[bool], int]:
    pages = [*PageMap(kernel, pid, read_frame_nodes(kernel, [0, 1, 2, 3])).walk(start, end)]
    nodes = None if any(one.nodes is None for one in pages) else [n for one in pages for n in one.nodes.tolist()]
    return (
        [a for one in pages for a in one.addresses.tolist()],
        nodes,
        [s for one in pages for s in one.shared.tolist()],
        sum(one.swapped for one in pages),
    )


def test_the_emulated_machine_tells_node_and_sharing_of_every_page() -> None:
    m = machine("linux-6", pages=1024)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 3, 2: 2}, pages=9)
    m.run(fork(m, task))
    m.run(touch(m, task, task.leader, vma.start, np.array([0]), write=True))
    addresses, nodes, shared, swapped = walked(EmulatedKernel(m), task.pid, vma.start, vma.end)
    assert addresses == [vma.start + index * PAGE for index in range(5)]
    assert nodes is not None
    assert nodes[1:] == [0, 0, 2, 2]
    assert shared == [False, True, True, True, True]
    assert swapped == 0


@pytest.mark.parametrize("zero", [[2, 3, 4], [3]])
def test_the_zero_page_is_nobodys_and_the_unprivileged_see_no_frames(zero: list[int]) -> None:
    m = machine("linux-6", pages=1024)
    task = spawn(m, "t", cpu=0, uid=7)
    vma = region(m, task, {1: 2}, pages=5)
    m.run(touch(m, task, task.leader, vma.start, np.array(zero), write=False))
    assert walked(EmulatedKernel(m), task.pid, vma.start, vma.end)[:2] == (
        [vma.start, vma.start + PAGE],
        [1, 1],
    )
    seen = walked(EmulatedKernel(m, Caller(7, False)), task.pid, vma.start, vma.end)
    assert len(seen[0]) == 2 + len(zero)
    assert seen[1] is None


@live
def test_this_machine_with_and_without_the_scan_for_populated_parts() -> None:
    kernel = LiveKernel()
    size = 1 << 34
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    written = [0, PAGE, 5 << 30, (5 << 30) + 3 * PAGE, size - PAGE]
    for offset in written:
        memory[offset] = 1
    read_only = [memory[(7 << 30) + index * PAGE] for index in range(4)]
    assert read_only == [0] * 4
    for scan in (True, False):
        pages = PageMap(kernel, os.getpid(), read_frame_nodes(kernel, [0]))
        pages._scan = scan
        found = [*pages.walk(start, start + size)]
        assert [a - start for one in found for a in one.addresses.tolist()] == written
        assert {n for one in found if one.nodes is not None for n in one.nodes.tolist()} == {0}
        assert not any(one.shared.any() for one in found)


@given(
    present=st.sets(st.integers(0, 1 << 17), max_size=12),
    bounds=st.tuples(st.integers(0, 1 << 16), st.integers(1 << 15, 1 << 17)),
)
def test_the_scan_finds_what_a_whole_walk_finds_and_reads_less(present: set[int], bounds: tuple[int, int]) -> None:
    first, last = bounds
    found: list[list[int]] = []
    for scan in (True, False):
        pages = np.full((1 << 17) + 1, HOLE)
        pages[sorted(present)] = 0
        kernel: Any = LaidOut([pages], starts=[0], records=2 if scan else 0)
        walked = PageMap(kernel, 1, None).walk(first * PAGE, last * PAGE)
        found.append([a // PAGE for one in walked for a in one.addresses.tolist()])
        assert all(first <= low and low + count <= last for low, count in kernel.reads)
        if scan and last - first >= 1 << 14:
            assert sum(count for _, count in kernel.reads) <= 512 * len(present) + 3 * ENTRIES
    assert found[0] == found[1] == sorted(one for one in present if first <= one < last)


def test_frames_are_found_by_block_and_where_blocks_are_of_two_nodes_by_zone() -> None:
    nodes = FrameNodes(4, np.array([0, UNKNOWN, 1, UNKNOWN], np.int32), (Span(4, 6, 0), Span(6, 8, 1)))
    assert nodes.of(np.array([0, 3, 4, 5, 6, 7, 8, 11, 12, 99], np.uint64)).tolist() == [
        0, 0, 0, 0, 1, 1, 1, 1, UNKNOWN, UNKNOWN,
    ]  # fmt: skip


def test_zones_that_span_each_other_tell_nothing() -> None:
    text = (
        b"Node 0, zone   DMA\n  pages free 1\n        spanned  4095\n  start_pfn:           1\n"
        b"Node 0, zone   Normal\n        spanned  100\n  start_pfn:           5000\n"
        b"Node 1, zone   Normal\n        spanned  100\n  start_pfn:           5050\n"
        b"Node 2, zone   Movable\n        spanned  0\n  start_pfn:           0\n"
    )
    assert parse_spans(text) == (Span(1, 4096, 0),)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parsers(raw: bytes) -> None:
    parse_spans(raw)
    with contextlib.suppress(ParseError):
        assert parse_block_size(raw) > 0
