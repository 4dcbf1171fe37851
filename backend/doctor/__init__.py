"""Checks of the kernel, its features and the caller's permissions: what each means and how to fix it. One file per
subject."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backend.doctor.check import Check, State
from backend.doctor.container import container_checks
from backend.doctor.kernel_features import feature_checks
from backend.doctor.memory import memory_checks
from backend.doctor.nodes import node_checks
from backend.doctor.permissions import permission_checks
from backend.doctor.tools import tool_checks
from backend.errors import NumatuiError
from backend.files.text import printable
from backend.kernel import Kernel
from backend.machine.kernel_info import release
from backend.machine.topology import Topology, read_topology

__all__ = ["Check", "State", "examine"]


def examine(kernel: Kernel) -> list[Check]:
    """All checks, the most important first. Never raises. Leaves out what this kernel cannot tell."""
    out = list(_guarded("kernel", _release(kernel)))
    topology = _topology(kernel)
    if isinstance(topology, Check):
        out.append(topology)
        topology = None
    else:
        out += _guarded("nodes", node_checks(kernel, topology))
    out += _guarded("permission", permission_checks(kernel))
    if kernel.traits.has_self:
        out += _guarded("container", container_checks(kernel))
    out += _guarded("memory", memory_checks(kernel, topology))
    out += _guarded("features", feature_checks(kernel, topology))
    if kernel.traits.has_self:
        out += _guarded("tools", tool_checks(kernel, topology))
    return out


def _release(kernel: Kernel) -> Iterator[Check]:
    yield Check("kernel", "ok", release(kernel) or "unknown")


def _topology(kernel: Kernel) -> Topology | Check:
    try:
        return read_topology(kernel)
    except NumatuiError as exc:
        return Check("nodes", "problem", exc.what, exc.fix)
    except (OSError, ValueError, RuntimeError) as exc:
        return Check("nodes", "problem", f"the nodes cannot be read ({printable(str(exc), 120)})")


def _guarded(subject: str, checks: Iterable[Check]) -> Iterator[Check]:
    """Yields these checks. If the kernel breaks the seam's promise, a note replaces the remaining ones. For example,
    links in a circle in a recording are a RuntimeError before Python 3.13."""
    try:
        yield from checks
    except (NumatuiError, OSError, ValueError, RuntimeError) as exc:
        yield Check(subject, "note", f"could not be checked ({printable(str(exc), 120)})")
