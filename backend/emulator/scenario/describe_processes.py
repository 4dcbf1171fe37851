"""The processes of a description, and their memory."""

from __future__ import annotations

from dataclasses import dataclass

from backend.emulator.mm import mempolicy
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.scenario.describe_files import FileSpec
from backend.emulator.scenario.describe_machine import MAX_FRAMES, MachineReader
from backend.emulator.tasks.credentials import Cap
from backend.emulator.tasks.workload import Access
from backend.files.text import printable
from backend.files.yaml_reader import Keys, Value, number_key
from backend.nodeset import CpuSet

KINDS = ("anon", "heap", "stack", "file", "shared", "shmem", "hugetlb")
_MARKS = ("mlocked", "io", "reserved", "huge")


@dataclass(frozen=True, slots=True)
class RegionSpec:
    """A mapping of a process. `on`: node → pages there at the start; None: all pages are touched at the start, placed
    by the policy, or none if `touched` is False. `file`: the `filesystem/name` mapped from page `offset` on, `private`
    or shared; `dirty`: written in the cache and not on the device. `shared_with`: the process whose object of the same
    name it maps. `marks`: some of mlocked, io, reserved, huge (transparent huge pages)."""

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
    """A task. `cpus`: where each of its threads starts; `pid`: the next by default."""

    name: str
    command: str
    uid: int
    cpus: tuple[int, ...]
    policy: Mempolicy | None
    memory: tuple[RegionSpec, ...]
    cpuset: str = ""
    suid: int | None = None
    caps: frozenset[Cap] | None = None
    pid: int | None = None


