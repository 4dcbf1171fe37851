"""Checks of the kernel, its features and the caller's permissions: what each means and how to fix it."""

from __future__ import annotations

from collections.abc import Iterator

from backend.doctor.check import Check, State
from backend.doctor.container import container_checks
from backend.doctor.memory import memory_checks
from backend.doctor.nodes import node_checks
from backend.doctor.permissions import permission_checks
from backend.doctor.tools import tool_checks
from backend.errors import NumatuiError
from backend.facts import release
from backend.kernel import Kernel
from backend.topology import Topology, read_topology

__all__ = ["Check", "State", "examine"]


def examine(kernel: Kernel) -> list[Check]:
    """All checks, in the order in which they matter. Never raises. What this kernel cannot tell is left out."""
    return list(_checks(kernel))


def _checks(kernel: Kernel) -> Iterator[Check]:
    yield Check("kernel", "ok", release(kernel) or "unknown")
    topology: Topology | None = None
    try:
        topology = read_topology(kernel)
    except NumatuiError as exc:
        yield Check("nodes", "problem", exc.what, exc.fix)
    if topology is not None:
        yield from node_checks(kernel, topology)
    yield from permission_checks(kernel)
    if kernel.source == "live":
        yield from container_checks(kernel)
    yield from memory_checks(kernel, topology)
    if kernel.source == "live":
        yield from tool_checks(kernel, topology)
