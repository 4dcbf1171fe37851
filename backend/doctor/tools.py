"""What numatui depends on: pagemap, PAGEMAP_SCAN, kpageflags, the journal, the measurements of bench
(Documentation/admin-guide/mm/pagemap.rst)."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from backend.doctor.check import Check
from backend.errors import NotFound, NumatuiError, describe_oserror
from backend.files.free_space import LITTLE, free_space
from backend.files.shell_word import path_word
from backend.kernel import Kernel
from backend.machine.topology import Topology
from backend.plan.rates import machine_of, own_rates

# Bits of a pagemap entry. The PFN is 0 without CAP_SYS_ADMIN (pagemap.rst).
_PRESENT = 1 << 63
_FRAME = (1 << 55) - 1


def tool_checks(kernel: Kernel, topology: Topology | None) -> Iterator[Check]:
    """Creates no files. Raises only if the kernel breaks the seam's promises."""
    if kernel.traits.is_host:
        yield _frames(kernel)
    yield _flags(kernel)
    if kernel.traits.is_host:
        yield _scan(kernel)
    try:
        folder = kernel.files.jobs_dir()
        yield journal_check(folder) if kernel.traits.is_host else _far_journal(kernel, folder)
    except NotFound as exc:
        yield Check("journal", "problem", f"{exc.what}: nothing can be moved", exc.fix)
    if topology is not None and len(topology.memory_ids) > 1:
        if own_rates(machine_of(kernel, topology), kernel.files):
            yield Check("bench", "ok", "estimates use measurements of this machine")
        else:
            yield Check(
                "bench",
                "note",
                "estimates of time are assumed: this machine was not measured",
                "run numatui bench",
            )


def tells_frame(entry: bytes) -> bool:
    """Whether an entry of pagemap (8 bytes) is of a present page and contains its PFN. Never raises."""
    value = int.from_bytes(entry, "little") if len(entry) == 8 else 0
    return bool(value & _PRESENT and value & _FRAME)


def _frames(kernel: Kernel) -> Check:
    """Reads the entry of a page of this process that was just written, so it is present."""
    own = ctypes.create_string_buffer(b"written")
    page = ctypes.addressof(own) // kernel.page_size
    try:
        told = tells_frame(kernel.read("/proc/self/pagemap", page * 8, 8))
    except OSError as exc:
        return Check(
            "frames",
            "note",
            f"pagemap cannot be read ({describe_oserror(exc)}): large processes are estimated from samples",
            "it needs CONFIG_PROC_PAGE_MONITOR",
        )
    if not told:
        return Check(
            "frames",
            "note",
            "pagemap hides frame numbers: large processes are estimated from samples",
            "run numatui as root (CAP_SYS_ADMIN), outside of a container",
        )
    return Check("frames", "ok", "pages are found by frame number: exact, and no process is held up")


def _flags(kernel: Kernel) -> Check:
    try:
        there = len(kernel.read("/proc/kpageflags", 0, 8)) == 8
    except OSError:
        there = False
    if not there:
        return Check(
            "kpageflags",
            "note",
            "the flags of frames are hidden: huge pages and the zero page are not recognized",
            "run numatui as root, outside of a container",
        )
    return Check("kpageflags", "ok", "huge pages and the zero page are recognized")


def _scan(kernel: Kernel) -> Check:
    try:
        kernel.pagemap_scan(os.getpid(), 0, kernel.page_size, 1)
    except OSError as exc:
        # ENOTTY: the ioctl is unknown (before 6.7).
        if exc.errno in (errno.ENOTTY, errno.ENOSYS, errno.EINVAL):
            return Check(
                "pagemap_scan",
                "note",
                "no PAGEMAP_SCAN (Linux 6.7 has it): terabytes of empty mappings take seconds to read",
            )
        return Check(
            "pagemap_scan",
            "note",
            f"PAGEMAP_SCAN is refused ({describe_oserror(exc)}): terabytes of empty mappings take seconds to read",
            "run numatui outside of a container",
        )
    return Check("pagemap_scan", "ok", "empty parts of mappings are skipped")


def _far_journal(kernel: Kernel, folder: Path) -> Check:
    """What can be told of it from here."""
    try:
        room = kernel.files.free_space(folder)
    except (OSError, NumatuiError) as exc:
        return Check("journal", "problem", f"{folder} cannot be accessed ({exc}): nothing can be moved")
    if room < LITTLE:
        return Check("journal", "problem", f"the disk of {folder} is full there: nothing can be moved", "make room")
    return Check("journal", "ok", f"in {folder} there")


def journal_check(folder: Path) -> Check:
    """Whether a journal can be written in `folder`, and whether the folder is private. Writes nothing. Never raises."""
    elsewhere = "set XDG_STATE_HOME to a folder of yours"
    try:
        facts = _facts(folder)
        place = folder
        while _facts(place) is None and place != place.parent:
            place = place.parent
        room = free_space(folder)
    except (OSError, ValueError, NumatuiError) as exc:
        why = describe_oserror(exc) if isinstance(exc, OSError) else str(exc)
        return Check("journal", "problem", f"{folder} cannot be accessed ({why}): nothing can be moved", elsewhere)
    if facts is not None and (not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid()):
        return Check("journal", "problem", f"{folder} is not a folder of yours: nothing can be moved", "remove it")
    if not os.access(place, os.W_OK | os.X_OK):
        return Check("journal", "problem", f"no journal can be written in {folder}: nothing can be moved", elsewhere)
    if room < LITTLE:
        return Check(
            "journal",
            "problem",
            f"the disk of {folder} is full: nothing is moved when the journal cannot grow",
            f"make room, or {elsewhere}",
        )
    if facts is not None and facts.st_mode & 0o077:
        return Check(
            "journal",
            "note",
            f"other users can read {folder}: the next job makes it private",
            f"chmod 700 {path_word(str(folder))}",
        )
    return Check("journal", "ok", f"in {folder}")


def _facts(path: Path) -> os.stat_result | None:
    """None if the path does not exist, not even as a link. Raises OSError; ValueError for an invalid name."""
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None