def read_process(value: Value, machine: MachineReader) -> ProcessSpec:
    keys = value.mapping(
        (
            "name",
            "command",
            "pid",
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
        command=keys.read("command", lambda value: value.text(65536), name),
        uid=keys.read("uid", lambda value: value.integer(0, 1 << 31), 0),
        cpus=_cpus(keys, machine),
        policy=keys.read("policy", lambda value: _policy(value, machine), None),
        memory=memory,
        cpuset=keys.read("cpuset", lambda value: value.text(255), ""),
        suid=keys.read("suid", lambda value: value.integer(0, 1 << 31), None),
        caps=keys.read("caps", _caps, None),
        pid=keys.read("pid", lambda value: value.integer(3, 1 << 22), None),
    )


def _cpus(keys: Keys, machine: MachineReader) -> tuple[int, ...]:
    """The CPU of each thread at the start: the `cpus` given, or `threads` CPUs of one node in turn."""
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
    threads = keys.read("threads", lambda value: value.integer(1, 4096), 1)
    return tuple(near[(near.index(cpu) + number) % len(near)] for number in range(threads))


def _region(value: Value, machine: MachineReader) -> RegionSpec:
    keys = value.mapping(
        (
            "name", "kind", "size", "on", "policy", "access", "touched", "file", "offset", "private", "dirty",
            "shared_with", *_MARKS,
        ),
    )  # fmt: skip
    kind = keys.read("kind", Value.text, "file" if "file" in keys else "anon")
    if kind not in KINDS:
        keys["kind"].fail(f"there is no kind '{kind}'", f"choose one of {', '.join(KINDS)}")
    file, offset = _file(keys, value, kind, machine)
    if "size" in keys:
        pages = machine.whole_pages(keys["size"])
    elif file is not None:
        pages = file.pages - offset
    else:
        value.fail("the key 'size' is missing")
    if not 0 < pages <= MAX_FRAMES:
        (keys.get("size") or value).fail("must be at least a page" if pages <= 0 else "is too large to emulate")
    if file is not None and offset + pages > file.pages:
        (keys.get("size") or value).fail(f"the file has {file.pages} pages only")
    if "shared_with" in keys and kind not in ("shared", "shmem"):
        keys["shared_with"].fail(f"{kind} memory cannot be shared so", "give it kind: shared")
    if kind == "hugetlb" and pages % machine.huge:
        (keys.get("size") or value).fail(f"must be a multiple of {machine.huge * machine.page_size >> 10}KiB")
    if "huge" in keys and (kind not in ("anon", "heap") or machine.profile.rule != "linux-6"):
        keys["huge"].fail("only anonymous memory of linux-6 and linux-7 has transparent huge pages")
    if "dirty" in keys and file is None:
        keys["dirty"].fail("only pages of a file can be dirty in the cache")
    access = None
    if "access" in keys:
        parts = keys["access"].mapping(("hot", "write", "sample", "begin", "moves"))
        access = Access(
            hot=parts["hot"].share() if "hot" in parts else 1.0,
            write=parts["write"].share() if "write" in parts else 0.5,
            sample=parts["sample"].integer(1, 4096) if "sample" in parts else 32,
            begin=parts["begin"].share() if "begin" in parts else 0.0,
            moves=parts["moves"].share() if "moves" in parts else 0.0,
        )
    return RegionSpec(
        name=keys.read("name", lambda value: value.text(200), kind),
        kind=kind,
        pages=pages,
        on=keys.read("on", lambda value: _on(value, machine, pages), None),
        policy=keys.read("policy", lambda value: _policy(value, machine), None),
        access=access,
        touched=keys.read("touched", Value.truth, True),
        file=file.path if file is not None else "",
        offset=offset,
        private="private" in keys and keys["private"].truth(),
        dirty="dirty" in keys and keys["dirty"].truth(),
        shared_with=keys.read("shared_with", Value.text, ""),
        marks=tuple(mark for mark in _MARKS if mark in keys and keys[mark].truth()),
    )


def _file(keys: Keys, value: Value, kind: str, machine: MachineReader) -> tuple[FileSpec | None, int]:
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
    offset = keys.read("offset", Value.size, 0)
    if offset % machine.page_size:
        keys["offset"].fail("must be a multiple of the page size")
    return file, offset // machine.page_size


def check_sharing(process: ProcessSpec, earlier: dict[str, ProcessSpec], value: Value) -> None:
    """Check that what a process shares with another is described before it, with the same size."""
    for region in process.memory:
        if not region.shared_with:
            continue
        other = earlier.get(region.shared_with)
        if other is None:
            value.fail(f"there is no process '{region.shared_with}' above that shares '{region.name}'")
        theirs = next((one for one in other.memory if one.name == region.name), None)
        if theirs is None or theirs.kind != region.kind or theirs.pages < region.pages:
            value.fail(f"'{other.name}' has no such region '{region.name}' to share")


def _on(value: Value, machine: MachineReader, pages: int) -> dict[int, int]:
    """node → pages, from shares of at most 100 % together. The rest is untouched; rounding goes to the first node."""
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


def _policy(value: Value, machine: MachineReader) -> Mempolicy:
    return value.through(lambda text: mempolicy.parse(text, machine.ids, machine.profile.weighted_interleave))


def check_room(machine: MachineReader, processes: tuple[ProcessSpec, ...], value: Value | None) -> None:
    """Check that the pages on each node at the start fit on it."""
    if value is None:
        return
    if sum(region.pages for process in processes for region in process.memory) > MAX_FRAMES:
        value.fail("the processes map more than can be emulated", "make their regions smaller")
    left = {node.id: node.pages for node in machine.nodes}
    for process, place in zip(processes, value.items(), strict=True):
        for region in process.memory:
            for node, pages in (region.on or {}).items():
                left[node] -= pages
                if left[node] < 0:
                    place.fail(
                        f"node {node} has no room for the region '{region.name}'",
                        "make it smaller or put it on another node",
                    )


def _caps(value: Value) -> frozenset[Cap]:
    """A list of capabilities: CAP_SYS_NICE, sys_nice."""
    out: set[Cap] = set()
    for item in value.items():
        name = item.text(64).upper()
        full = name if name.startswith("CAP_") else f"CAP_{name}"
        if full not in list(Cap):
            item.fail(f"'{item.text(64)}' does not matter here", f"choose from {', '.join(Cap)}")
        out.add(Cap(full))
    return frozenset(out)
