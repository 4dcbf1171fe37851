"""Heat from accessed bits: `clear_refs` takes them away, and after a while smaps says which came back. Works on every
kernel and for the owner of a process; of each mapping only how much of it, not where (kernel-facts: exact to the page
where it was measured).

It makes the kernel believe that nothing was used, so reclaim judges worse for a while; pages that are accessed once by
accident count like those that are accessed all the time, unless the window is short."""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping

from backend.errors import NotPermitted, NotSupported, Refused
from backend.heat.heat import HOLD_NS, Heat, HeatRange
from backend.heat.smaps import Smap, parse_smaps
from backend.heat.waiting import wait
from backend.kernel import Kernel
from backend.placement.placement import Placement
from backend.process.process import Identity, process_error, still_the_same

PAGE_NS = 100
"""Nanoseconds that clearing or reading takes for a base page, with the lock of the memory map held: measured 25 ms a
GiB of small pages on Linux 6.18; huge pages take less."""


def measure(
    kernel: Kernel,
    identity: Identity,
    placement: Placement,
    seconds: float,
    windows: int = 1,
    cancel: threading.Event | None = None,
    hold: int = HOLD_NS,
) -> Heat:
    """Watches a process for `windows` times so many seconds. `placement`: where its pages are. `hold`: nanoseconds for
    which its memory map may be locked at a time. Raises Refused if that would not do; NotFound, NotPermitted,
    NotSupported, ParseError, Interrupted."""
    check_hold(kernel, sum(placement.bytes_by_node.values()), hold)
    found: list[dict[tuple[int, int], Smap]] = []
    cost = 0
    for _ in range(windows):
        began = kernel.clock()
        _clear(kernel, identity)
        cost += kernel.clock() - began
        wait(kernel, int(seconds * 1e9), cancel, "nothing was changed but accessed bits")
        began = kernel.clock()
        found.append({(one.start, one.end): one for one in _read(kernel, identity)})
        cost += kernel.clock() - began
    by_node = {vma.start: vma.bytes_by_node for vma in placement.vmas}
    return Heat(identity.pid, "referenced", seconds, windows, cost / 1e9, tuple(_ranges(found, by_node)))


def check_hold(kernel: Kernel, resident: int, hold: int) -> None:
    """Raises Refused if clearing or reading would lock the memory map for longer, about: the process then waits at its
    page faults."""
    needed = resident // kernel.page_size * PAGE_NS
    if kernel.traits.reading_stalls and needed > hold:
        raise Refused(
            f"this would lock the memory map of the process for about {needed / 1e9:.1f} s at a time",
            f"allow it with --hold {needed // 10**9 + 1}s, where it may wait for that long",
        )


def _ranges(found: list[dict[tuple[int, int], Smap]], by_node: Mapping[int, dict[int, int]]) -> list[HeatRange]:
    """Of the mappings that were there all the time, and are not empty."""
    out: list[HeatRange] = []
    for key, last in found[-1].items():
        each = [one[key].referenced for one in found if key in one]
        if last.rss and len(each) == len(found):
            hot = min(last.rss, sum(each) // len(each))
            out.append(
                HeatRange(
                    last.start, last.end, last.name, last.rss, hot, min(each), max(each),
                    by_node.get(last.start, {}), mapping=last.start,
                )
            )  # fmt: skip
    return out


def _clear(kernel: Kernel, identity: Identity) -> None:
    still_the_same(kernel, identity)
    path = f"/proc/{identity.pid}/clear_refs"
    try:
        kernel.write(path, b"1")
    except OSError as exc:
        if exc.errno in (errno.EACCES, errno.EPERM):
            raise NotPermitted(
                f"you may not clear the accessed bits of process {identity.pid}", "run numatui as root or as its owner"
            ) from None
        if exc.errno in (errno.ENOENT, errno.EINVAL, errno.EROFS, errno.ENOSYS):
            still_the_same(kernel, identity)
            raise NotSupported(
                "which pages are used cannot be learnt here: the kernel has no clear_refs",
                "it needs CONFIG_PROC_PAGE_MONITOR; a recording cannot tell",
            ) from None
        raise process_error(kernel, identity.pid, exc) from None


def _read(kernel: Kernel, identity: Identity) -> list[Smap]:
    try:
        raw = kernel.read(f"/proc/{identity.pid}/smaps")
    except OSError as exc:
        raise process_error(kernel, identity.pid, exc) from None
    still_the_same(kernel, identity)
    return parse_smaps(raw)
