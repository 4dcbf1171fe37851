"""The machine's nodes with their CPUs, memory and distances: /sys/devices/system/node
(Documentation/ABI/stable/sysfs-devices-node)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from backend.errors import NotSupported, ParseError
from backend.files.text import decode, printable
from backend.kernel import Kernel, read_ahead
from backend.machine.kernel_info import read_or_nothing
from backend.nodeset import CpuSet, NodeSet

NODE_DIR = "/sys/devices/system/node"
_CPU_DIR = "/sys/devices/system/cpu"
_CPU_NAME = re.compile(r"cpu([0-9]{1,5})\Z")
_NODE_NAME = re.compile(r"node([0-9]{1,5})\Z")
_MEMINFO_LINE = re.compile(rb"^(?:Node[ \t]+\d+[ \t]+)?([A-Za-z][\w()]*):[ \t]+(\d{1,19})( kB)?", re.MULTILINE)
_MARKS = (b"min", b"low", b"high")
_COUNTER_LINE = re.compile(rb"^([A-Za-z_]\w*)[ \t]+(\d{1,20})[ \t\r]*$", re.MULTILINE)

Access = Literal["read_latency", "write_latency", "read_bandwidth", "write_bandwidth"]
ACCESSES: tuple[Access, ...] = ("read_latency", "write_latency", "read_bandwidth", "write_bandwidth")


@dataclass(frozen=True, slots=True)
class HugePool:
    """A node's pool of hugetlb pages. `size`: bytes of a page; the others: pages."""

    size: int
    total: int
    free: int
    surplus: int


