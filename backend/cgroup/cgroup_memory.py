"""Memory of cgroups by node, and whether their cpusets allow it: memory.numa_stat of cgroup v2 (bytes) and v1 (pages).
Reads no process. Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst (5.6 numa_stat)."""

from __future__ import annotations

from dataclasses import dataclass, field

from backend.cgroup.cgroups import (
    Directory,
    Hierarchy,
    Version,
    find_hierarchies,
    hierarchy_of,
    read_file,
    walk,
)
from backend.cgroup.cpuset_tree import CpusetInfo, parent_path, read_cpuset, read_cpusets
from backend.errors import NotSupported, ParseError
from backend.files.text import decode, printable
from backend.kernel import Kernel
from backend.nodeset import MAX_ID
from backend.placement.placement import sum_by_node

STAT = "memory.numa_stat"
MOVABLE_KINDS: dict[Version, tuple[str, ...]] = {
    "v2": ("anon", "file"),
    "v1": ("anon", "file", "unevictable"),
}
"""Kinds that do not overlap and together are the memory that processes use. v2: `file` includes shmem and the swap
cache. v1: `anon` includes shmem, `unevictable` is locked memory. Neither includes hugetlb pages."""


@dataclass(frozen=True, slots=True)
class CgroupMemory:
    """One cgroup including its descendants. `kinds`: kind of memory by the kernel's name → node → bytes; None if it
    has no memory.numa_stat (its memory counts for the parent) or cannot be read. `cpuset`: the cpuset of its processes;
    None if unknown. In v1, where memory and cpuset are separate hierarchies, the cpuset with the same path is taken:
    systemd and container managers create both alike."""

    directory: Directory
    version: Version
    kinds: dict[str, dict[int, int]] | None
    cpuset: CpusetInfo | None = None

    @property
    def by_node(self) -> dict[int, int]:
        """Node → bytes of the kinds in MOVABLE_KINDS."""
        return self.of(*MOVABLE_KINDS[self.version])

    @property
    def total(self) -> int:
        return sum(self.by_node.values())

    @property
    def outside(self) -> dict[int, int]:
        """Node → bytes on nodes that the cpuset does not allow; empty without a cpuset."""
        if self.cpuset is None or not self.cpuset.effective_mems:
            return {}
        allowed = self.cpuset.effective_mems
        return {node: amount for node, amount in self.by_node.items() if amount and node not in allowed}

    def of(self, *kinds: str) -> dict[int, int]:
        """Node → bytes, the sum of these kinds."""
        return sum_by_node((self.kinds or {}).get(kind, {}) for kind in kinds)


@dataclass(slots=True)
class Survey:
    """All cgroups, parents before children. `hierarchy`: of the memory controller. `cpusets`: of the cpuset controller,
    None without one."""

    hierarchy: Hierarchy
    cpusets: Hierarchy | None
    cgroups: list[CgroupMemory] = field(default_factory=list[CgroupMemory])


def parse_numa_stat(raw: bytes, page_size: int = 4096) -> dict[str, dict[int, int]]:
    """memory.numa_stat of either version → kind → node → bytes. Raises ParseError.

    v2: `anon N0=4096 N1=0`, bytes, including descendants. v1: `anon=1 N0=1 N1=0`, pages; a hierarchical_… line, which
    includes descendants, replaces the line without that prefix.
    """
    own: dict[str, dict[int, int]] = {}
    hierarchical: dict[str, dict[int, int]] = {}
    for line in raw.split(b"\n"):
        words = line.split()
        if not words:
            continue
        name, equals, total = words[0].partition(b"=")
        if not name.replace(b"_", b"").isalnum() or (equals and not _is_count(total)):
            raise _malformed(line)
        scale = page_size if equals else 1
        nodes: dict[int, int] = {}
        for word in words[1:]:
            key, sign, value = word.partition(b"=")
            if not (sign and key[:1] == b"N" and key[1:].isdigit() and len(key) <= 6 and _is_count(value)):
                raise _malformed(line)
            node = int(key[1:])
            if node > MAX_ID:
                raise _malformed(line)
            nodes[node] = int(value) * scale
        kind = name.decode("ascii", "replace")
        if kind.startswith("hierarchical_"):
            hierarchical[kind.removeprefix("hierarchical_")] = nodes
        else:
            own[kind] = nodes
    return {**own, **hierarchical}


def survey(kernel: Kernel) -> Survey:
    """Read all cgroups. Raises NotSupported without cgroups, memory controller or any memory.numa_stat."""
    hierarchy = hierarchy_of(kernel, "memory")
    cpusets = next((one for one in find_hierarchies(kernel) if "cpuset" in one.controllers), None)
    same = cpusets == hierarchy
    out = Survey(hierarchy, cpusets)
    limits: dict[str, CpusetInfo] = {} if cpusets is None or same else read_cpusets(kernel).cpusets
    for one in walk(kernel, hierarchy):
        if same:
            limits[one.path] = read_cpuset(kernel, hierarchy, one, limits.get(parent_path(one.path)))
        raw = read_file(kernel, hierarchy, one, STAT)
        kinds = parse_numa_stat(raw, kernel.page_size) if raw else None
        out.cgroups.append(CgroupMemory(one, hierarchy.version, kinds, limits.get(one.path)))
    if all(one.kinds is None for one in out.cgroups):
        raise NotSupported(
            f"the cgroups below {printable(hierarchy.mount)} have no {STAT}",
            "cgroup v2 has it since Linux 5.9, cgroup v1 on kernels built with NUMA",
        )
    return out


def _is_count(value: bytes) -> bool:
    return value.isdigit() and len(value) < 20


def _malformed(line: bytes) -> ParseError:
    return ParseError(f"'{printable(decode(line), 60)}' is not a line of {STAT}")
