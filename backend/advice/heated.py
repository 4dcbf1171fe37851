"""What processes use of their memory, for advice: those with the most far memory are watched, one after the other."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from backend.advice.advice import Limits, Surroundings, Used
from backend.advice.choosing import far_bytes
from backend.advice.observing import Observation
from backend.errors import NotFound, NotPermitted, NotSupported, ParseError, Refused
from backend.heat.choosing import HeatWish, choose, whole_pages
from backend.heat.learn import learn
from backend.kernel import Kernel
from backend.machine.kernel_info import huge_page_size
from backend.placement.by_stretch import clip
from backend.placement.frame_nodes import read_frame_nodes
from backend.placement.placement import Placement
from backend.placement.reader import read_gently
from backend.process.process import Identity

MOST = 16
"""Processes that are watched for one advice: each takes seconds."""
_FRESH = 60_000_000_000
"""Nanoseconds after which a process is watched again."""


@dataclass(frozen=True, slots=True)
class _Kept:
    used: Used
    at: int


class HeatReader:
    """What was learnt is kept for a while, for advice that is given again and again."""

    def __init__(self, kernel: Kernel, wish: HeatWish, cancel: threading.Event | None = None) -> None:
        self.kernel, self.wish, self.cancel = kernel, wish, cancel
        self._kept: dict[Identity, _Kept] = {}

    def read(
        self,
        observations: Mapping[Identity, Observation],
        placements: Mapping[Identity, Placement],
        world: Surroundings,
        limits: Limits,
    ) -> dict[Identity, Used]:
        """Of those of these processes that have enough memory far from where they run. One of which it cannot be learnt
        is left out. Raises Interrupted."""
        far = {
            identity: far_bytes(placement.bytes_by_node, observations[identity].places, world)
            for identity, placement in placements.items()
        }
        wanted = sorted((one for one in far if far[one] >= limits.least), key=lambda one: (-far[one], one.pid))[:MOST]
        now = self.kernel.clock()
        self._kept = {one: kept for one, kept in self._kept.items() if one in placements and now - kept.at < _FRESH}
        for identity in wanted:
            if identity not in self._kept and (used := self._learn(observations[identity], world)) is not None:
                self._kept[identity] = _Kept(used, now)
        return {identity: self._kept[identity].used for identity in wanted if identity in self._kept}

    def _learn(self, one: Observation, world: Surroundings) -> Used | None:
        kernel, process, wish = self.kernel, one.row.process, self.wish
        try:
            heat = learn(
                kernel, world.topology, process, wish.seconds, wish.windows, wish.way, self.cancel, wish.hold
            )  # fmt: skip
            frames = read_frame_nodes(kernel)
            placement = read_gently(kernel, process.pid, process.rss, lambda: frames, with_maps=True)
            chosen = whole_pages(
                choose([heat], wish, world.topology.memory_ids),
                {process.pid: [(vma.start, vma.end) for vma in placement.vmas]}, huge_page_size(kernel), "hot",
            )  # fmt: skip
            stretches = tuple((each.start, each.end) for each in chosen)
            hot = clip(kernel, process.pid, frames, placement, stretches)
        except (NotFound, NotPermitted, NotSupported, ParseError, Refused):
            return None
        return Used(hot, stretches, sum(hot.bytes_by_node.values()), heat.way, heat.steady)
