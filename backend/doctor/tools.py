"""What numatui itself works with: pagemap, PAGEMAP_SCAN, kpageflags, the journal, what bench measured."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from backend.doctor.check import Check
from backend.journal import state_dir
from backend.kernel import Kernel
from backend.rates import load_rates, machine_of, rates_path
from backend.topology import Topology


def tool_checks(kernel: Kernel, topology: Topology | None) -> Iterator[Check]:
    """Never raises, and makes nothing."""
    yield _frames(kernel)
    yield _scan(kernel)
    yield journal_check(state_dir())
    if topology is not None and len(topology.memory_ids) > 1:
        if load_rates(rates_path(), machine_of(kernel, topology)):
            yield Check("bench", "ok", "this machine was measured: estimates are from that")
        else:
            yield Check(
                "bench",
                "note",
                "estimates of time are assumed: this machine was not measured",
                "run numatui bench",
            )


def _frames(kernel: Kernel) -> Check:
    try:
        kernel.read("/proc/kpageflags", 0, 8)
    except OSError:
        return Check(
            "frames",
            "note",
            "frames and their flags are hidden: large processes are estimated from samples",
            "run numatui as root, outside of a container",
        )
    return Check("frames", "ok", "pages are found by their frames: exact, and nobody is held up")


def _scan(kernel: Kernel) -> Check:
    try:
        kernel.pagemap_scan(os.getpid(), 0, kernel.page_size, 1)
    except OSError as exc:
        if exc.errno in (errno.ENOTTY, errno.ENOSYS, errno.EINVAL):
            return Check(
                "pagemap_scan",
                "note",
                "no PAGEMAP_SCAN (Linux 6.7 has it): terabytes of empty mappings take seconds to look at",
            )
    return Check("pagemap_scan", "ok", "empty parts of mappings are skipped")


def journal_check(folder: Path) -> Check:
    """Whether a journal can be written there, without writing any."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        facts = os.lstat(folder) if folder.exists() else None
    except OSError:
        facts = None
    if facts is not None and (not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid()):
        return Check(
            "journal", "problem", f"{folder} is not a folder of yours: nothing can be moved", "remove it"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        return Check(
            "journal",
            "problem",
            f"no journal can be written in {folder}: nothing can be moved",
            "set XDG_STATE_HOME to a folder of yours",
        )
    return Check("journal", "ok", f"in {folder}")
