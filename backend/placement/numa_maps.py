"""/proc/PID/numa_maps (numa(7); show_numa_map() in fs/proc/task_mmu.c) and /proc/PID/maps: read and parsed."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

from backend.errors import ParseError
from backend.files.text import decode, printable
from backend.kernel import Kernel
from backend.placement.placement import Kind, Placement, VmaPlacement
from backend.process.process import process_error

_POLICIES_WITH_SPACE = (b"prefer (many)", b"weighted interleave")  # policy_modes[] in mm/mempolicy.c
_ESCAPE = re.compile(rb"\\([0-7]{3})")
# The kernel's names for shared memory: shmem_zero_setup(), ipc/shm.c newseg(), shm_open(3), memfd_create(2), and
# HUGETLB_ANON_FILE.
SHARED_FILES = (b"/dev/zero", b"/SYSV", b"/dev/shm/", b"/memfd:", b"/anon_hugepage")
_MAPS_LINE = re.compile(rb"^([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([-r][-w][-x][-ps]) ", re.MULTILINE)
_TOTALS = re.compile(rb" N(\d{1,5})=(\d{1,18})(?=[ \n])|kernelpagesize_kB=(\d{1,9})")

_ON_NODE = re.compile(rb" N(\d{1,5})=(\d{1,18})(?=[ \n])")
_PAGE_SIZE = b" kernelpagesize_kB="
_DIGITS = re.compile(rb"(\d{1,9})\n")


def parse_numa_maps(raw: bytes, page_size: int = 4096) -> tuple[VmaPlacement, ...]:
    """All lines, in order, but those of the kernel's own mappings. Unknown words are ignored. Raises ParseError for a
    line without address and policy, and for a count that is not a number."""
    vmas = (_parse_line(line, page_size) for line in raw.split(b"\n") if line)
    return tuple(vma for vma in vmas if not _is_kernels(vma))


def _is_kernels(vma: VmaPlacement) -> bool:
    """Whether these are pages that the kernel lends to every process, which never migrate. From Linux 7 on the data
    page behind `[vvar]` is an ordinary page, and numa_maps shows it, without a name (_install_special_mapping() in
    mm/mmap.c). It has no file, and its pages are not anonymous: no memory of a process is like that."""
    return vma.kind == "anon" and "anon" not in vma.counts and "mapped" in vma.counts


def parse_totals(raw: bytes, page_size: int = 4096) -> dict[int, int]:
    """Only node → bytes over all lines: fast, with one regular expression. Never raises."""
    raw = _without_kernels(raw)
    out: dict[int, int] = {}
    scale = _one_page_size(raw, page_size)
    if scale:
        pairs = _ON_NODE.findall(raw + b"\n")
        nodes = {node for node, _ in pairs}
        for node in nodes:
            counts = [count for other, count in pairs if other == node] if len(nodes) > 1 else [c for _, c in pairs]
            out[int(node)] = out.get(int(node), 0) + sum(map(int, counts)) * scale
        return out
    pending: list[tuple[int, int]] = []  # show_numa_map() prints the page size after the counts it belongs to
    for node, count, kilobytes in _TOTALS.findall(raw + b"\n"):
        if kilobytes:
            scale = int(kilobytes) * 1024
            for number, pages in pending:
                out[number] = out.get(number, 0) + pages * scale
            pending.clear()
        else:
            pending.append((int(node), int(count)))
    for number, pages in pending:
        out[number] = out.get(number, 0) + pages * page_size
    return out


POLICY = re.compile(rb"^[0-9a-f]+ (prefer \(many\)\S*|weighted interleave\S*|\S+)", re.MULTILINE)
_KERNELS = re.compile(POLICY.pattern + rb" mapped=(?!.* anon=).*\n?", re.MULTILINE)
_TAIL = 1024
"""Bytes at the end of numa_maps, where [vvar] is on most machines, below the stack."""


def _without_kernels(raw: bytes) -> bytes:
    """The same without the lines of `_is_kernels`. Looked for at the end, and everywhere with the process's own policy,
    which [vvar] has: in all of a large file the expression would take as long as all else."""
    start = max(0, raw.rfind(b"\n", 0, max(0, len(raw) - _TAIL)) + 1)
    first = POLICY.match(raw)
    if first is not None and (at := raw.find(b" " + first[1] + b" mapped=", 0, start)) >= 0:
        start = raw.rfind(b"\n", 0, at) + 1
    tail = raw[start:]
    without = _KERNELS.sub(b"", tail)
    return raw if len(without) == len(tail) else raw[:start] + without


def _one_page_size(raw: bytes, page_size: int) -> int:
    """The page size in bytes if all lines have the same, else 0."""
    _, found, rest = raw.partition(_PAGE_SIZE)
    if not found:
        return page_size
    digits = _DIGITS.match(rest)
    if digits is None or raw.count(_PAGE_SIZE + digits[0]) != raw.count(_PAGE_SIZE):
        return 0
    scale = int(digits[1]) * 1024
    # Counts after the last page size belong to a line without one (a truncated file): they are base pages.
    return scale if scale == page_size or b" N" not in raw.rpartition(_PAGE_SIZE)[2] else 0


def read_placement(kernel: Kernel, pid: int, with_maps: bool = False) -> Placement:
    """Read numa_maps. `with_maps` adds the end of each VMA and finer kinds if maps can be read too. Raises NotFound,
    NotPermitted, ParseError."""
    try:
        vmas = parse_numa_maps(kernel.read(f"/proc/{pid}/numa_maps"), kernel.page_size)
    except OSError as exc:
        raise process_error(kernel, pid, exc) from None
    if with_maps:
        with suppress(OSError):
            vmas = join_maps(vmas, kernel.read(f"/proc/{pid}/maps"))
    return Placement(vmas)


def join_maps(vmas: tuple[VmaPlacement, ...], maps: bytes) -> tuple[VmaPlacement, ...]:
    """Add ends, writability and the kind `shared` from /proc/PID/maps. A VMA that maps lacks keeps end 0."""
    ends = {int(start, 16): (int(end, 16), perms) for start, end, perms in _MAPS_LINE.findall(maps)}
    out: list[VmaPlacement] = []
    for vma in vmas:
        end, perms = ends.get(vma.start, (0, b"rw-p"))
        kind: Kind = "shared" if perms[3:] == b"s" and vma.kind == "anon" else vma.kind
        out.append(replace(vma, end=end, kind=kind, writable=perms[1:2] == b"w"))
    return tuple(out)


def unescape(raw: bytes) -> bytes:
    """Undo the escapes of mangle_path() (fs/seq_file.c): `\\040`, `\\011`, `\\012`, `\\134`, any octal triple."""
    return _ESCAPE.sub(lambda match: bytes([int(match.group(1), 8) & 0xFF]), raw)


def _parse_line(line: bytes, page_size: int) -> VmaPlacement:
    address, _, rest = line.partition(b" ")
    policy = next((name for name in _POLICIES_WITH_SPACE if rest.startswith(name)), None)
    if policy is None:
        policy, _, rest = rest.partition(b" ")
    else:
        tail, _, rest = rest[len(policy) :].partition(b" ")
        policy += tail
    try:
        start = int(address, 16)
        if not policy or start < 0 or start >= 1 << 64:
            raise ValueError
    except ValueError:
        raise ParseError(f"'{printable(decode(line), 60)}' is not a line of numa_maps") from None
    file = b""
    words: set[bytes] = set()
    pages: dict[int, int] = {}
    counts: dict[str, int] = {}
    for word in rest.split():
        key, equals, value = word.partition(b"=")
        if not equals:
            words.add(word)
        elif key == b"file":
            file = unescape(value)
        elif value.isdigit() and len(value) < 19:
            if key[:1] == b"N" and key[1:].isdigit() and len(key) <= 6:
                pages[int(key[1:])] = int(value)
            elif key == b"kernelpagesize_kB":
                page_size = int(value) * 1024
            else:
                counts[printable(decode(key), 40)] = int(value)
        elif key[:1] == b"N" and key[1:].isdigit():
            raise ParseError(f"'{printable(decode(word), 60)}' in numa_maps is not a count of pages")
    return VmaPlacement(start, decode(policy), _kind(words, file), decode(file), page_size, pages, counts)


def _kind(words: set[bytes], file: bytes) -> Kind:
    if b"huge" in words:
        return "huge"
    if b"heap" in words:
        return "heap"
    if b"stack" in words:
        return "stack"
    if file:
        return "shared" if file.startswith(SHARED_FILES) else "file"
    return "anon"
