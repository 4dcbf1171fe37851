"""What processes use of their memory, for advice: those with the most far memory are watched, one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from backend.advice.advice import Limits, Surroundings, Used
from backend.advice.choosing import far_bytes
from backend.advice.observing import Observation
from backend.errors import NotFound, NotPermitted, NotSupported, ParseError, Refused
from backend.heat.choosing import HeatWish, choose, whole_pages
from backend.heat.heat import Way
from backend.heat.learn import learn
from backend.kernel import Kernel
from backend.machine.kernel_info import huge_page_size
from backend.placement.by_stretch import clip
from backend.placement.frame_nodes import FrameNodes, read_frame_nodes
from backend.placement.placement import Placement
from backend.placement.reader import read_gently
from backend.plan.plan import Stretches
from backend.process.process import Identity, Process

Frames = Callable[[], FrameNodes | None]
MOST = 16
"""Processes that are watched for one advice: each takes seconds."""
_FRESH = 60_000_000_000
"""Nanoseconds after which a process is watched again."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """`stretches`: what is used; empty with `why`, if that could not be learnt."""

    at: int
    stretches: Stretches = ()
    way: Way = "referenced"
    steady: float = 1.0
    why: str = ""


class HeatReader:
    """What was learnt is kept for a while, for advice that is given again and again; where it lies is read each
    time."""

    def __init__(self, kernel: Kernel, wish: HeatWish, cancel: threading.Event | None = None) -> None:
        self.kernel, self.wish, self.cancel = kernel, wish, cancel
        self._kept: dict[Identity, _Kept] = {}

    def read(
        self,
        observations: Mapping[Identity, Observation],
        placements: Mapping[Identity, Placement],
        world: Surroundings,
        limits: Limits,
    ) -> dict[Identity, Used | str]:
        """Of those of these processes that have enough memory far from where they run: what they use, or why that is
        not known. Raises Interrupted; NotSupported if the one way that was wished for cannot be had."""
        far = {
            identity: far_bytes(placement.bytes_by_node, observations[identity].places, world)
            for identity, placement in placements.items()
        }
        wanted = sorted((one for one in far if far[one] >= limits.least), key=lambda one: (-far[one], one.pid))
        now = self.kernel.clock()
        self._kept = {one: kept for one, kept in self._kept.items() if one in placements and now - kept.at < _FRESH}
        new = [one for one in wanted if one not in self._kept][:MOST]
        frames = cache(lambda: read_frame_nodes(self.kernel))
        out: dict[Identity, Used | str] = {}
        for identity in wanted:
            process = observations[identity].row.process
            if identity in new:
                self._kept[identity] = self._learn(process, world, frames)
            out[identity] = self._used(process, self._kept.get(identity), frames)
        return out

    def _learn(self, process: Process, world: Surroundings, frames: Frames) -> _Kept:
        kernel, wish, now = self.kernel, self.wish, self.kernel.clock()
        try:
            heat = learn(kernel, world.topology, process, wish, self.cancel)
            mappings = [(vma.start, vma.end) for vma in self._placement(process, frames).vmas]
        except (NotFound, NotPermitted, ParseError, Refused) as exc:
            return _Kept(now, why=exc.what)
        except NotSupported as exc:
            if wish.way is not None:
                raise
            return _Kept(now, why=exc.what)
        used = choose([heat], wish, world.topology.memory_ids)
        chosen = whole_pages(used, {process.pid: mappings}, huge_page_size(kernel), "hot")
        return _Kept(now, tuple((one.start, one.end) for one in chosen), heat.way, heat.steady)

    def _used(self, process: Process, kept: _Kept | None, frames: Frames) -> Used | str:
        if kept is None:
            return f"{MOST} processes are watched at a time, and others have more memory far away"
        if kept.why:
            return kept.why
        kernel = self.kernel
        try:
            placement = self._placement(process, frames)
            hot = clip(kernel, process.pid, frames(), placement, kept.stretches)
        except (NotFound, NotPermitted, ParseError) as exc:
            return exc.what
        return Used(hot, kept.stretches, sum(hot.bytes_by_node.values()), kept.way, kept.steady)

    def _placement(self, process: Process, frames: Frames) -> Placement:
        return read_gently(self.kernel, process.pid, process.rss, frames, with_maps=True)
