"""A machine's description: YAML → what is to be built. Errors name file, line and key."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from backend.emulator import mempolicy
from backend.emulator.costs import Costs
from backend.emulator.cpuset import Version
from backend.emulator.describe_cpusets import CpusetSpec, Describer, caps
from backend.emulator.describe_files import FileSpec, FilesystemSpec, parse_filesystems
from backend.emulator.machine import NodeSpec, Patches
from backend.emulator.mempolicy import Mempolicy
from backend.emulator.permissions import Cap
from backend.emulator.profile import PROFILES, Profile
from backend.emulator.workload import Access
from backend.emulator.yaml_reader import Value, number_key, parse_yaml, uncollected
from backend.nodeset import CpuSet, NodeSet
from backend.text import printable

MAX_FRAMES = 1 << 28
MAX_STEPS = 200_000
KINDS = ("anon", "heap", "stack", "file", "shared", "shmem", "hugetlb")
_MARKS = ("mlocked", "io", "reserved", "huge")


@dataclass(frozen=True, slots=True)
class RegionSpec:
    """A mapping of a process. `on`: node → pages there at the start; None: touched at the start, by policy; `touched`
    False: untouched. `file`: `filesystem/name` of what it maps from page `offset` on, `private` or shared; `dirty`: written in
    the cache and not on the device. `shared_with`: the process whose object of the same name it maps. `marks`: of
    mlocked, io, reserved, huge (transparent huge pages)."""

    name: str
    kind: str
    pages: int
    on: dict[int, int] | None
    policy: Mempolicy | None
    access: Access | None
    touched: bool
    file: str = ""
    offset: int = 0
    private: bool = False
    dirty: bool = False
    shared_with: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A task. `cpus`: where each of its threads starts."""

    name: str
    command: str
    uid: int
    cpus: tuple[int, ...]
    policy: Mempolicy | None
    memory: tuple[RegionSpec, ...]
    cpuset: str = ""
    suid: int | None = None
    caps: frozenset[Cap] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens at a time (seconds): `call` with its arguments, which are checked already."""

    at: float
    call: str
    task: str
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Description:
    """All of it, consistent in itself."""

    name: str
    profile: Profile
    page_size: int
    nodes: tuple[NodeSpec, ...]
    distances: dict[tuple[int, int], int]
    swap_pages: int
    costs: Costs
    patches: Patches
    seed: int
    batch: int
    balance: float
    numa_balancing: bool
    users: dict[int, str]
    filesystems: tuple[FilesystemSpec, ...]
    writeback: float
    processes: tuple[ProcessSpec, ...]
    steps: tuple[Step, ...]
    run: float
    hugepages: dict[int, int] = field(default_factory=dict[int, int])
    cgroups: Version = "v2"
    cpusets: tuple[CpusetSpec, ...] = ()


@uncollected()
def parse_description(text: str, file: str = "scenario", name: str = "", profile: str = "") -> Description:
    """Raises ParseError naming file, line and key. `profile`: the kernel to run it on instead of its own, whose patches
    then do not count."""
    root = parse_yaml(text, file)
    top = root.mapping(
        ("name", "about", "machine", "users", "filesystems", "processes", "cpusets", "steps", "run"),
        ("machine",),
    )
    machine = _Machine(top["machine"], profile)
    users = {0: "root"}
    if "users" in top:
        for key, value in top["users"].pairs():
            uid = number_key(key)
            if uid is None or uid > 1 << 31:
                value.fail("users are given as uid: name")
            users[uid] = value.text(64)
    filesystems = (
        parse_filesystems(top["filesystems"], machine.profile.filesystem_types, machine.page_size)
        if "filesystems" in top
        else ()
    )
    machine.files = {file.path: file for filesystem in filesystems for file in filesystem.files}
    processes = (
        tuple(_process(value, machine) for value in top["processes"].items()) if "processes" in top else ()
    )
    earlier: dict[str, ProcessSpec] = {}
    for process, value in zip(processes, top["processes"].items() if processes else (), strict=True):
        if process.name in earlier:
            value.fail(f"there are two processes '{process.name}'", "give each its own name")
        _check_sharing(process, earlier, value)
        earlier[process.name] = process
    machine.check_room(processes, top.get("processes"))
    cpusets = Describer(machine.cgroups, machine.ids, machine.node_of_cpu)
    processes = cpusets.read(top.get("cpusets"), processes, top.get("processes"))
    steps = _steps(top["steps"], machine, processes, cpusets) if "steps" in top else ()
    return Description(
        name=top["name"].text(200) if "name" in top else name or file,
        profile=machine.profile, page_size=machine.page_size, nodes=machine.nodes, distances=machine.distances,
        swap_pages=machine.swap_pages, costs=machine.costs, patches=machine.patches, seed=machine.seed,
        batch=machine.batch, balance=machine.balance, numa_balancing=machine.numa_balancing, users=users,
        filesystems=filesystems, writeback=machine.writeback, processes=processes, steps=steps,
        run=top["run"].seconds() if "run" in top else 0.0,
        hugepages=machine.hugepages, cgroups=machine.cgroups, cpusets=tuple(cpusets.specs.values()),
    )  # fmt: skip


class _Machine:
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
                "writeback",
                "cgroups",
            ),
            ("nodes",),
        )
        profile = instead or (keys["profile"].text() if "profile" in keys else "linux-6")
        if profile not in PROFILES:
            keys.get("profile", value).fail(
                f"there is no profile '{profile}'", f"choose one of {', '.join(PROFILES)}"
            )
        self.profile = PROFILES[profile]
        self.cgroups: Version = self.profile.cgroups
        if "cgroups" in keys:
            version = keys["cgroups"].text()
            if version not in ("v1", "v2") or (version == "v2" and self.profile.cgroups == "v1"):
                keys["cgroups"].fail(f"{profile} has no cgroups '{version}'", "v1, and with linux-6 v2")
            self.cgroups = "v1" if version == "v1" else "v2"
        self.page_size = keys["page_size"].size() if "page_size" in keys else 4096
        if self.page_size not in (4096, 8192, 16384, 65536, 1 << 21):
            keys["page_size"].fail(f"{self.page_size} is not a page size", "4KiB, 8KiB, 16KiB, 64KiB or 2MiB")
        self._turns: dict[int, int] = {}
        self.huge = max(1, (2 << 20) // self.page_size)
        self.hugepages: dict[int, int] = {}
        self.nodes = self._nodes(keys["nodes"])
        self.ids = NodeSet(node.id for node in self.nodes)
        self.node_of_cpu = {cpu: node.id for node in self.nodes for cpu in node.cpus}
        if not self.node_of_cpu:
            keys["nodes"].fail("no node has CPUs", "give at least one node cpus: 0-3")
        self.distances = self._distances(keys.get("distances"))
        self.swap_pages = keys["swap"].size() // self.page_size if "swap" in keys else 0
        if self.swap_pages > MAX_FRAMES:
            keys["swap"].fail("is too large to emulate")
        self.costs = self._costs(keys.get("costs"))
        self.patches = self._patches(None if instead else keys.get("patches"))
        self.seed = keys["seed"].integer() if "seed" in keys else 1
        self.batch = keys["batch"].integer(1, 65536) if "batch" in keys else 512
        self.balance = keys["balance"].period() if "balance" in keys else 0.0
        self.numa_balancing = "numa_balancing" in keys and keys["numa_balancing"].truth()
        if self.numa_balancing and not self.profile.numa_balancing:
            keys["numa_balancing"].fail(
                f"the profile {profile} has no NUMA balancing", "Linux has it since 3.8"
            )
        self.writeback = keys["writeback"].period() if "writeback" in keys else 0.0
        self.files: dict[str, FileSpec] = {}

    def next_cpu(self, node: int) -> int:
        """The CPUs of a node in turn, so that processes described with a node do not crowd on its first CPU."""
        cpus = [cpu for cpu, where in self.node_of_cpu.items() if where == node]
        self._turns[node] = self._turns.get(node, -1) + 1
        return cpus[self._turns[node] % len(cpus)]

    def _nodes(self, value: Value) -> tuple[NodeSpec, ...]:
        out: dict[int, NodeSpec] = {}
        cpus_seen = CpuSet()
        total = 0
        for item in value.items():
            keys = item.mapping(("id", "memory", "cpus", "hugepages"), ("id", "memory"))
            node = keys["id"].integer(0, 1023)
            if node in out:
                keys["id"].fail(f"node {node} is there already")
            cpus = keys["cpus"].through(CpuSet.parse_list) if "cpus" in keys else CpuSet()
            if cpus & cpus_seen:
                keys["cpus"].fail(f"CPU {cpus & cpus_seen} is on another node already")
            cpus_seen |= cpus
            pages = keys["memory"].size() // self.page_size
            total += pages
            if total > MAX_FRAMES:
                keys["memory"].fail(
                    "the machine is too large to emulate", "make it smaller, or choose a larger page_size"
                )
            out[node] = NodeSpec(node, pages, cpus)
            if "hugepages" in keys:
                self.hugepages[node] = keys["hugepages"].integer(0, pages // self.huge)
        if not total:
            value.fail("no node has memory")
        return tuple(out[node] for node in sorted(out))

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
                out[a, b] = cell.integer(0, 255)
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
            value.fail(
                f"the profile {self.profile.name} is not made of these patches", "they belong to direct-v8"
            )
        return Patches(**{key: item.truth() for key, item in patches.items()})

    def check_room(self, processes: tuple[ProcessSpec, ...], value: Value | None) -> None:
        """No more on a node at the start than it has."""
        if value is None:
            return
        left = {node.id: node.pages for node in self.nodes}
        for process, place in zip(processes, value.items(), strict=True):
            for region in process.memory:
                for node, pages in (region.on or {}).items():
                    left[node] -= pages
                    if left[node] < 0:
                        place.fail(
                            f"node {node} has no room for the region '{region.name}'",
                            "make it smaller or put it on another node",
                        )


def _process(value: Value, machine: _Machine) -> ProcessSpec:
    keys = value.mapping(
        (
            "name",
            "command",
            "uid",
            "suid",
            "caps",
            "cpuset",
            "node",
            "cpu",
            "cpus",
            "threads",
            "policy",
            "memory",
        ),
        ("name",),
    )
    name = keys["name"].text(4096)
    if not name:
        keys["name"].fail("is empty")
    memory = tuple(_region(item, machine) for item in keys["memory"].items()) if "memory" in keys else ()
    names = [region.name for region in memory]
    if len(set(names)) != len(names):
        keys["memory"].fail("two regions have the same name", "give each its own")
    return ProcessSpec(
        name=name,
        command=keys["command"].text(65536) if "command" in keys else name,
        uid=keys["uid"].integer(0, 1 << 31) if "uid" in keys else 0,
        cpus=_cpus(keys, machine),
        policy=_policy(keys["policy"], machine) if "policy" in keys else None,
        memory=memory,
        cpuset=keys["cpuset"].text(255) if "cpuset" in keys else "",
        suid=keys["suid"].integer(0, 1 << 31) if "suid" in keys else None,
        caps=caps(keys["caps"]) if "caps" in keys else None,
    )


def _cpus(keys: dict[str, Value], machine: _Machine) -> tuple[int, ...]:
    """Where each thread starts: on the `cpus` given, or `threads` of them from a CPU on, on its node."""
    if "cpus" in keys:
        for key in ("cpu", "node", "threads"):
            if key in keys:
                keys[key].fail("the CPUs are given already", "one thread runs on each of cpus")
        chosen = keys["cpus"].through(CpuSet.parse_list)
        if not chosen or not chosen.issubset(CpuSet(machine.node_of_cpu)):
            keys["cpus"].fail(f"there is no CPU {chosen - CpuSet(machine.node_of_cpu)}")
        return tuple(chosen)
    cpu = next(iter(machine.node_of_cpu))
    if "cpu" in keys:
        cpu = keys["cpu"].integer()
        if cpu not in machine.node_of_cpu:
            keys["cpu"].fail(f"there is no CPU {cpu}")
    elif "node" in keys:
        node = keys["node"].integer()
        if node not in machine.node_of_cpu.values():
            keys["node"].fail(
                f"node {node} has no CPUs" if node in machine.ids else f"there is no node {node}",
                f"the nodes are {machine.ids}",
            )
        cpu = machine.next_cpu(node)
    near = [other for other, node in machine.node_of_cpu.items() if node == machine.node_of_cpu[cpu]]
    threads = keys["threads"].integer(1, 4096) if "threads" in keys else 1
    return tuple(near[(near.index(cpu) + number) % len(near)] for number in range(threads))


def _region(value: Value, machine: _Machine) -> RegionSpec:
    keys = value.mapping(
        (
            "name", "kind", "size", "on", "policy", "access", "touched", "file", "offset", "private", "dirty",
            "shared_with", *_MARKS,
        ),
    )  # fmt: skip
    kind = keys["kind"].text() if "kind" in keys else "file" if "file" in keys else "anon"
    if kind not in KINDS:
        keys["kind"].fail(f"there is no kind '{kind}'", f"choose one of {', '.join(KINDS)}")
    file, offset = _file(keys, value, kind, machine)
    if "size" in keys:
        pages = -(-keys["size"].size() // machine.page_size)
    elif file is not None:
        pages = file.pages - offset
    else:
        value.fail("the key 'size' is missing")
    if not 0 < pages <= MAX_FRAMES:
        (keys.get("size") or value).fail(
            "must be at least a page" if pages <= 0 else "is too large to emulate"
        )
    if file is not None and offset + pages > file.pages:
        (keys.get("size") or value).fail(f"the file has {file.pages} pages only")
    if "shared_with" in keys and kind not in ("shared", "shmem"):
        keys["shared_with"].fail(f"{kind} memory cannot be shared so", "give it kind: shared")
    if kind == "hugetlb" and pages % machine.huge:
        (keys.get("size") or value).fail(f"must be a multiple of {machine.huge * machine.page_size >> 10}KiB")
    if "huge" in keys and (kind not in ("anon", "heap") or machine.profile.name != "linux-6"):
        keys["huge"].fail("only anonymous memory of linux-6 has transparent huge pages")
    if "dirty" in keys and file is None:
        keys["dirty"].fail("only pages of a file can be dirty in the cache")
    access = None
    if "access" in keys:
        parts = keys["access"].mapping(("hot", "write", "sample"))
        access = Access(
            hot=parts["hot"].share() if "hot" in parts else 1.0,
            write=parts["write"].share() if "write" in parts else 0.5,
            sample=parts["sample"].integer(1, 4096) if "sample" in parts else 32,
        )
    return RegionSpec(
        name=keys["name"].text(200) if "name" in keys else kind,
        kind=kind,
        pages=pages,
        on=_on(keys["on"], machine, pages) if "on" in keys else None,
        policy=_policy(keys["policy"], machine) if "policy" in keys else None,
        access=access,
        touched=keys["touched"].truth() if "touched" in keys else True,
        file=file.path if file is not None else "",
        offset=offset,
        private="private" in keys and keys["private"].truth(),
        dirty="dirty" in keys and keys["dirty"].truth(),
        shared_with=keys["shared_with"].text() if "shared_with" in keys else "",
        marks=tuple(mark for mark in _MARKS if mark in keys and keys[mark].truth()),
    )


def _file(keys: dict[str, Value], value: Value, kind: str, machine: _Machine) -> tuple[FileSpec | None, int]:
    """The file of a region and the page where it begins."""
    if "file" not in keys:
        for key in ("private", "offset"):
            if key in keys:
                keys[key].fail("belongs to a mapping of a file")
        if kind == "file":
            value.fail("the key 'file' is missing", "write file: filesystem/name")
        return None, 0
    if kind not in ("file", "shmem"):
        keys["file"].fail(f"{kind} memory has no file")
    file = machine.files.get(keys["file"].text())
    if file is None:
        keys["file"].fail(
            f"there is no file '{keys['file'].text(200)}'",
            f"there are {', '.join(machine.files) or 'none: list it under filesystems'}",
        )
    offset = keys["offset"].size() if "offset" in keys else 0
    if offset % machine.page_size:
        keys["offset"].fail("must be a multiple of the page size")
    return file, offset // machine.page_size


def _check_sharing(process: ProcessSpec, earlier: dict[str, ProcessSpec], value: Value) -> None:
    """What a process shares with another is there before it, with the same size."""
    for region in process.memory:
        if not region.shared_with:
            continue
        other = earlier.get(region.shared_with)
        if other is None:
            value.fail(f"there is no process '{region.shared_with}' above that shares '{region.name}'")
        theirs = next((one for one in other.memory if one.name == region.name), None)
        if theirs is None or theirs.kind != region.kind or theirs.pages < region.pages:
            value.fail(f"'{other.name}' has no such region '{region.name}' to share")


def _on(value: Value, machine: _Machine, pages: int) -> dict[int, int]:
    """node → pages, from shares that add up to at most 100%; the rest is untouched, roundings go to the first."""
    shares: dict[int, float] = {}
    for key, item in value.pairs():
        node = number_key(key)
        if node is None or node not in machine.ids:
            item.fail(f"there is no node {printable(key, 40)}", f"the nodes are {machine.ids}")
        shares[node] = item.share()
    total = sum(shares.values())
    if total > 1.000001:
        value.fail(f"the shares add up to {total * 100:.0f}%", "they must not exceed 100%")
    out = {node: int(pages * share + 1e-9) for node, share in sorted(shares.items())}
    if shares and total > 0.999999:
        out[min(shares)] += pages - sum(out.values())
    return {node: count for node, count in out.items() if count}


def _policy(value: Value, machine: _Machine) -> Mempolicy:
    return value.through(lambda text: mempolicy.parse(text, machine.ids))


def _steps(
    value: Value, machine: _Machine, processes: tuple[ProcessSpec, ...], cpusets: Describer
) -> tuple[Step, ...]:
    from backend.emulator.steps import STEPS, Known

    items = value.items()
    if len(items) > MAX_STEPS:
        value.fail(f"has more than {MAX_STEPS} steps")
    by_name = {process.name: process for process in processes}
    out: list[Step] = []
    latest = 0.0
    for item in items:
        keys = dict(item.pairs())
        if "at" not in keys:
            item.fail("the key 'at' is missing", "write - {at: 1s, touch: {task: …}}")
        at = keys.pop("at").seconds()
        if at < latest:
            item.fail(
                f"at {at:g}s comes before the step above ({latest:g}s)", "put the steps in the order of time"
            )
        latest = at
        if len(keys) != 1:
            item.fail("a step is 'at' and one call", f"calls: {', '.join(STEPS)}")
        call, body = next(iter(keys.items()))
        parser = STEPS.get(call)
        if parser is None:
            body.fail(f"there is no step '{call}'", f"choose one of {', '.join(STEPS)}")
        step = parser.parse(at, call, body, Known(machine.ids, machine.node_of_cpu, by_name, machine.files))
        cpusets.check_step(step, body, by_name)
        if call == "fork":
            child = str(step.arguments["child"])
            if child in by_name:
                body.fail(f"there is a process '{child}' already", "give the child its own name")
            by_name[child] = replace(by_name[step.task], name=child)
        out.append(step)
    return tuple(out)
