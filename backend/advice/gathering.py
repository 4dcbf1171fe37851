"""Reads the inputs of advice: the machine, and the mappings of processes that may get a proposal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backend.advice.advice import Advice, Limits, Surroundings
from backend.advice.judging import advise, needs_a_look
from backend.advice.observing import Observation, ObservationHistory
from backend.errors import NotFound, NotPermitted, ParseError
from backend.heat.choosing import HeatWish
from backend.kernel import Kernel
from backend.machine.access_cost import read_costs
from backend.machine.kernel_info import read_fact, release
from backend.machine.topology import Topology, read_topology
from backend.placement.numa_maps import read_placement
from backend.placement.placement import Placement
from backend.placement.reader import PlacementReader
from backend.placement.survey import Surveyor
from backend.plan.conditions import read_conditions
from backend.plan.remap import rule_of
from backend.process.process import Identity, Process

if TYPE_CHECKING:
    from backend.advice.heated import HeatReader

READINGS = 6
"""Readings of a watch, if time passes on the kernel; else there is one."""
_REST_NS = 10_000_000_000
"""The mappings of a process are read again after so many nanoseconds, or when its memory has moved (_CHANGED)."""
# Share of the memory.
_CHANGED = 0.02


def surroundings(kernel: Kernel, topology: Topology) -> Surroundings:
    """The machine as it is now. Never raises."""
    conditions = read_conditions(kernel, topology, "auto")
    uid, privileged = kernel.credentials()
    # Then migrate_pages(2) is used. It moves shared pages too for callers with CAP_SYS_NICE (kernel_migrate_pages() in
    # mm/mempolicy.c).
    by_nodes = not kernel.capabilities()["move_pages"].available
    uptime = read_fact(kernel, "/proc/uptime").split()
    return Surroundings(
        topology=topology,
        costs=read_costs(topology),
        conditions=conditions,
        rule=rule_of(release(kernel)),
        page_size=kernel.page_size,
        uid=uid,
        moves_all=privileged and by_nodes,
        uptime=_number(uptime[0]) if uptime else None,
        changing=kernel.capabilities()["time"].available,
    )


def _number(text: str) -> float | None:
    try:
        return float(text[:20])
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class _Kept:
    placement: Placement
    read_at: int
    by_node: Mapping[int, int]


class Adviser:
    """Gives advice repeatedly. Mappings are cached for a while, so that large ones are not walked each time. `exact`:
    also read numa_maps of large processes, which shows their policies but stalls them. `heat`: those with far memory
    are watched for what they use, one after the other; `cancel` ends that."""

    def __init__(
        self,
        kernel: Kernel,
        limits: Limits | None = None,
        exact: bool = False,
        heat: HeatWish | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self.kernel = kernel
        self.limits = limits or Limits()
        self.heat = _heat_reader(kernel, heat, cancel) if heat is not None else None
        self.exact = exact or not kernel.traits.reading_stalls
        self._kept: dict[Identity, _Kept] = {}

    def advise(self, observations: Mapping[Identity, Observation], topology: Topology) -> list[Advice]:
        """Advice for these processes. Raises OSError only if the kernel cannot be read at all."""
        world = surroundings(self.kernel, topology)
        reader = PlacementReader(self.kernel)
        now = self.kernel.clock()
        kept: dict[Identity, _Kept] = {}
        for identity in needs_a_look(observations, world, self.limits):
            row = observations[identity].row
            one = self._kept.get(identity)
            by_node = row.by_node or {}
            if one is None or now - one.read_at > _REST_NS or _differ(one.by_node, by_node):
                try:
                    placement = read_placement(self.kernel, identity.pid) if self.exact else reader.read(row.process)
                    one = _Kept(placement, now, by_node)
                except (NotFound, NotPermitted, ParseError):
                    continue
            kept[identity] = one
        self._kept = kept
        placements = {identity: one.placement for identity, one in kept.items()}
        used = self.heat.read(observations, placements, world, self.limits) if self.heat is not None else {}
        return advise(observations, placements, world, self.limits, used)


def _heat_reader(kernel: Kernel, heat: HeatWish, cancel: threading.Event | None) -> HeatReader:
    from backend.advice.heated import HeatReader  # It needs numpy, which takes longer to import than most advice.

    return HeatReader(kernel, heat, cancel)


def _differ(before: Mapping[int, int], now: Mapping[int, int]) -> bool:
    """Whether so much memory changed its node that the mappings must be read again."""
    change = sum(abs(before.get(node, 0) - now.get(node, 0)) for node in {*before, *now})
    return change > _CHANGED * sum(now.values())


@dataclass(frozen=True, slots=True)
class Watch:
    """The result of `watch`. `seconds`: its duration."""

    topology: Topology
    observations: Mapping[Identity, Observation]
    seconds: float
    readings: int


def watch(
    kernel: Kernel,
    seconds: float,
    wanted: Callable[[Process], bool],
    on_reading: Callable[[float], None] = lambda share: None,
) -> Watch:
    """Reads processes several times within `seconds`, or once if time does not pass. The seconds are simulated time in
    a demo and sample time in a recording. `on_reading` gets the progress, 0 to 1. Raises OSError, ParseError,
    NotSupported."""
    topology = read_topology(kernel)
    surveyor = Surveyor(kernel, topology)
    history = ObservationHistory()
    pauses = READINGS - 1 if kernel.capabilities()["time"].available and seconds > 0 else 0
    begin = kernel.clock()
    for number in range(pauses + 1):
        if number:
            due = begin + int(seconds * 1e9 * number / pauses)
            kernel.pause(max(1, due - kernel.clock()))
        if number == pauses:
            surveyor.expire()
            surveyor.topology = topology = read_topology(kernel)
        history.add(kernel.clock(), surveyor.read(wanted))
        on_reading((number + 1) / (pauses + 1))
    return Watch(topology, history.observations, (kernel.clock() - begin) / 1e9, pauses + 1)


def limits_for(seconds: float, least: int | None = None) -> Limits:
    """Limits for a watch of so many seconds. In a short one, a process must spend most of it at its present place."""
    limits = replace(Limits(), settled=min(Limits().settled, seconds * 0.75))
    return limits if least is None else replace(limits, least=least)
