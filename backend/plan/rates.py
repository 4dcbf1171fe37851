"""What `numatui bench` measured on this machine, kept for estimates: `rates.json` in the state directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from backend.errors import NumatuiError
from backend.files.fields import Fields
from backend.kernel import Kernel
from backend.machine.kernel_info import release
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.plan.plan import CALLS, Called, Method
from backend.state.local import LOCAL
from backend.state_files import StateFiles

VERSION = 1
_FASTEST = 1 << 62
"""Bytes a second: no measurement is faster."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One measurement. `rate`: bytes per second. `stall`: longest wait of the process, ns. `batch`: bytes per call, 0
    for all at once."""

    source: int
    target: int
    huge: bool
    method: Called
    workers: int
    batch: int
    rate: int
    stall: int


def rates_path(files: StateFiles = LOCAL) -> Path:
    """`$XDG_STATE_HOME/numatui/rates.json`."""
    return files.jobs_dir().parent / "rates.json"


def machine_of(kernel: Kernel, topology: Topology) -> str:
    """Identifies machine and kernel: release, nodes, distances. Measurements of another one are useless."""
    distances = ";".join(f"{node.id}:{','.join(map(str, node.distances.values()))}" for node in topology.nodes)
    return f"{release(kernel)} {topology.ids} {distances}"


def save_rates(path: Path, machine: str, rates: Sequence[Rate], files: StateFiles = LOCAL) -> None:
    """Replaces the file atomically, readable by its owner only. Raises NumatuiError."""
    try:
        files.make_private(path.parent / "jobs")
        document = {"numatui-rates": VERSION, "machine": machine, "rates": [asdict(one) for one in rates]}
        files.replace(path, json.dumps(document))
    except OSError as exc:
        raise NumatuiError(
            f"the measurements cannot be kept in {path} ({exc.strerror})",
            "set XDG_STATE_HOME to another folder",
        ) from None


def own_rates(machine: str, files: StateFiles = LOCAL) -> list[Rate]:
    """The user's measurements of this machine. Never raises."""
    try:
        return load_rates(rates_path(files), machine, files)
    except NumatuiError:
        return []


def load_rates(path: Path, machine: str, files: StateFiles = LOCAL) -> list[Rate]:
    """The measurements of this machine; empty if there are none, or if the file is invalid. Never raises."""
    try:
        document = Fields(json.loads(files.read(path)))
        if document.integer("numatui-rates") != VERSION or document.text("machine") != machine:
            return []
        return [_rate(one) for one in document.objects("rates")]
    except (OSError, ValueError, RecursionError):
        return []


def best_rates(rates: Sequence[Rate], method: Method) -> dict[tuple[int, int], int]:
    """(source, target) → bytes per second of small pages: the best that the method reached (`auto` is move_pages)."""
    wanted = "migrate_pages" if method == "migrate_pages" else "move_pages"
    out: dict[tuple[int, int], int] = {}
    for one in rates:
        if one.method == wanted and not one.huge:
            out[one.source, one.target] = max(one.rate, out.get((one.source, one.target), 0))
    return out


def likely_rates(best: dict[tuple[int, int], int], topology: Topology) -> dict[tuple[int, int], int]:
    """A rate for each pair of nodes with memory: the measured one, else the slowest measured over the same distance,
    else over the nearest other distance. Empty if nothing was measured."""
    by_distance: dict[int, int] = {}
    for (source, target), rate in best.items():
        distance = topology.distance(source, target)
        by_distance[distance] = min(rate, by_distance.get(distance, rate))
    ids = topology.memory_ids if best else NodeSet()
    out = dict(best)
    for source, target in ((a, b) for a in ids for b in ids if a != b and (a, b) not in best):
        distance = topology.distance(source, target)
        out[source, target] = by_distance[min(by_distance, key=lambda other: (abs(other - distance), -other))]
    return out


def worst_stall(rates: Sequence[Rate], method: Method) -> int:
    """The longest stall by this method (`auto` is move_pages), nanoseconds; 0 if nothing was measured."""
    wanted = "migrate_pages" if method == "migrate_pages" else "move_pages"
    return max((one.stall for one in rates if one.method == wanted), default=0)


def _rate(raw: Fields) -> Rate:
    """Raises ValueError."""
    return Rate(
        source=raw.integer("source"),
        target=raw.integer("target"),
        huge=raw.truth("huge"),
        method=raw.choice("method", CALLS),
        workers=raw.integer("workers"),
        batch=raw.integer("batch"),
        rate=raw.integer("rate", 1, _FASTEST),
        stall=raw.integer("stall"),
    )
