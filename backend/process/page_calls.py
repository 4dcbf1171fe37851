"""move_pages(2) and migrate_pages(2) for another process, with numpy arrays and node sets as arguments."""

from __future__ import annotations

import errno
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
"""Initial status of a page; it stays if the call fails before this page. No errno is that large."""


def call_move_pages(
    kernel: Kernel, pid: int, addresses: NDArray[np.uint64], target: int | None, flags: int
) -> tuple[Statuses, OSError | None]:
    """One move_pages(2) of all pages to node `target`; None: query their nodes. Returns the statuses, UNTOUCHED where
    the kernel wrote none, and the error of the call or None. Shape (n,) to (n,)."""
    pages = addresses if addresses.flags.writeable and addresses.flags.c_contiguous else addresses.copy()
    nodes = None if target is None else np.full(len(pages), target, np.int32)
    status = np.full(len(pages), UNTOUCHED, np.int32)
    problem: OSError | None = None
    try:
        kernel.move_pages(pid, pages.data, None if nodes is None else nodes.data, status.data, flags)
    except OSError as exc:
        problem = exc
    return status, problem


def query(
    kernel: Kernel, pid: int, addresses: NDArray[np.uint64], check: Callable[[], None] = lambda: None
) -> Statuses:
    """The nodes of pages by move_pages(2), or negative errnos. `check` is called on EINVAL: it may raise an error that
    names the cause better. Raises NotFound, NotPermitted."""
    status, problem = call_move_pages(kernel, pid, addresses, None, 0)
    if problem is not None:
        if problem.errno == errno.EINVAL:
            check()
        raise process_error(kernel, pid, problem)
    return status


def call_migrate_pages(kernel: Kernel, pid: int, sources: NodeSet, targets: NodeSet) -> int:
    """One migrate_pages(2). Returns the number of pages that were not moved. Raises OSError."""
    bits = max(len(sources.mask()), len(targets.mask())) * 8
    return kernel.migrate_pages(pid, sources.maxnode(bits), sources.mask(bits), targets.mask(bits))


def refusal(kernel: Kernel, call: str, exc: OSError, targets: NodeSet) -> str:
    """Why a whole call failed. If the target's memory went offline since the plan, move_pages fails with ENODEV and
    migrate_pages with EINVAL. EINVAL has many other causes, so the topology is read again."""
    if exc.errno in (errno.ENODEV, errno.EINVAL):
        try:
            gone = targets - read_topology(kernel).memory_ids
        except NumatuiError:
            gone = NodeSet()
        if gone:
            return f"{call}: node {gone} has no memory any more ({errno.errorcode[exc.errno]})"
    return f"{call}: {describe_oserror(exc)}"
