"""The pages of a chunk as few bytes: one byte for a page beside which every other page is on another node.

A run of consecutive pages is its distance from the end of the run before, in pages, shifted left by one; the lowest
bit says that it has more than one page, and then its length less two is in a second list. Both lists are numbers of
variable length, 7 bits a byte, the lowest first, as in DWARF's ULEB128. So memory that alternates between nodes takes a
byte a page, and a page whose neighbour in the list is less than 32 MiB away (of 4 KiB pages) at most two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backend.placement.pagemap import Addresses

Numbers = NDArray[np.uint64]
_BITS = 7
_LONGEST = 9
"""Bytes of a number: 63 bits hold any distance between pages of a 64-bit address space."""
_END = 1 << 64
_EXACT = 1 << 53
"""Up to here floats are exact. 2^52 pages of 4 KiB are all of 64 bits."""


def encode_pages(addresses: Addresses, page_size: int) -> bytes:
    """`addresses`: ascending, each once. `page_size`: a power of two."""
    pages = addresses >> np.uint64(page_size.bit_length() - 1)
    first = np.ones(len(pages), np.bool_)
    first[1:] = pages[1:] - pages[:-1] != 1
    starts = np.flatnonzero(first)
    counts = np.diff(np.append(starts, len(pages))).astype(np.uint64)
    begins = pages[starts]
    ends = begins + counts
    gaps = begins.copy()
    gaps[1:] -= ends[:-1]
    several = counts > 1
    head = gaps << np.uint64(1) | several.astype(np.uint64)
    return len(starts).to_bytes(4, "little") + _encode(head) + _encode(counts[several] - np.uint64(2))


def decode_pages(raw: bytes, page_size: int, most: int) -> Addresses:
    """The addresses again, ascending. Raises ValueError for anything that `encode_pages` does not write, and for more
    than `most` pages."""
    runs = int.from_bytes(raw[:4], "little")
    if len(raw) < 4 or runs > len(raw) - 4:
        raise ValueError("pages are cut off")
    if runs > most or len(raw) - 4 > 2 * _LONGEST * most:
        raise ValueError("more pages than are moved at once")
    numbers = _decode(raw[4:])
    if runs > len(numbers):
        raise ValueError("pages are cut off")
    head, more = numbers[:runs], numbers[runs:]
    several = (head & np.uint64(1)).astype(np.bool_)
    if int(np.count_nonzero(several)) != len(more):
        raise ValueError("lengths do not match the runs of pages")
    counts = np.ones(runs, np.uint64)
    counts[several] = more + np.uint64(2)
    gaps = head >> np.uint64(1)
    # Floats first: sums of hostile numbers would wrap around.
    total = float(counts.sum(dtype=np.float64))
    if total > most:
        raise ValueError("more pages than are moved at once")
    last = float(gaps.sum(dtype=np.float64)) + total
    if last >= _EXACT or last * page_size >= _END:
        raise ValueError("pages beyond the end of all memory")
    begins = np.cumsum(gaps) + np.cumsum(counts) - counts
    within = np.arange(int(total), dtype=np.uint64) - np.repeat(np.cumsum(counts) - counts, counts.astype(np.int64))
    return (np.repeat(begins, counts.astype(np.int64)) + within) * np.uint64(page_size)


def encode_marks(marks: NDArray[np.bool_]) -> bytes:
    """Which pages of a chunk, as positions or as bits, whichever is shorter."""
    positions = encode_pages(np.flatnonzero(marks).astype(np.uint64), 1)
    bits = np.packbits(marks).tobytes()
    return b"b" + bits if len(bits) < len(positions) else b"p" + positions


def decode_marks(raw: bytes, pages: int) -> NDArray[np.bool_]:
    """Raises ValueError if they are not those of a chunk with so many pages."""
    out = np.zeros(pages, np.bool_)
    if raw[:1] == b"b" and len(raw) - 1 == (pages + 7) // 8:
        return np.unpackbits(np.frombuffer(raw, np.uint8, offset=1), count=pages).astype(np.bool_)
    if raw[:1] != b"p":
        raise ValueError("marks of another chunk")
    positions = decode_pages(raw[1:], 1, pages)
    if len(positions) and int(positions[-1]) >= pages:
        raise ValueError("marks beyond the chunk")
    out[positions.astype(np.int64)] = True
    return out


def _encode(numbers: Numbers) -> bytes:
    if not len(numbers):
        return b""
    sizes = np.ones(len(numbers), np.int64)
    for size in range(1, _LONGEST):
        longer = numbers >= np.uint64(1 << size * _BITS)
        if not longer.any():
            break
        sizes += longer
    ends = np.cumsum(sizes)
    begins = ends - sizes
    out = np.zeros(int(ends[-1]), np.uint8)
    rest = numbers
    for size in range(int(sizes.max())):
        here = sizes > size
        more = (sizes[here] > size + 1).astype(np.uint8) << 7
        out[begins[here] + size] = (rest[here] & np.uint64(127)).astype(np.uint8) | more
        rest = rest >> np.uint64(_BITS)
    return out.tobytes()


def _decode(raw: bytes) -> Numbers:
    data = np.frombuffer(raw, np.uint8)
    if not len(data):
        return np.zeros(0, np.uint64)
    last = data < 128
    if not last[-1]:
        raise ValueError("a number is cut off")
    ends = np.flatnonzero(last)
    begins = np.zeros(len(ends), np.int64)
    begins[1:] = ends[:-1] + 1
    sizes = ends - begins + 1
    if int(sizes.max()) > _LONGEST:
        raise ValueError("a number is too long")
    within = np.arange(len(data)) - np.repeat(begins, sizes)
    parts = (data & np.uint8(127)).astype(np.uint64) << (within * _BITS).astype(np.uint64)
    return np.add.reduceat(parts, begins)
