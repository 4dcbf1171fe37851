"""Heat of a process, in the best way that this kernel and this caller have."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import replace

from backend.errors import Interrupted, NotSupported
from backend.heat import referenced
from backend.heat.heat import Heat, Way
from backend.heat.kdamond import unusable
from backend.kernel import Kernel
from backend.machine.topology import Topology
from backend.placement.locate import look
from backend.process.process import Process


def learn(
    kernel: Kernel,
    topology: Topology,
    process: Process,
    seconds: float,
    windows: int = 1,
    way: Way | None = None,
    cancel: threading.Event | None = None,
    hold: int = referenced.HOLD_NS,
) -> Heat:
    """Watches a process for `windows` times so many seconds. `way`: None for the best; what was in the way of a better
    one is in `Heat.why`. `hold`: as in `referenced.measure`. Raises Refused, NotFound, NotPermitted, NotSupported,
    ParseError, Interrupted."""
    why = ""
    if way != "referenced":
        from backend.heat import damon

        why = unusable(kernel)
        if not why or way == "damon":
            try:
                return damon.measure(kernel, process.identity, seconds, windows, cancel)
            except NotSupported as exc:
                if way == "damon":
                    raise
                why = exc.what
    placement = look(kernel, topology, process).placement
    found = referenced.measure(kernel, process.identity, placement, seconds, windows, cancel, hold)
    return replace(found, why=why)


def keep_watching(
    kernel: Kernel, topology: Topology, process: Process, seconds: float, cancel: threading.Event
) -> Generator[Heat]:
    """Window after window, in the best way, until `cancel` is set or it is closed. Raises as `learn`, but for
    Interrupted."""
    from backend.heat import damon

    why = unusable(kernel)
    try:
        if not why:
            try:
                yield from damon.watch(kernel, process.identity, seconds, cancel)
                why = "DAMON took too much of a CPU"
            except NotSupported as exc:
                why = exc.what
        while True:
            placement = look(kernel, topology, process).placement
            found = referenced.measure(kernel, process.identity, placement, seconds, 1, cancel)
            yield replace(found, why=why)
    except Interrupted:
        return
