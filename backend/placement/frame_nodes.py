"""The node of a page frame, from memory blocks (Documentation/ABI/testing/sysfs-devices-memory) or /proc/zoneinfo."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.errors import ParseError
from backend.files.text import decode, printable
from backend.kernel import Kernel
from backend.machine.kernel_info import read_or_nothing
from backend.machine.topology import NODE_DIR, read_node_ids

_BLOCK_SIZE = "/sys/devices/system/memory/block_size_bytes"
_MOST_BLOCKS = 1 << 24
_NAME = re.compile(r"memory([0-9]{1,8})\Z")
_ZONE = re.compile(rb"^Node (\d{1,5}), zone", re.MULTILINE)
_SPANNED, _START = (
    re.compile(rb"^\s+spanned\s+(\d{1,19})$", re.M),
    re.compile(rb"^\s+start_pfn:\s+(\d{1,19})$", re.M),
)
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Span:
    """Frames in [first, last) that lie within zones of this node only."""

    first: int
    last: int
    node: int


@dataclass(frozen=True, slots=True)
class FrameNodes:
    """`block_pages`: base pages of a memory block. `blocks`: the node of each block, UNKNOWN if no node or several have
    it. The last entry is UNKNOWN and stands for all later blocks. `spans` give the node of frames in UNKNOWN blocks."""

    block_pages: int
    blocks: NDArray[np.int32]
    spans: tuple[Span, ...] = ()

    def of(self, pfns: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The node of each frame, or UNKNOWN. Shape (n,) to (n,)."""
        if self.block_pages & (self.block_pages - 1):
            block = pfns // np.uint64(self.block_pages)
        else:
            block = pfns >> np.uint64(self.block_pages.bit_length() - 1)
        out = np.take(self.blocks, block.view(np.int64), mode="clip")
        if self.spans and len(out) and out.min() == UNKNOWN:
            for span in self.spans:
                out[(out == UNKNOWN) & (pfns >= span.first) & (pfns < span.last)] = span.node
        return out


def read_frame_nodes(kernel: Kernel, nodes: Iterable[int] | None = None) -> FrameNodes | None:
    """Read the frames of `nodes`, by default of all online nodes. None if the kernel shows neither memory blocks nor
    zone spans. Never raises."""
    spans = parse_spans(read_or_nothing(kernel, "/proc/zoneinfo"))
    try:
        size = parse_block_size(kernel.read(_BLOCK_SIZE))
        owners: dict[int, int] = {}
        for node in read_node_ids(kernel) if nodes is None else nodes:
            for name in kernel.listdir(f"{NODE_DIR}/node{node}"):
                match = _NAME.match(name)
                if match and int(match[1]) < _MOST_BLOCKS:
                    number = int(match[1])
                    # A block that straddles two nodes is linked from both (drivers/base/node.c).
                    owners[number] = UNKNOWN if number in owners else node
    except (OSError, ParseError):
        size, owners = kernel.page_size, {}
    if not owners and not spans:
        return None
    blocks = np.full(max(owners, default=-1) + 2, UNKNOWN, np.int32)
    for number, node in owners.items():
        blocks[number] = node
    return FrameNodes(max(1, size // kernel.page_size), blocks, spans)


def parse_block_size(raw: bytes) -> int:
    """block_size_bytes: hexadecimal without a prefix. Raises ParseError."""
    try:
        size = int(raw, 16)
    except ValueError:
        size = 0
    if not 0 < size < 1 << 60:
        raise ParseError(f"'{printable(decode(raw), 40)}' is not the size of a memory block")
    return size


def parse_spans(zoneinfo: bytes) -> tuple[Span, ...]:
    """The spans of the zones. Nodes may interleave in memory: a zone that overlaps one of another node is dropped."""
    found: list[Span] = []
    _, *parts = _ZONE.split(zoneinfo)
    for node, section in zip(parts[::2], parts[1::2], strict=True):
        spanned, first = _SPANNED.search(section), _START.search(section)
        if spanned and first and int(spanned[1]):
            found.append(Span(int(first[1]), int(first[1]) + int(spanned[1]), int(node)))
    return tuple(
        one
        for one in found
        if not any(other.node != one.node and other.first < one.last and one.first < other.last for other in found)
    )
