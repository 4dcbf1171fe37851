"""Where the pages of a large process lie, without stalling it: /proc/PID/maps and /proc/PID/pagemap, page by page.

numa_maps has the same counts, but its read holds mmap_lock for the walk of a whole VMA: seconds for a terabyte.
pagemap holds it for 2 MiB at a time. It does not show memory policies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from backend.files.text import decode
from backend.kernel import Kernel
from backend.placement.found_pages import FoundPages
from backend.placement.frame_nodes import FrameNodes
from backend.placement.numa_maps import SHARED_FILES, read_placement
from backend.placement.pagemap import ENTRIES, PageMap, Pages, rest_for
from backend.placement.placement import Kind, Placement, VmaPlacement
from backend.placement.stillness import read_stillness
from backend.process.process import process_error

_LINE = re.compile(
    rb"^([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([-r][-w][-x][-ps]) [0-9a-f]+ ([0-9a-f]+:[0-9a-f]+) (\d{1,20}) *(.*)$",
    re.MULTILINE,
)
_UNMOVABLE = (b"[vvar", b"[vdso]", b"[vsyscall]", b"[uprobes]")
"""Mappings of the kernel, which never move; numa_maps.py leaves them out too. The bracket is open: Linux 6.13 adds
`[vvar_vclock]`."""
_SMALL = 2 << 20
"""Mappings of at most this many bytes, with at most this many bytes between them, are read together."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line of maps. `inode`: device and inode number of the file, number 0 without a file. `name`: bytes of a path,
    a name like `[heap]`, or empty."""

    start: int
    end: int
    perms: bytes
    inode: tuple[bytes, int]
    name: bytes

    @property
    def kind(self) -> Kind:
        if self.name.startswith(b"/anon_hugepage"):
            return "huge"
        if self.name in (b"[heap]", b"[stack]"):
            return "heap" if self.name == b"[heap]" else "stack"
        if self.name[:1] == b"/":
            return "shared" if self.name.startswith(SHARED_FILES) else "file"
        return "shared" if self.perms[3:] == b"s" else "anon"

    def vma(self, policy: str, pages: dict[int, int], counts: dict[str, int], page_size: int) -> VmaPlacement:
        """The mapping as a VmaPlacement with these pages."""
        file = decode(self.name) if self.name[:1] == b"/" else ""
        writable = self.perms[1:2] == b"w"
        return VmaPlacement(self.start, policy, self.kind, file, page_size, pages, counts, self.end, writable)


def parse_maps(raw: bytes) -> list[Mapping]:
    """Parse /proc/PID/maps. Malformed lines are skipped. Never raises."""
    return [
        Mapping(int(start, 16), int(end, 16), perms, (device, int(number)), name)
        for start, end, perms, device, number, name in _LINE.findall(raw)
        if not name.startswith(_UNMOVABLE)
    ]


def gentle_placement(kernel: Kernel, pid: int, frame_nodes: FrameNodes | None, keep: int = 0) -> Placement:
    """The placement from pagemap if the kernel shows frames, else from numa_maps; with the ends of mappings. `keep`: as
    for `walk_placement`. Raises NotFound, NotPermitted, ParseError."""
    walked = walk_placement(kernel, pid, frame_nodes, keep) if frame_nodes is not None else None
    return walked if walked is not None else read_placement(kernel, pid, with_maps=True)


class TooLarge(Exception):
    """The time budget ended before all pages were read."""


def walk_totals(
    kernel: Kernel, pid: int, frame_nodes: FrameNodes, go_on: Callable[[], bool] = lambda: True
) -> dict[int, int] | None:
    """Only node → bytes, ascending by node. None if the kernel hides frames from this caller. Raises NotFound,
    NotPermitted; TooLarge if `go_on` returns False before the end."""
    pages = PageMap(kernel, pid, frame_nodes, rest=rest_for(kernel))
    counts = np.zeros(0, np.int64)
    try:
        for _, parts in walk_mappings(kernel, pid, pages):
            for part in parts:
                if not go_on():
                    raise TooLarge
                if part.nodes is None:
                    if len(part.addresses):
                        return None
                    continue
                here = np.bincount(part.nodes + 1, minlength=len(counts))
                here[: len(counts)] += counts
                counts = here
    except OSError as exc:
        raise process_error(kernel, pid, exc) from None
    return {node: count * kernel.page_size for node, count in enumerate(counts[1:].tolist()) if count}


def walk_placement(kernel: Kernel, pid: int, frame_nodes: FrameNodes, keep: int = 0) -> Placement | None:
    """The placement in base pages; `counts` has `shared` (pages that several PTEs map) and `swapped`. `keep`: the pages
    themselves are kept, up to this number. None if the kernel hides frames from this caller. Raises NotFound,
    NotPermitted."""
    pages = PageMap(kernel, pid, frame_nodes, find_thp_tails=keep > 0, rest=rest_for(kernel))
    keeping = _Keeping(kernel, pid, keep) if keep else None
    vmas: list[VmaPlacement] = []
    try:
        for one, parts in walk_mappings(kernel, pid, pages):
            by_node: dict[int, int] = {}
            shared = swapped = 0
            for part in keeping.keep(one.start, parts) if keeping else parts:
                swapped += part.swapped
                if not len(part.addresses):
                    continue
                if part.nodes is None:
                    return None
                shared += int(np.count_nonzero(part.shared))
                for node, count in enumerate(np.bincount(part.nodes + 1).tolist(), -1):
                    if count:
                        by_node[node] = by_node.get(node, 0) + count
            by_node.pop(-1, None)
            counts = {"shared": shared, "swapped": swapped}
            vmas.append(one.vma("", dict(sorted(by_node.items())), counts, kernel.page_size))
            if keeping is not None and keeping.full:
                pages.find_thp_tails = False
    except OSError as exc:
        raise process_error(kernel, pid, exc) from None
    return Placement(tuple(vmas), keeping.found() if keeping else None)


class _Keeping:
    """Keeps the pages of whole mappings while they pass by, up to `most`."""

    def __init__(self, kernel: Kernel, pid: int, most: int) -> None:
        self.at, self.stillness = kernel.clock(), read_stillness(kernel, pid)
        self._most, self._count, self.full = most, 0, False
        self._by_vma: dict[int, tuple[Pages, ...]] = {}

    def keep(self, start: int, parts: Iterable[Pages]) -> Iterator[Pages]:
        kept: list[Pages] = []
        count = self._count
        for part in parts:
            count += len(part.addresses)
            self.full = self.full or count > self._most
            if not self.full:
                kept.append(part)
            yield part
        if not self.full:
            self._by_vma[start], self._count = tuple(kept), count

    def found(self) -> FoundPages:
        return FoundPages(self._by_vma, self._count, self.at, self.stillness)


def walk_mappings(kernel: Kernel, pid: int, pages: PageMap) -> Iterator[tuple[Mapping, Iterable[Pages]]]:
    """The mappings of a process, each with its pages. Consume the pages before taking the next mapping. Small mappings
    close together are read at once. Raises OSError."""
    for group in _groups(parse_maps(kernel.read(f"/proc/{pid}/maps")), ENTRIES * kernel.page_size):
        ranges = [(one.start, one.end) for one in group]
        if len(group) == 1:
            yield group[0], pages.walk(*ranges[0])
            continue
        for one, part in zip(group, pages.together(ranges), strict=True):
            yield one, [part]


def _groups(mappings: list[Mapping], span: int) -> Iterator[list[Mapping]]:
    """Groups of small mappings close together, at most `span` bytes each. A large mapping is a group of its own."""
    group: list[Mapping] = []
    for one in mappings:
        small = one.end - one.start <= _SMALL
        if group and (not small or one.start - group[-1].end > _SMALL or one.end - group[0].start > span):
            yield group
            group = []
        if small:
            group.append(one)
        else:
            yield [one]
    if group:
        yield group
