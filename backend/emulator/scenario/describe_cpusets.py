"""The cpusets of a scenario: `cpusets:` at the top level, `cpuset:`, `caps:` and `suid:` of processes, and the steps
that change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from backend.emulator.abi.cgroupfs import FILES
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.scenario.describe_processes import ProcessSpec
from backend.emulator.scenario.step import Step
from backend.emulator.tasks.cgroup import Version
from backend.files.yaml_reader import Keys, Value
from backend.nodeset import CpuSet, NodeSet


@dataclass(frozen=True, slots=True)
class CpusetSpec:
    """A cpuset: `parent` is a name, empty for the root. `mems`, `cpus`: as configured; `effective_…`: as in
    effect."""

    name: str
    parent: str
    mems: NodeSet
    cpus: CpuSet
    effective_mems: NodeSet
    effective_cpus: CpuSet
    memory_migrate: bool


class Describer:
    """The cpusets read so far of a scenario. All methods raise ParseError with file, line and key."""

    def __init__(self, version: Version, nodes: NodeSet, node_of_cpu: Mapping[int, int]) -> None:
        self.version: Version = version
        self.nodes = nodes
        self.node_of_cpu = node_of_cpu
        self.root = CpusetSpec("", "", nodes, CpuSet(node_of_cpu), nodes, CpuSet(node_of_cpu), memory_migrate=False)
        self.specs: dict[str, CpusetSpec] = {}

    def read(
        self, value: Value | None, processes: Sequence[ProcessSpec], places: Value | None
    ) -> tuple[ProcessSpec, ...]:
        """All cpusets of the scenario. Returns the processes, each with the cpuset it starts in."""
        by_name = {process.name: process for process in processes}
        for item in value.items() if value is not None else ():
            keys = item.mapping(("name", "parent", "mems", "cpus", "memory_migrate", "tasks"), ("name",))
            spec = self._cpuset(keys, item)
            self.specs[spec.name] = spec
            for task in keys.read("tasks", Value.items, ()):
                self._put(task, by_name, spec)
        parents = {spec.parent for spec in self.specs.values()}
        items = places.items() if places is not None else []
        return tuple(
            self._check(by_name[process.name], Keys(place.pairs()), parents)
            for process, place in zip(processes, items, strict=True)
        )

    def _cpuset(self, keys: Keys, item: Value) -> CpusetSpec:
        name = keys["name"].text(255)
        if not name or "/" in name or name in (".", "..") or any(not c.isprintable() for c in name):
            keys["name"].fail("is not a name for a cpuset", "letters and digits, without /")
        if name in self.specs or name in FILES:
            keys["name"].fail(f"'{name}' is there already", "give each cpuset its own name")
        parent = keys.read("parent", self._find, self.root)
        mems = keys.read("mems", lambda value: value.through(lambda text: NodeSet.parse(text, self.nodes)), NodeSet())
        cpus = keys.read("cpus", self._cpus, CpuSet())
        if self.version == "v1":
            if "cpus" not in keys:
                cpus = parent.cpus
            if not mems:
                item.fail("in cgroup v1 a cpuset needs mems", f"write mems: {parent.mems}")
            if not mems.issubset(parent.mems):
                keys["mems"].fail(
                    f"node {mems - parent.mems} is not in the parent's mems ({parent.mems})",
                    "in cgroup v1 a cpuset has no more than its parent",
                )
            if not cpus.issubset(parent.cpus):
                keys["cpus"].fail(f"CPU {cpus - parent.cpus} is not in the parent's cpus ({parent.cpus})")
        elif "memory_migrate" in keys and not keys["memory_migrate"].truth():
            keys["memory_migrate"].fail("cgroup v2 always migrates", "leave it out, or write machine: {cgroups: v1}")
        return CpusetSpec(
            name=name,
            parent=parent.name,
            mems=mems,
            cpus=cpus,
            effective_mems=mems & parent.effective_mems or parent.effective_mems,
            effective_cpus=cpus & parent.effective_cpus or parent.effective_cpus,
            memory_migrate=keys.read("memory_migrate", Value.truth, False),
        )

    def _find(self, value: Value) -> CpusetSpec:
        name = value.text(255)
        if name not in self.specs:
            value.fail(
                f"there is no cpuset '{name}'",
                f"there are {', '.join(self.specs)}" if self.specs else "there are none above",
            )
        return self.specs[name]

    def _cpus(self, value: Value) -> CpuSet:
        cpus = value.through(CpuSet.parse_list)
        missing = cpus - CpuSet(self.node_of_cpu)
        if missing:
            value.fail(f"there is no CPU {missing}")
        return cpus

    def _put(self, value: Value, by_name: dict[str, ProcessSpec], spec: CpusetSpec) -> None:
        name = value.text()
        process = by_name.get(name)
        if process is None:
            value.fail(f"there is no process '{name}'", f"there are {', '.join(by_name) or 'none'}")
        if process.cpuset and process.cpuset != spec.name:
            value.fail(f"'{name}' is in the cpuset '{process.cpuset}' already", "a process is in one cpuset")
        by_name[name] = replace(process, cpuset=spec.name)

    def _check(self, process: ProcessSpec, keys: Keys, parents: set[str]) -> ProcessSpec:
        """Check that the process's cpuset exists and has the nodes and CPUs that the process names."""
        if not process.cpuset:
            return process
        place = keys.get("cpuset", keys["name"])
        spec = self._find(place) if "cpuset" in keys else self.specs[process.cpuset]
        if self.version == "v2" and spec.name in parents:
            place.fail(
                f"the cpuset '{spec.name}' has cpusets below it",
                "in cgroup v2 processes are in the lowest ones",
            )
        self._policy(process.policy, keys.get("policy"), spec)
        for region, item in zip(process.memory, keys.read("memory", Value.items, ()), strict=True):
            self._policy(region.policy, dict(item.pairs()).get("policy"), spec)
        outside = [cpu for cpu in process.cpus if cpu not in spec.effective_cpus]
        if not outside:
            return process
        given = keys.get("cpu") or keys.get("cpus")
        if given is not None:
            given.fail(f"CPU {outside[0]} is not one of the cpuset '{spec.name}' ({spec.effective_cpus})")
        here = list(spec.effective_cpus)
        if "node" in keys:
            node = self.node_of_cpu[process.cpus[0]]
            here = [cpu for cpu in here if self.node_of_cpu[cpu] == node]
            if not here:
                keys["node"].fail(f"node {node} has no CPU of the cpuset '{spec.name}' ({spec.effective_cpus})")
        return replace(process, cpus=tuple(here[number % len(here)] for number in range(len(process.cpus))))

    def _policy(self, policy: Mempolicy | None, value: Value | None, spec: CpusetSpec) -> None:
        if policy is None or value is None or policy.nodes.issubset(spec.effective_mems):
            return
        value.fail(
            f"{policy} names node {policy.nodes - spec.effective_mems}, which the cpuset '{spec.name}' does not have",
            f"its mems are {spec.effective_mems}",
        )

    def check_step(self, step: Step, body: Value, processes: Mapping[str, ProcessSpec]) -> None:
        """Check that the cpusets and callers that a step names exist."""
        keys = dict(body.pairs())
        if "cpuset" in keys:
            self._find(keys["cpuset"])
        if step.call == "cpuset":
            if not {"mems", "cpus", "memory_migrate"} & set(keys):
                body.fail("nothing to change", "give mems, cpus or memory_migrate")
            if "memory_migrate" in keys and self.version == "v2":
                keys["memory_migrate"].fail("cgroup v2 always migrates", "leave it out")
        name = step.given.get("as")
        if isinstance(name, str) and name not in processes:
            keys["as"].fail(f"'{name}' is neither a uid nor a process", f"there are {', '.join(processes)}")
