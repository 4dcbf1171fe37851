"""Turns a kernel into a scenario: the same nodes, processes and placement on an emulated machine, to try things first.

Nodes have the same free memory as the original. Memory that belongs to no process (page cache, kernel, programs,
libraries) is left out of both. Memory shared by several processes belongs to the largest of them and has one more
mapping, so it is as hard to move. A machine too large to emulate is scaled down by one factor. How often pages are used
is unknown: each process uses all its pages alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from backend.emulator.mm.mempolicy import parse as parse_policy
from backend.errors import NotSupported, NumatuiError
from backend.files.text import printable
from backend.kernel import Kernel
from backend.machine.topology import Topology, read_topology
from backend.nodeset import CpuSet, NodeSet
from backend.placement.placement import VmaPlacement
from backend.placement.reader import PlacementReader
from backend.placement.survey import ProcessRow, Surveyor

MOST_FRAMES = 1 << 20
"""Frames of a copy: 4 GiB of 4 KiB pages."""
# Limits that keep the emulation fast.
MOST_PROCESSES = 2000
_MOST_THREADS = 16
# Pages that a process touches per period (`Access.sample`), shared out over its regions.
_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Copy:
    """`document`: the scenario. `scale`: the factor by which it is smaller. `left_out`: processes not in it (smaller
    than one scaled page, not readable, or too many). `notes`: where it differs from what was told."""

    document: dict[str, Any]
    scale: int
    processes: int
    left_out: int
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The scenario as YAML."""
        return yaml.safe_dump(self.document, sort_keys=False, allow_unicode=False, width=4096)


@dataclass(slots=True)
class _Region:
    kind: str
    policy: str
    by_node: dict[int, int] = field(default_factory=dict[int, int])
    file: str = ""


def copy_of(kernel: Kernel, most_frames: int = MOST_FRAMES) -> Copy:
    """Raises NotSupported if no node has memory or none has CPUs; NumatuiError, OSError if the kernel cannot be
    read."""
    topology = read_topology(kernel)
    if not topology.memory_ids or not any(node.cpus for node in topology.nodes):
        raise NotSupported("this machine reports no node with memory and CPUs", "nothing can be copied from it")
    page = kernel.page_size if kernel.page_size in (4096, 8192, 16384, 65536) else 4096
    rows = [row for row in Surveyor(kernel, topology).read() if row.by_node and not row.process.is_kernel_thread]
    rows.sort(key=lambda row: -row.resident)
    used = {node: sum((row.by_node or {}).get(node, 0) for row in rows) for node in topology.memory_ids}
    frames = sum(
        (node.total if node.free is None else node.free + used.get(node.id, 0)) // page for node in topology.nodes
    )
    scale = 1
    while frames // scale > most_frames:
        scale *= 2
    copier = _Copier(kernel, topology, page, scale)
    processes = [one for row in rows[:MOST_PROCESSES] if (one := copier.process(row)) is not None]
    name = f"copy of {printable(kernel.name, 60)}"
    document = {
        "name": name + (f", 1/{scale}" if scale > 1 else ""),
        "about": f"a {name}" + (f", {scale} times smaller" if scale > 1 else ""),
        "machine": copier.machine(),
        "users": copier.users,
        "cpusets": copier.cpusets(),
        "processes": processes,
    }
    return Copy(document, scale, len(processes), len(rows) - len(processes), tuple(copier.notes))


