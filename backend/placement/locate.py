"""Where the memory of one process lies, told without holding the process up.

Small processes by numa_maps: it holds the process's memory map for 10 to 150 ns a page, on a mapping at a time. Large
ones by pagemap, which holds it for 2 MiB at a time, where frames are shown (CAP_SYS_ADMIN); else from a sample.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from backend.errors import NotFound, NotPermitted
from backend.files.text import decode
from backend.kernel import Kernel
from backend.machine.topology import Topology
from backend.placement.placement import LARGE, Placement, VmaPlacement, parse_totals, read_placement
from backend.process.process import Identity, Process, process_error

if TYPE_CHECKING:
    from backend.placement.frame_nodes import FrameNodes
    from backend.placement.sampling import Sampled

Way = Literal["numa_maps", "pagemap", "sampled", ""]

NEVER = 1 << 62
BUDGET_NS = 400_000_000
"""The longest that one large process is looked at."""

_POLICY = re.compile(rb"^[0-9a-f]+ (prefer \(many\)\S*|weighted interleave\S*|\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Located:
    """`by_node`: bytes, ascending by node; None where it cannot be told. `error`: what each is within with 95 %
    confidence, empty where exact. `policy`: the one of its VMAs, or the first that is not the default, with `+` when
    there are more; `?` where it is not told. `hidden`: bytes that NUMA balancing hides, whose nodes were guessed."""

    by_node: dict[int, int] | None
    way: Way
    policy: str
    error: dict[int, int] = field(default_factory=dict[int, int])
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """The mappings of one process. `errors`: by start of a mapping, node → base pages that its number is within."""

    placement: Placement
    way: Way
    error: dict[int, int] = field(default_factory=dict[int, int])
    errors: dict[int, dict[int, int]] = field(default_factory=dict[int, dict[int, int]])
    hidden: int = 0


def large_from(kernel: Kernel) -> int:
    """From how many base pages on a process is large. Never in a demo or a recording: nobody waits there."""
    return LARGE if kernel.source == "live" else NEVER


def by_numa_maps(kernel: Kernel, pid: int) -> Located:
    """Raises NotFound."""
    try:
        raw = kernel.read(f"/proc/{pid}/numa_maps")
    except OSError as exc:
        error = process_error(kernel, pid, exc)
        if isinstance(error, NotPermitted):
            return Located(None, "", "?")
        raise error from None
    return Located(dict(sorted(parse_totals(raw, kernel.page_size).items())), "numa_maps", policy_of(raw))


class Locator:
    """Looks at large processes. What the kernel does not let this caller do is found out once."""

    def __init__(self, kernel: Kernel, topology: Topology) -> None:
        self.kernel, self.topology = kernel, topology
        self.frames_shown = True
        self._beyond: set[Identity] = set()
        self._frame_nodes: FrameNodes | None = None
        self._read_for: tuple[int, ...] = ()

    def renew(self, topology: Topology) -> None:
        """Memory may have come or gone: which frames are whose is read again when it is needed."""
        self.topology = topology
        self._read_for = ()

    def prepare(self) -> None:
        """What takes long and is no look at a process yet: libraries, which frames are whose."""
        import_module("backend.placement.window_sampling")

        if self.frames_shown:
            self._nodes_of_frames()

    def locate(self, process: Process, seed: int, budget: int = BUDGET_NS) -> Located:
        """The process's memory by node within `budget` nanoseconds of the kernel's clock. The policy is not told.
        Raises NotFound."""
        go_on = self._until(budget if process.identity not in self._beyond else -1)
        by_node = self._walk(process.pid, go_on)
        if by_node is not None:
            return Located(by_node, "pagemap", "?")
        return self._sample(process, seed, go_on, budget)

    def show(self, process: Process, seed: int = 0) -> Shown:
        """The process by mapping, however long it takes. Raises NotFound, NotPermitted."""
        from backend.placement.placement_walk import walk_placement

        frame_nodes = self._nodes_of_frames()
        if frame_nodes is not None and self.frames_shown:
            try:
                placement = walk_placement(self.kernel, process.pid, frame_nodes)
            except NotFound:
                return Shown(read_placement(self.kernel, process.pid, with_maps=True), "numa_maps")
            if placement is not None:
                return Shown(placement, "pagemap")
            self.frames_shown = False
        try:
            return self._show_sampled(process, seed)
        except (NotFound, OSError):
            return Shown(read_placement(self.kernel, process.pid, with_maps=True), "numa_maps")

    def _nodes_of_frames(self) -> FrameNodes | None:
        """Of the nodes there are now. None where the kernel does not tell."""
        from backend.placement.frame_nodes import read_frame_nodes

        ids = tuple(self.topology.ids)
        if self._read_for != ids:
            self._frame_nodes, self._read_for = read_frame_nodes(self.kernel, [*ids]), ids
        return self._frame_nodes

    def _until(self, budget: int) -> Callable[[], bool]:
        end = self.kernel.clock() + budget
        return lambda: self.kernel.clock() <= end

    def _walk(self, pid: int, go_on: Callable[[], bool]) -> dict[int, int] | None:
        """None where frames are hidden or there was no time."""
        if not self.frames_shown or (frame_nodes := self._nodes_of_frames()) is None:
            return None
        from backend.placement.placement_walk import TooLarge, walk_totals

        try:
            totals = walk_totals(self.kernel, pid, frame_nodes, go_on)
        except (NotFound, NotPermitted, TooLarge):
            return None
        if totals is None:
            self.frames_shown = False
        return totals

    def _sample(self, process: Process, seed: int, go_on: Callable[[], bool], budget: int) -> Located:
        """Of all mappings; of stretches of them where there is no time for that; by numa_maps where move_pages or
        pagemap are not to be had."""
        import numpy as np

        from backend.placement.placement_walk import TooLarge
        from backend.placement.sampling import estimate, sample
        from backend.placement.window_sampling import sample_windows

        kernel, size = self.kernel, self.kernel.page_size
        nodes, rng = [*self.topology.ids], np.random.default_rng([seed, process.pid])
        resident = process.rss // size
        try:
            try:
                parts = sample(kernel, process.pid, nodes, rng, resident, go_on)
                found = estimate([one.stratum for one in parts], nodes)
            except TooLarge:
                self._beyond.add(process.identity)
                frame_nodes = self._nodes_of_frames() if self.frames_shown else None
                found = sample_windows(kernel, process.pid, nodes, rng, resident, frame_nodes, self._until(budget))
        except TooLarge:
            return Located(None, "", "?")
        except (NotFound, OSError):
            return by_numa_maps(kernel, process.pid)
        except NotPermitted:
            return Located(None, "", "?")
        return Located(
            None if found.pages is None else {node: pages * size for node, pages in found.pages.items()},
            "sampled",
            "?",
            {node: pages * size for node, pages in found.error.items()},
            found.hidden * size,
        )

    def _show_sampled(self, process: Process, seed: int) -> Shown:
        import numpy as np

        from backend.placement.sampling import SAMPLES, estimate, sample

        size, nodes = self.kernel.page_size, [*self.topology.ids]
        rng = np.random.default_rng([seed, process.pid])
        parts = sample(
            self.kernel, process.pid, nodes, rng, process.rss // size, lambda: True, SAMPLES * 4
        )  # fmt: skip
        whole = estimate([one.stratum for one in parts], nodes)
        each = [(one, estimate([one.stratum], nodes)) for one in parts]
        return Shown(
            Placement(tuple(_vma(one, found.pages or {}, size) for one, found in each)),
            "sampled",
            {node: pages * size for node, pages in whole.error.items()},
            {one.mapping.start: found.error for one, found in each},
            whole.hidden * size,
        )


def _vma(one: Sampled, pages: dict[int, int], page_size: int) -> VmaPlacement:
    counts = {"swapped": one.swapped, "sampled": sum(one.stratum.asked)}
    return one.mapping.vma("?", pages, counts, page_size)


def policy_of(raw: bytes) -> str:
    """The policy of a whole numa_maps, see `Located`."""
    lines = raw.count(b"\n")
    if lines and raw.count(b" default ") + raw.count(b" default\n") == lines:
        return "default"
    policies = set(_POLICY.findall(raw))
    others = sorted(policies - {b"default"})
    if not others:
        return "default" if policies else ""
    return decode(others[0]) + ("+" if len(others) > 1 else "")
