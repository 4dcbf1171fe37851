"""Where the memory of one process lies, read without stalling the process.

Small processes are read by numa_maps, which holds mmap_lock for a whole VMA, 10 to 150 ns a page. Large processes are
read by pagemap, which holds it for 2 MiB at a time, if the kernel shows frames (CAP_SYS_ADMIN); else by a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from backend.errors import NotFound, NotPermitted
from backend.files.text import decode
from backend.kernel import Kernel
from backend.machine.topology import Topology
from backend.placement.numa_maps import POLICY, parse_totals, read_placement
from backend.placement.placement import LARGE, Placement, VmaPlacement
from backend.process.process import Identity, Process, process_error

if TYPE_CHECKING:
    from backend.placement.frame_nodes import FrameNodes
    from backend.placement.sampling import Sampled

Way = Literal["numa_maps", "pagemap", "sampled", ""]

NEVER = 1 << 62
BUDGET_NS = 400_000_000
"""Longest time for one large process, in nanoseconds of the kernel's clock."""


@dataclass(frozen=True, slots=True)
class Located:
    """`by_node`: bytes, ascending by node; None if unknown. `error`: node → ± bytes with 95 % confidence; empty if
    exact. `policy`: the policy of all VMAs, or the first that is not the default, with `+` if there are more; `?` if
    unknown. `hidden`: bytes that NUMA balancing hides; their nodes are an estimate."""

    by_node: dict[int, int] | None
    way: Way
    policy: str
    error: dict[int, int] = field(default_factory=dict[int, int])
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """The mappings of one process. `error`: node → ± bytes of the whole. `errors`: start of a mapping → node → ± base
    pages. `hidden`: as in `Located`."""

    placement: Placement
    way: Way
    error: dict[int, int] = field(default_factory=dict[int, int])
    errors: dict[int, dict[int, int]] = field(default_factory=dict[int, dict[int, int]])
    hidden: int = 0


def large_from(kernel: Kernel) -> int:
    """The number of base pages from which a process is large. NEVER if a read stalls no process (demo, recording)."""
    return LARGE if kernel.traits.reading_stalls else NEVER


def look(kernel: Kernel, topology: Topology, process: Process, exact: bool = False) -> Shown:
    """Placement by VMA. A large process is read without holding it up, unless `exact`. Raises NotFound,
    NotPermitted, ParseError."""
    if exact or process.rss // kernel.page_size <= large_from(kernel):
        return Shown(read_placement(kernel, process.pid, with_maps=True), "numa_maps")
    return Locator(kernel, topology).show(process)


def by_numa_maps(kernel: Kernel, pid: int) -> Located:
    """The process's memory by numa_maps; unknown without permission. Raises NotFound."""
    try:
        raw = kernel.read(f"/proc/{pid}/numa_maps")
    except OSError as exc:
        error = process_error(kernel, pid, exc)
        if isinstance(error, NotPermitted):
            return Located(None, "", "?")
        raise error from None
    return Located(dict(sorted(parse_totals(raw, kernel.page_size).items())), "numa_maps", policy_of(raw))


class Locator:
    """Locates the memory of large processes. A refusal to show frames is remembered."""

    def __init__(self, kernel: Kernel, topology: Topology) -> None:
        self.kernel, self.topology = kernel, topology
        self.frames_shown = True
        self._beyond: set[Identity] = set()
        self._frame_nodes: FrameNodes | None = None
        self._read_for: tuple[int, ...] = ()

    def renew(self, topology: Topology) -> None:
        """Take a new topology. Memory may have gone online or offline: the nodes of frames are read again on demand."""
        self.topology = topology
        self._read_for = ()

    def prepare(self) -> None:
        """Do the slow work that needs no process: import libraries and read the nodes of frames."""
        import_module("backend.placement.window_sampling")

        if self.frames_shown:
            self._nodes_of_frames()

    def locate(self, process: Process, seed: int, budget: int = BUDGET_NS) -> Located:
        """The process's memory by node. Takes about `budget` nanoseconds of the kernel's clock. The policy stays
        unknown, except by numa_maps. Raises NotFound."""
        go_on = self._until(budget if process.identity not in self._beyond else -1)
        by_node = self._walk(process.pid, go_on)
        if by_node is not None:
            return Located(by_node, "pagemap", "?")
        return self._sample(process, seed, go_on, budget)

    def show(self, process: Process, seed: int = 0) -> Shown:
        """The process's mappings, without a time limit. Raises NotFound, NotPermitted."""
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
        """The nodes of frames for the current topology. None if the kernel does not show them."""
        from backend.placement.frame_nodes import read_frame_nodes

        ids = tuple(self.topology.ids)
        if self._read_for != ids:
            self._frame_nodes, self._read_for = read_frame_nodes(self.kernel, [*ids]), ids
        return self._frame_nodes

    def _until(self, budget: int) -> Callable[[], bool]:
        end = self.kernel.clock() + budget
        return lambda: self.kernel.clock() <= end

    def _walk(self, pid: int, go_on: Callable[[], bool]) -> dict[int, int] | None:
        """Node → bytes by pagemap. None if frames are hidden or the time ran out."""
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
        """Estimate from a sample of all mappings; from windows if that takes too long; by numa_maps if move_pages or
        pagemap is not available."""
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
    """The policy of a whole numa_maps, as in `Located.policy`."""
    lines = raw.count(b"\n")
    if lines and raw.count(b" default ") + raw.count(b" default\n") == lines:
        return "default"
    policies = set(POLICY.findall(raw))
    others = sorted(policies - {b"default"})
    if not others:
        return "default" if policies else ""
    return decode(others[0]) + ("+" if len(others) > 1 else "")
