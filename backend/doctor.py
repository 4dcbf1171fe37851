"""Checks of the kernel, its features and the caller's permissions: what each means and how to fix it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from backend.errors import NumatuiError
from backend.facts import balancing, read_fact, release
from backend.kernel import Call, Kernel
from backend.process import pids
from backend.topology import Topology, read_topology

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `text` says what it means, `fix` what to do about it (empty when ok)."""

    name: str
    state: State
    text: str
    fix: str = ""


def examine(kernel: Kernel) -> list[Check]:
    """All checks, in the order in which they matter. Never raises."""
    return list(_checks(kernel))


def _checks(kernel: Kernel) -> Iterator[Check]:
    yield Check("kernel", "ok", release(kernel) or "unknown")
    topology: Topology | None = None
    try:
        topology = read_topology(kernel)
    except NumatuiError as exc:
        yield Check("nodes", "problem", exc.what, exc.fix)
    if topology is not None:
        yield from _nodes(topology)
    uid, privileged = kernel.credentials()
    if kernel.source == "replay":
        yield Check("permission", "note", "a recording can be looked at but not changed")
    elif privileged and _forbidden(kernel):
        yield Check(
            "permission",
            "note",
            "you are root, but not every process may be looked at: a container or security module forbids it",
            "run numatui outside the container",
        )
    elif privileged:
        yield Check("permission", "ok", "you may look at and move every process")
    else:
        yield Check(
            "permission",
            "note",
            f"uid {uid} may look at and move its own processes only",
            "run numatui as root for the others",
        )
    can = kernel.capabilities()
    calls: tuple[Call, ...] = ("move_pages", "migrate_pages", "move_all", "pidfd")
    for call in calls:
        capability = can[call]
        serious: State = (
            "problem" if call in ("move_pages", "migrate_pages") and kernel.source == "live" else "note"
        )
        yield Check(call, "ok" if capability.available else serious, capability.why or "there")
    yield _processes(kernel, privileged)
    if balancing(kernel):
        yield Check(
            "balancing",
            "note",
            "NUMA balancing is on: it hides pages from move_pages and may move pages back",
            "sysctl kernel.numa_balancing=0 while you place by hand",
        )
    else:
        yield Check("balancing", "ok", "off: pages stay where they are put")
    reclaim = read_fact(kernel, "/proc/sys/vm/zone_reclaim_mode")
    if reclaim not in ("", "0"):
        yield Check(
            "zone_reclaim",
            "note",
            f"zone_reclaim_mode is {reclaim}: a full node drops its cache before others are used",
            "sysctl vm.zone_reclaim_mode=0 unless that is meant",
        )


def _forbidden(kernel: Kernel) -> bool:
    try:
        kernel.read("/proc/1/numa_maps")
    except OSError as exc:
        return exc.errno in (errno.EACCES, errno.EPERM)
    return False


def _nodes(topology: Topology) -> Iterator[Check]:
    count = len(topology.memory_ids)
    if count > 1:
        yield Check("nodes", "ok", f"{count} nodes with memory: {topology.memory_ids}")
    else:
        yield Check(
            "nodes",
            "note",
            "one node with memory: there is nowhere to move pages to",
            "numatui --demo shows an emulated machine with more",
        )
    for warning in topology.warnings:
        yield Check("firmware", "note", warning)
    cpuless = [node.id for node in topology.nodes if not node.cpus]
    if cpuless:
        yield Check(
            "cpuless", "note", f"nodes without CPUs: {', '.join(map(str, cpuless))} (far or slow memory)"
        )


def _processes(kernel: Kernel, privileged: bool) -> Check:
    try:
        seen = pids(kernel)
    except OSError as exc:
        return Check(
            "processes",
            "problem",
            f"/proc cannot be listed ({exc.strerror})",
            "mount it: mount -t proc proc /proc",
        )
    if kernel.source == "live" and not privileged and 1 not in seen:
        return Check(
            "processes",
            "note",
            f"{len(seen)} are shown: /proc hides those of other users (hidepid)",
            "run numatui as root, or mount /proc without hidepid",
        )
    return Check("processes", "ok", f"{len(seen)} can be seen")
