"""The machine of a description: nodes, distances, swap, costs, patches."""

from __future__ import annotations

from dataclasses import fields

from backend.emulator.costs import Costs
from backend.emulator.frames.frames import usual_huge
from backend.emulator.hooks import NORMAL, TIERING
from backend.emulator.machine import MachineSpec, NodeSpec, Patches
from backend.emulator.profile import PROFILES
from backend.emulator.scenario.describe_files import FileSpec
from backend.emulator.tasks.cgroup import Version
from backend.files.yaml_reader import Value
from backend.nodeset import CpuSet, NodeSet

MAX_FRAMES = 1 << 28
_MOST_MEASURED = 1 << 30
"""Nanoseconds, and MB/s."""


class MachineReader:
    """Reads the `machine` of a description, key by key. The rest of the description is checked against it.

    Raises ParseError.
    """

    def __init__(self, value: Value, instead: str) -> None:
        keys = value.mapping(
            (
                "profile",
                "page_size",
                "nodes",
                "distances",
                "swap",
                "costs",
                "patches",
                "seed",
                "batch",
                "balance",
                "numa_balancing",
                "demotion",
                "writeback",
                "cgroups",
            ),
            ("nodes",),
        )
        profile = instead or keys.read("profile", Value.text, "linux-6")
        if profile not in PROFILES:
            keys.get("profile", value).fail(f"there is no profile '{profile}'", f"choose one of {', '.join(PROFILES)}")
        self.profile = PROFILES[profile]
        self.cgroups: Version = self.profile.cgroups
        if "cgroups" in keys:
            version = keys["cgroups"].text()
            if version not in self.profile.cgroup_versions:
                keys["cgroups"].fail(
                    f"{profile} has no cgroups '{version}'",
                    "leave the key out: each kernel has its own then, v2 for linux-6 and linux-7, v1 for the others",
                )
            self.cgroups = "v1" if version == "v1" else "v2"
        self.page_size = keys.read("page_size", Value.size, 4096)
        if self.page_size not in (4096, 8192, 16384, 65536, 1 << 21):
            keys["page_size"].fail(f"{self.page_size} is not a page size", "4KiB, 8KiB, 16KiB, 64KiB or 2MiB")
        self._turns: dict[int, int] = {}
        self.huge = usual_huge(self.page_size)
        self.hugepages: dict[int, int] = {}
        self.nodes = self._nodes(keys["nodes"])
        self.ids = NodeSet(node.id for node in self.nodes)
        self.node_of_cpu = {cpu: node.id for node in self.nodes for cpu in node.cpus}
        if not self.node_of_cpu:
            keys["nodes"].fail("no node has CPUs", "give at least one node cpus: 0-3")
        self.notes: list[str] = []
        self.distances = self._distances(keys.get("distances"))
        self.swap_pages = keys["swap"].size() // self.page_size if "swap" in keys else 0
        if self.swap_pages > MAX_FRAMES:
            keys["swap"].fail("is too large to emulate")
        self.costs = self._costs(keys.get("costs"))
        self.patches = self._patches(None if instead else keys.get("patches"))
        self.seed = keys.read("seed", Value.integer, 1)
        self.batch = keys.read("batch", lambda value: value.integer(1, 65536), 512)
        self.balance = keys.read("balance", Value.period, 0.0)
        self.numa_balancing = keys.read("numa_balancing", self._balancing, 0)
        if self.numa_balancing and not self.profile.numa_balancing:
            keys["numa_balancing"].fail(f"the profile {profile} has no NUMA balancing", "Linux has it since 3.8")
        self.demotion = "demotion" in keys and keys["demotion"].truth()
        if self.demotion and not self.profile.tiers:
            keys["demotion"].fail(f"the profile {profile} has no memory tiers", "linux-7 has them")
        self.writeback = keys.read("writeback", Value.period, 0.0)
        self.files: dict[str, FileSpec] = {}

    def spec(self) -> MachineSpec:
        return MachineSpec(
            self.profile,
            self.nodes,
            self.distances,
            page_size=self.page_size,
            swap_pages=self.swap_pages,
            costs=self.costs,
            patches=self.patches,
            seed=self.seed,
            batch=self.batch,
            cgroups=self.cgroups,
        )

    def next_cpu(self, node: int) -> int:
        """The CPUs of a node in turn, so that processes placed on a node do not all run on its first CPU."""
        cpus = [cpu for cpu, where in self.node_of_cpu.items() if where == node]
        self._turns[node] = self._turns.get(node, -1) + 1
        return cpus[self._turns[node] % len(cpus)]

    def _nodes(self, value: Value) -> tuple[NodeSpec, ...]:
        out: dict[int, NodeSpec] = {}
        cpus_seen = CpuSet()
        total = 0
        for item in value.items():
            keys = item.mapping(("id", "memory", "cpus", "hugepages", "latency", "bandwidth"), ("id", "memory"))
            node = keys["id"].integer(0, 1023)
            if node in out:
                keys["id"].fail(f"node {node} is there already")
            cpus = keys.read("cpus", lambda value: value.through(CpuSet.parse_list), CpuSet())
            if cpus & cpus_seen:
                keys["cpus"].fail(f"CPU {cpus & cpus_seen} is on another node already")
            cpus_seen |= cpus
            pages = keys["memory"].size() // self.page_size
            total += pages
            if total > MAX_FRAMES:
                keys["memory"].fail(
                    "the machine is too large to emulate", "make it smaller, or choose a larger page_size"
                )
            latency, bandwidth = (
                keys.read(name, lambda value: value.integer(1, _MOST_MEASURED), 0) for name in ("latency", "bandwidth")
            )
            out[node] = NodeSpec(node, pages, cpus, latency, bandwidth)
            if "hugepages" in keys:
                self.hugepages[node] = keys["hugepages"].integer(0, pages // self.huge)
        if not total:
            value.fail("no node has memory")
        return tuple(out[node] for node in sorted(out))

    def _balancing(self, value: Value) -> int:
        """on, off or tiering, as the sysctl's number."""
        if value.text() == "tiering":
            if not self.profile.tiers:
                value.fail(f"the profile {self.profile.name} has no memory tiers", "linux-7 has them")
            return TIERING
        return NORMAL if value.truth() else 0

    def whole_pages(self, value: Value) -> int:
        """A size in pages, rounded up, which is said."""
        size = value.size()
        pages = -(-size // self.page_size)
        if size % self.page_size:
            self.notes.append(f"{value.place}: {size} bytes are {pages} pages of {self.page_size >> 10}KiB")
        return pages

    def _distances(self, value: Value | None) -> dict[tuple[int, int], int]:
        ids = list(self.ids)
        if value is None:
            return {(a, b): 10 if a == b else 20 for a in ids for b in ids}
        rows = value.items()
        if len(rows) != len(ids):
            value.fail(f"has {len(rows)} rows for {len(ids)} nodes")
        out: dict[tuple[int, int], int] = {}
        for a, row in zip(ids, rows, strict=True):
            cells = row.items()
            if len(cells) != len(ids):
                row.fail(f"has {len(cells)} numbers for {len(ids)} nodes")
            for b, cell in zip(ids, cells, strict=True):
                out[a, b] = cell.integer(10, 255)
                if a == b and out[a, b] != 10:
                    cell.fail(f"node {a} is 10 from itself", "10 is local, 255 unreachable (ACPI's SLIT)")
        return out

    def _costs(self, value: Value | None) -> Costs:
        if value is None:
            return Costs()
        names = tuple(one.name for one in fields(Costs))
        return Costs(**{key: item.seconds() for key, item in value.mapping(names).items()})

    def _patches(self, value: Value | None) -> Patches:
        if value is None:
            return Patches()
        known = tuple(one.name for one in fields(Patches))
        patches = value.mapping(known)
        if self.profile.name != "direct-v8":
            value.fail(f"the profile {self.profile.name} is not made of these patches", "they belong to direct-v8")
        return Patches(**{key: item.truth() for key, item in patches.items()})
