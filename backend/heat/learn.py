"""Heat of a process, in the best way that this kernel and this caller have."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import replace

from backend.errors import Interrupted, NotSupported
from backend.heat import referenced
from backend.heat.choosing import HeatWish
from backend.heat.heat import Heat
from backend.heat.kdamond import unusable
from backend.kernel import Kernel
from backend.machine.topology import Topology
from backend.placement.locate import look
from backend.process.process import Process


def learn(
    kernel: Kernel, topology: Topology, process: Process, wish: HeatWish, cancel: threading.Event | None = None
) -> Heat:
    """Watches a process for `wish.windows` times `wish.seconds`. What was in the way of a better way is in `Heat.why`.
    Raises Refused, NotFound, NotPermitted, NotSupported, ParseError, Interrupted."""
    why = ""
    if wish.way != "referenced":
        from backend.heat import damon

        why = unusable(kernel)
        if not why or wish.way == "damon":
            try:
                return damon.measure(kernel, process.identity, wish.seconds, wish.windows, cancel)
            except NotSupported as exc:
                if wish.way == "damon":
                    raise
                why = exc.what
    placement = look(kernel, topology, process).placement
    found = referenced.measure(
        kernel, process.identity, placement, wish.seconds, wish.windows, cancel, wish.hold
    )  # fmt: skip
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