class _Copier:
    def __init__(self, kernel: Kernel, topology: Topology, page: int, scale: int) -> None:
        self.kernel, self.topology, self.page, self.scale = kernel, topology, page, scale
        self.users: dict[int, str] = {}
        self.notes: list[str] = []
        self._placements = PlacementReader(kernel)
        self._taken: dict[int, int] = {}
        self._shared: dict[str, tuple[str, int]] = {}
        self._mems: dict[str, NodeSet] = {}

    def machine(self) -> dict[str, Any]:
        """Call it after `process`: the size of a node is its free memory plus what the processes have there."""
        nodes: list[dict[str, Any]] = []
        taken = CpuSet()
        for node in self.topology.nodes:
            here = self._taken.get(node.id, 0)
            if node.free is not None:
                here += node.free // self.scale // self.page
            elif node.has_memory:
                self.notes.append(f"node {node.id} does not tell what is free: all that no process uses, in the copy")
                here = max(here, node.total // self.scale // self.page)
            one: dict[str, Any] = {"id": node.id, "memory": here * self.page}
            if node.cpus - taken:
                one["cpus"] = str(node.cpus - taken)
            if node.cpus & taken:
                self.notes.append(f"node {node.id} claims CPU {node.cpus & taken} of another node: not so in the copy")
            taken |= node.cpus
            nodes.append(one)
        ids = [node.id for node in self.topology.nodes]
        distances = [[self._distance(a, b) for b in ids] for a in ids]
        return {"page_size": self.page, "nodes": nodes, "distances": distances}

    def _distance(self, a: int, b: int) -> int:
        told = self.topology.distance(a, b)
        # SLIT entries (ACPI): 10 is local, 255 is unreachable.
        return 10 if a == b else min(255, max(10, told))

    def cpusets(self) -> list[dict[str, Any]]:
        return [{"name": name, "mems": str(mems)} for name, mems in self._mems.items()]

    def process(self, row: ProcessRow) -> dict[str, Any] | None:
        """None if it cannot be read, or if nothing is left of it at this scale."""
        process = row.process
        try:
            vmas = self._placements.read(process).vmas
        except NumatuiError:
            return None
        name = task_name(process.comm, process.identity.pid)
        memory = self._memory(name, _regions(vmas))
        if not memory:
            return None
        self.users[process.uid] = printable(process.user, 64)
        out: dict[str, Any] = {
            "name": name,
            "command": printable(process.command, 400) or name,
            "uid": process.uid,
            "memory": memory,
        }
        # Pids 1 and 2 are init and kthreadd.
        if process.identity.pid > 2:
            out["pid"] = process.identity.pid
        place = self.topology.node_of_cpu.get(process.cpu)
        if place is not None:
            out["cpu"] = process.cpu
            out["threads"] = max(1, min(process.threads, _MOST_THREADS, len(self.topology.node(place).cpus)))
        allowed = process.mems_allowed
        memory_ids = self.topology.memory_ids
        if allowed is not None and memory_ids and not memory_ids.issubset(allowed) and allowed & memory_ids:
            cpuset = "mems-" + str(allowed & memory_ids).replace(",", "_")
            self._mems[cpuset] = allowed & memory_ids
            out["cpuset"] = cpuset
        return out

    def _memory(self, owner: str, regions: Iterable[_Region]) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        found: list[tuple[_Region, dict[int, int]]] = []
        for region in regions:
            pages = {
                node: count
                for node, amount in region.by_node.items()
                if (count := round(amount / self.scale / self.page)) and node in self.topology.memory_ids
            }
            if pages:
                found.append((region, pages))
        total = sum(sum(pages.values()) for _, pages in found)
        for number, (region, pages) in enumerate(found):
            for node, count in sorted(pages.items()):
                one = self._region(owner, f"{region.kind}{number}-{node}", region, node, count)
                if one is not None:
                    one["access"] = {"sample": max(1, round(_SAMPLES * count / total))}
                    out.append(one)
        return out

    def _region(self, owner: str, name: str, region: _Region, node: int, count: int) -> dict[str, Any] | None:
        """The pages of a region on one node. Shared memory that already has an owner becomes a second mapping, then
        None."""
        one: dict[str, Any] = {
            "name": name,
            "kind": region.kind,
            "size": count * self.page,
            "on": {node: "100%"},
        }
        if region.policy != "default":
            one["policy"] = region.policy
        if region.file:
            key = f"{region.file}@{node}"
            first = self._shared.get(key)
            if first is not None:
                theirs, pages = first
                if pages < 0:
                    return None
                self._shared[key] = (theirs, -1)
                first_name = f"shared-{_short(region.file)}-{node}"
                return {
                    "name": first_name,
                    "kind": region.kind,
                    "size": pages * self.page,
                    "shared_with": theirs,
                }
            self._shared[key] = (owner, count)
            one["name"] = f"shared-{_short(region.file)}-{node}"
        self._taken[node] = self._taken.get(node, 0) + count
        return one


def task_name(comm: str, pid: int) -> str:
    """The name that the steps of a copy use for a process. It is unique within the 15 letters of TASK_COMM_LEN."""
    tail = f"-{pid}"
    return re.sub(r"[^A-Za-z0-9_.+:]", "_", comm)[: 15 - len(tail)] + tail


def _short(file: str) -> str:
    from hashlib import blake2b

    return blake2b(file.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


def _regions(vmas: Iterable[VmaPlacement]) -> list[_Region]:
    """Combines mappings that are alike. File pages belong to no process; written pages of private file mappings do."""
    found: dict[tuple[str, str, str], _Region] = {}
    for vma in vmas:
        shared = vma.kind == "shared"
        if vma.kind == "file":
            own = vma.counts.get("anon", 0)
            total = sum(vma.pages.values())
            by_node = {node: count * own // total * vma.page_size for node, count in vma.pages.items()} if total else {}
        else:
            by_node = dict(vma.bytes_by_node)
        if not any(by_node.values()):
            continue
        kind = vma.kind if vma.kind in ("heap", "stack") else "shmem" if shared else "anon"
        file = (vma.file or f"{vma.start:x}") if shared else ""
        key = (kind, _policy(vma.policy), file)
        region = found.setdefault(key, _Region(kind, key[1], file=file))
        for node, amount in by_node.items():
            region.by_node[node] = region.by_node.get(node, 0) + amount
    return list(found.values())


def _policy(text: str) -> str:
    """The policy as scenarios write it; `default` if they do not support it."""
    try:
        parse_policy(text, NodeSet(range(1024)))
    except Exception:
        return "default"
    return text