@dataclass(frozen=True, slots=True)
class Node:
    """One node. `memory`: bytes by the kernel's names (MemTotal, MemFree, FilePages …; counts for HugePages_*).
    `distances`: node id → SLIT distance. `initiators`: the nodes from which the firmware says (HMAT) that access to it
    is best; read for nodes without CPUs. `access`: HMAT figures from the nearest initiator (ns, MiB/s), if the firmware
    has them. `numastat`: allocation counters since boot, in pages. `vmstat`: the node's counters, in pages.
    """

    id: int
    cpus: CpuSet
    memory: dict[str, int] = field(default_factory=dict[str, int])
    distances: dict[int, int] = field(default_factory=dict[int, int])
    numastat: dict[str, int] = field(default_factory=dict[str, int])
    vmstat: dict[str, int] = field(default_factory=dict[str, int])
    huge_pools: tuple[HugePool, ...] = ()
    access: dict[Access, int] = field(default_factory=dict[Access, int])
    initiators: NodeSet = field(default_factory=NodeSet)

    @property
    def total(self) -> int:
        return self.memory.get("MemTotal", 0)

    @property
    def free(self) -> int | None:
        """None if the kernel, or a recording, does not tell it."""
        return self.memory.get("MemFree")

    @property
    def has_memory(self) -> bool:
        return self.total > 0


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Watermarks of a node, in pages: the sums of its zones. Below `low`, kswapd reclaims until `high`. Below `min`, an
    allocating task reclaims itself (direct reclaim)."""

    min: int = 0
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class Topology:
    """All online nodes in ascending order. `low_watermarks`: node → pages; allocations bound to one node stop there.
    `warnings`: contradictions in sysfs or the firmware's tables."""

    nodes: tuple[Node, ...]
    node_of_cpu: dict[int, int]
    offline_cpus: CpuSet
    low_watermarks: dict[int, int]
    warnings: tuple[str, ...] = ()
    watermarks: dict[int, Watermarks] = field(default_factory=lambda: dict[int, Watermarks]())

    @property
    def ids(self) -> NodeSet:
        return NodeSet(node.id for node in self.nodes)

    @property
    def memory_ids(self) -> NodeSet:
        """The nodes with memory. Only they can hold pages."""
        return NodeSet(node.id for node in self.nodes if node.has_memory)

    def node(self, node_id: int) -> Node:
        """The node with this id. Raises KeyError."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(node_id)

    def distance(self, a: int, b: int) -> int:
        """The SLIT distance. Without one: 10 to the node itself, 20 to others (LOCAL_DISTANCE, REMOTE_DISTANCE in
        include/linux/topology.h)."""
        for node in self.nodes:
            if node.id == a and b in node.distances:
                return node.distances[b]
        return 10 if a == b else 20

    def nearest_with_cpus(self, node_id: int) -> NodeSet:
        """The nodes whose CPUs are nearest to a node's memory: itself if it has any, else what the firmware says
        (HMAT), else the nearest by distance. Empty if all are equally near, or as near as the memory is to itself
        (compare hwloc's fixup_cpuless_node_locality_from_distances() in topology-linux.c)."""
        node = self.node(node_id)
        if node.cpus:
            return NodeSet([node_id])
        others = NodeSet(other.id for other in self.nodes if other.cpus)
        if told := node.initiators & others:
            return told
        away = {other: self.distance(node_id, other) for other in others}
        least = min(away.values(), default=0)
        nearest = NodeSet(other for other, distance in away.items() if distance == least)
        if least <= self.distance(node_id, node_id) or len(nearest) == len(others) > 1:
            return NodeSet()
        return nearest


FILES = (
    f"{NODE_DIR}/", f"{NODE_DIR}/online", f"{NODE_DIR}/possible", f"{_CPU_DIR}/online", f"{_CPU_DIR}/present",
    "/proc/zoneinfo",
    *(f"{NODE_DIR}/node[0-9]*/{name}" for name in (
        "cpulist", "cpumap", "distance", "meminfo", "numastat", "vmstat", "hugepages/", "hugepages/*/*_hugepages",
        "access[01]/initiators/", "access0/initiators/*",
    )),
)  # fmt: skip
"""What is read of the topology."""


def read_topology(kernel: Kernel) -> Topology:
    """Read the topology. Missing or malformed files become warnings. Raises NotSupported without any node."""
    kernel = read_ahead(kernel, "topology", FILES)
    try:
        names = kernel.listdir(NODE_DIR)
    except OSError:
        raise NotSupported(
            "this kernel does not report NUMA nodes (no /sys/devices/system/node)",
            "it needs Linux with CONFIG_NUMA and /sys mounted; numatui --demo shows an emulated machine",
        ) from None
    warnings: list[str] = []
    ids = _online(kernel, names, warnings)
    if not ids:
        raise NotSupported(
            "there is no NUMA node in /sys/devices/system/node", "numatui --demo shows an emulated machine"
        )
    online_cpus = _read_list(kernel, f"{_CPU_DIR}/online", CpuSet, warnings) or _online_one_by_one(kernel)
    possible = _read_list(kernel, f"{NODE_DIR}/possible", NodeSet, warnings)
    present = NodeSet(int(match.group(1)) for name in names if (match := _NODE_NAME.match(name)))
    nodes = tuple(_read_node(kernel, node_id, (ids, possible, present), online_cpus, warnings) for node_id in ids)
    _check_distances(nodes, warnings)
    if silent := NodeSet(node.id for node in nodes if node.has_memory and node.free is None):
        warnings.append(f"how much memory of node {silent} is free is not told")
    node_of_cpu: dict[int, int] = {}
    claimed_twice = CpuSet()
    for node in nodes:
        claimed_twice |= CpuSet(cpu for cpu in node.cpus if node_of_cpu.setdefault(cpu, node.id) != node.id)
    if claimed_twice:
        warnings.append(f"several nodes claim the CPUs {claimed_twice}: where processes run cannot be told")
    present_cpus = _read_list(kernel, f"{_CPU_DIR}/present", CpuSet, warnings)
    offline = (present_cpus or CpuSet()) - online_cpus if online_cpus else CpuSet()
    marks = parse_watermarks(read_or_nothing(kernel, "/proc/zoneinfo"))
    low = {node: one.low for node, one in marks.items() if one.low}
    return Topology(nodes, node_of_cpu, offline, low, tuple(warnings), marks)


def read_node_ids(kernel: Kernel) -> NodeSet:
    """The online nodes, without their details; empty if the kernel shows none. Never raises."""
    try:
        return _online(kernel, kernel.listdir(NODE_DIR), [])
    except OSError:
        return NodeSet()


def parse_meminfo(raw: bytes) -> dict[str, int]:
    """/proc/meminfo or a node's meminfo: bytes for values in kB, else counts. Unknown keys are kept, other lines left
    out."""
    return {key.decode("ascii"): int(value) * (1024 if unit else 1) for key, value, unit in _MEMINFO_LINE.findall(raw)}


def parse_counters(raw: bytes) -> dict[str, int]:
    """`name value` lines of numastat or vmstat. Other lines are left out."""
    return {key.decode("ascii"): int(value) for key, value in _COUNTER_LINE.findall(raw)}


def parse_distances(raw: bytes) -> list[int]:
    """A node's `distance`: one number for each online node, in node order. Raises ParseError."""
    words = raw.split()
    if not all(word.isdigit() and len(word) < 10 for word in words):
        raise ParseError(f"'{printable(decode(raw), 60)}' is not a list of distances")
    return [int(word) for word in words]


def parse_watermarks(zoneinfo: bytes) -> dict[int, Watermarks]:
    """/proc/zoneinfo as node id → watermarks. Never raises."""
    out: dict[int, dict[str, int]] = {}
    node: int | None = None
    for line in zoneinfo.split(b"\n"):
        words = line.split()
        if len(words) >= 4 and words[0] == b"Node" and words[2] == b"zone" and words[1].rstrip(b",").isdigit():
            node = int(words[1].rstrip(b",")[:6])
        elif node is not None and len(words) == 2 and words[0] in _MARKS and words[1].isdigit():
            sums, name = out.setdefault(node, {}), words[0].decode("ascii")
            sums[name] = sums.get(name, 0) + int(words[1][:18])
    return {node: Watermarks(**sums) for node, sums in out.items()}


S = TypeVar("S", NodeSet, CpuSet)


def _read_list(kernel: Kernel, path: str, kind: type[S], warnings: list[str]) -> S:
    try:
        return kind.parse_list(read_or_nothing(kernel, path))
    except ParseError as exc:
        warnings.append(f"{path}: {exc.what}")
        return kind()


def _online(kernel: Kernel, names: list[str], warnings: list[str]) -> NodeSet:
    present = NodeSet(int(match.group(1)) for name in names if (match := _NODE_NAME.match(name)))
    online = _read_list(kernel, f"{NODE_DIR}/online", NodeSet, warnings)
    return (present & online) if online else present


def _online_one_by_one(kernel: Kernel) -> CpuSet:
    """As kernels before 2.6.26 tell it, and those who record a machine without cpu/online. A CPU that cannot go offline
    has no such file."""
    try:
        names = kernel.listdir(_CPU_DIR)
    except OSError:
        return CpuSet()
    there = [int(match.group(1)) for name in names if (match := _CPU_NAME.match(name))]
    return CpuSet(cpu for cpu in there if read_or_nothing(kernel, f"{_CPU_DIR}/cpu{cpu}/online").strip() != b"0")


def _columns(count: int, sets: tuple[NodeSet, ...]) -> NodeSet:
    """The nodes that a row of so many distances is about, among online, possible and present ones: kernels differ in
    what they do with nodes that are offline. Without such a set, nodes 0 to the last."""
    for ids in (*sets, NodeSet(range(min(count, 1024)))):
        if len(ids) == count and sets[0].issubset(ids):
            return ids
    return sets[0]


def _read_node(
    kernel: Kernel, node_id: int, sets: tuple[NodeSet, ...], online_cpus: CpuSet, warnings: list[str]
) -> Node:
    """`sets`: the online, the possible and the present nodes."""
    ids = sets[0]
    base = f"{NODE_DIR}/node{node_id}"
    cpulist = read_or_nothing(kernel, f"{base}/cpulist")
    try:
        cpus = (
            CpuSet.parse_list(cpulist) if cpulist else CpuSet.parse_hexmask(read_or_nothing(kernel, f"{base}/cpumap"))
        )
    except ParseError as exc:
        warnings.append(f"node {node_id}: {exc.what}")
        cpus = CpuSet()
    if online_cpus:  # old kernels also list a node's CPUs that are offline
        cpus &= online_cpus
    try:
        row = parse_distances(read_or_nothing(kernel, f"{base}/distance"))
    except ParseError as exc:
        warnings.append(f"node {node_id}: {exc.what}")
        row = []
    columns = _columns(len(row), sets) if row else ids
    if row and len(row) != len(columns):
        warnings.append(f"node {node_id} tells {len(row)} distances for {len(columns)} nodes")
    access: dict[Access, int] = {}
    for key in ACCESSES:
        raw = read_or_nothing(kernel, f"{base}/access0/initiators/{key}").strip()
        if raw.isdigit() and len(raw) < 19:
            access[key] = int(raw)
    return Node(
        id=node_id,
        cpus=cpus,
        memory=parse_meminfo(read_or_nothing(kernel, f"{base}/meminfo")),
        distances={other: value for other, value in zip(columns, row, strict=False) if other in ids},
        numastat=parse_counters(read_or_nothing(kernel, f"{base}/numastat")),
        vmstat=parse_counters(read_or_nothing(kernel, f"{base}/vmstat")),
        huge_pools=_read_huge_pools(kernel, base),
        access=access,
        initiators=NodeSet() if cpus else _initiators(kernel, base),
    )


def _initiators(kernel: Kernel, base: str) -> NodeSet:
    """Documentation/admin-guide/mm/numaperf.rst: links to the nearest nodes with CPUs (class 1), else to the nearest of
    any kind (class 0)."""
    for access in ("access1", "access0"):
        try:
            names = kernel.listdir(f"{base}/{access}/initiators")
        except OSError:
            continue
        if found := NodeSet(int(match.group(1)) for name in names if (match := _NODE_NAME.match(name))):
            return found
    return NodeSet()


def _read_huge_pools(kernel: Kernel, base: str) -> tuple[HugePool, ...]:
    try:
        names = kernel.listdir(f"{base}/hugepages")
    except OSError:
        return ()
    pools: list[HugePool] = []
    for name in names:
        match = re.fullmatch(r"hugepages-([0-9]{1,12})kB", name)
        if not match:
            continue
        counts = [
            int(raw)
            if (raw := read_or_nothing(kernel, f"{base}/hugepages/{name}/{key}").strip()).isdigit() and len(raw) < 19
            else 0
            for key in ("nr_hugepages", "free_hugepages", "surplus_hugepages")
        ]
        pools.append(HugePool(int(match.group(1)) * 1024, *counts))
    return tuple(sorted(pools, key=lambda pool: pool.size))


def _check_distances(nodes: tuple[Node, ...], warnings: list[str]) -> None:
    if len(nodes) < 2:
        return
    table = {(a.id, b): value for a in nodes for b, value in a.distances.items()}
    if not table:
        warnings.append("the firmware tells no distances")
        return
    if len(set(table.values())) == 1:
        warnings.append(
            f"the firmware tells the distance {next(iter(table.values()))} between all nodes, also from a node to "
            "itself"
        )
        return
    for (a, b), value in sorted(table.items()):
        back = table.get((b, a), value)
        if a < b and value != back:
            warnings.append(f"the distance {a} to {b} is {value}, but {b} to {a} is {back}")
        if a == b and any(other < value for (x, y), other in table.items() if x == a and y != b):
            warnings.append(f"node {a} is said to be farther from itself than from another node")
        if value < 10:
            warnings.append(f"the distance {a} to {b} is {value}: less than 10, which means nearer than local")
