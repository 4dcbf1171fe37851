"""The policy of a large process from the first line of numa_maps.

A seq_file stops at the record with which the wanted bytes are there (seq_read_iter() in fs/seq_file.c), and each record
of numa_maps walks its VMA under mmap_lock. So the first line costs the pages of the first VMAs alone. These are the
program's own, unless something large was mapped below it, as a Java heap is."""

from __future__ import annotations

import re

from backend.files.text import decode
from backend.kernel import Kernel
from backend.placement.numa_maps import POLICY
from backend.placement.placement import LARGE

_WANTED = 64
"""Bytes of numa_maps. A line has at least 17, so at most `_LINES` are written."""
_LINES = 4
_MAPS = 2048
"""Bytes of maps: room for that many lines of usual length; a shorter list counts as unknown."""
_RANGE = re.compile(rb"^([0-9a-f]{1,16})-([0-9a-f]{1,16}) ", re.MULTILINE)
UNSURE = "default?"
"""The first mapping has the default policy, and so has the process; other mappings may have policies of their own."""


def first_policy(kernel: Kernel, pid: int) -> str:
    """The policy of the process, where it is not the default; else UNSURE. `?` if it cannot be told cheaply. Never
    raises."""
    try:
        ranges = _RANGE.findall(kernel.read(f"/proc/{pid}/maps", 0, _MAPS))[:_LINES]
        size = sum(int(end, 16) - int(start, 16) for start, end in ranges)
        if len(ranges) < _LINES or size > LARGE * kernel.page_size:
            return "?"
        raw = kernel.read(f"/proc/{pid}/numa_maps", 0, _WANTED)
    except OSError:
        return "?"
    line = POLICY.match(raw)
    if line is None or line.end() == len(raw):  # it may be cut off
        return "?"
    policy = decode(line[1])
    return UNSURE if policy == "default" else policy
