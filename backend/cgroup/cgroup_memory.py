"""Where the memory of cgroups lies: memory.numa_stat of cgroup v2 (bytes) and v1 (pages), beside what their cpusets
allow. No process is looked at. Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst (5.6 numa_stat)."""

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
"""The kinds that do not overlap and together are all that processes use. `file` of v2 includes shmem, and pages in the
swap cache; v1 counts shmem as anon, and apart what is locked (unevictable). hugetlb pages are in neither."""


@dataclass(frozen=True, slots=True)
class CgroupMemory:
    """One cgroup with all that is below it. `kinds`: kind of memory by the kernel's name → node → bytes; None where it
    has no memory.numa_stat of its own (its memory counts for the cgroup above) or cannot be read. `cpuset`: what
    its processes may use; None where none is known. Where memory and cpusets are hierarchies of their own (v1), that is
    the cpuset of the same path, as systemd and container managers make them."""

    directory: Directory
    version: Version
    kinds: dict[str, dict[int, int]] | None
    cpuset: CpusetInfo | None = None

    @property
    def by_node(self) -> dict[int, int]:
        """Node → bytes of what processes use: anonymous memory and files."""
        return self.of(*MOVABLE_KINDS[self.version])

    @property
    def total(self) -> int:
        return sum(self.by_node.values())

    @property
    def outside(self) -> dict[int, int]:
        """Node → bytes on nodes that the cpuset does not have; empty where there is no cpuset to compare with."""
        if self.cpuset is None or not self.cpuset.effective_mems:
            return {}
        allowed = self.cpuset.effective_mems
        return {node: amount for node, amount in self.by_node.items() if amount and node not in allowed}

    def of(self, *kinds: str) -> dict[int, int]:
        """Node → bytes of these kinds together."""
        return sum_by_node((self.kinds or {}).get(kind, {}) for kind in kinds)


@dataclass(slots=True)
class Survey:
    """All cgroups, parents before children. `hierarchy`: where the memory was read; `cpusets`: where the cpusets were,
    None without any."""

    hierarchy: Hierarchy
    cpusets: Hierarchy | None
    cgroups: list[CgroupMemory] = field(default_factory=list[CgroupMemory])


def parse_numa_stat(raw: bytes, page_size: int = 4096) -> dict[str, dict[int, int]]:
    """memory.numa_stat of either version → kind → node → bytes. Raises ParseError.

    v2: `anon N0=4096 N1=0`, bytes. v1: `anon=1 N0=1 N1=0`, pages; of it the hierarchical_… lines where the kernel has
    them (then without that word), since all else here counts what is below, too.
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
    """Read all. Raises NotSupported where there are no cgroups, no memory controller, or no memory.numa_stat."""
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
