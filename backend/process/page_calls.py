"""The two calls that move pages of another process, with arrays and node sets, as the system calls answer
(move_pages(2), migrate_pages(2))."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from backend.errors import NumatuiError, describe_oserror
from backend.kernel import Kernel
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from backend.process.process import process_error

Statuses = NDArray[np.int32]

UNTOUCHED = -(1 << 30)
"""The status of a page that the kernel did not come to."""


def call_move_pages(
    kernel: Kernel, pid: int, addresses: NDArray[np.uint64], target: int | None, flags: int
) -> tuple[Statuses, OSError | None]:
    """One move_pages(2) of all pages to a node, None to ask where they are: the statuses, UNTOUCHED where the kernel
    wrote none, and why it gave up, if it did. Shape (n,) to (n,)."""
    pages = array("Q", addresses.tobytes())
    nodes = None if target is None else array("i", [target]) * len(pages)
    status = array("i", [UNTOUCHED]) * len(pages)
    problem: OSError | None = None
    try:
        kernel.move_pages(pid, pages, nodes, status, flags)
    except OSError as exc:
        problem = exc
    return np.array(status, dtype=np.int32), problem


def query(
    kernel: Kernel, pid: int, addresses: NDArray[np.uint64], check: Callable[[], None] = lambda: None
) -> Statuses:
    """Where pages are, by move_pages(2): nodes or negative errnos. `check`: asked before a refusal is told, since it
    may know better why. Raises NotFound, NotPermitted."""
    status, problem = call_move_pages(kernel, pid, addresses, None, 0)
    if problem is not None:
        if problem.errno == errno.EINVAL:
            check()
        raise process_error(kernel, pid, problem)
    return status


def call_migrate_pages(kernel: Kernel, pid: int, sources: NodeSet, targets: NodeSet) -> int:
    """One migrate_pages(2): the number of pages not moved. Raises OSError."""
    bits = max(len(sources.mask()), len(targets.mask())) * 8
    return kernel.migrate_pages(pid, sources.maxnode(bits), sources.mask(bits), targets.mask(bits))


def refusal(kernel: Kernel, call: str, exc: OSError, targets: NodeSet) -> str:
    """Why a whole call was refused. A target whose memory has been taken offline since the plan is ENODEV for
    move_pages, EINVAL for migrate_pages, as much else is."""
    if exc.errno in (errno.ENODEV, errno.EINVAL):
        try:
            gone = targets - read_topology(kernel).memory_ids
        except NumatuiError:
            gone = NodeSet()
        if gone:
            return f"{call}: node {gone} has no memory any more ({errno.errorcode[exc.errno]})"
    return f"{call}: {describe_oserror(exc)}"
