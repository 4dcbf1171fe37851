"""What `numatui bench` measured on this machine, kept for estimates: `rates.json` in the state directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from backend.errors import NumatuiError
from backend.files.jobs_dir import jobs_dir, make_private
from backend.files.private_file import read_private, replace_private
from backend.kernel import Kernel
from backend.machine.kernel_info import release
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.plan.plan import Called, Method

VERSION = 1


@dataclass(frozen=True, slots=True)
class Rate:
    """One measurement. `rate`: bytes a second; `stall`: ns that the process itself had to wait at most; `batch`: bytes
    a call (0: all at once)."""

    source: int
    target: int
    huge: bool
    method: Called
    workers: int
    batch: int
    rate: int
    stall: int


def rates_path() -> Path:
    """`$XDG_STATE_HOME/numatui/rates.json`."""
    return jobs_dir().parent / "rates.json"


def machine_of(kernel: Kernel, topology: Topology) -> str:
    """What makes measurements of another machine, or of another kernel, useless: release, nodes, distances."""
    distances = ";".join(f"{node.id}:{','.join(map(str, node.distances.values()))}" for node in topology.nodes)
    return f"{release(kernel)} {topology.ids} {distances}"


def save_rates(path: Path, machine: str, rates: Sequence[Rate]) -> None:
    """Replace the file, whole or not at all; private. Raises NumatuiError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        make_private(path.parent / "jobs")
        document = {"numatui-rates": VERSION, "machine": machine, "rates": [asdict(one) for one in rates]}
        replace_private(path, json.dumps(document))
    except OSError as exc:
        raise NumatuiError(
            f"the measurements cannot be kept in {path} ({exc.strerror})",
            "set XDG_STATE_HOME to another folder",
        ) from None


def load_rates(path: Path, machine: str) -> list[Rate]:
    """Those of this machine; none where there are none, or the file is not what it should be. Never raises."""
    try:
        document: Any = json.loads(read_private(path))
        if document["numatui-rates"] != VERSION or document["machine"] != machine:
            return []
        return [_rate(one) for one in document["rates"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def best_rates(rates: Sequence[Rate], method: Method) -> dict[tuple[int, int], int]:
    """(source, target) → bytes a second of small pages, the best that the method reached (`auto` is move_pages)."""
    wanted = "migrate_pages" if method == "migrate_pages" else "move_pages"
    out: dict[tuple[int, int], int] = {}
    for one in rates:
        if one.method == wanted and not one.huge:
            out[one.source, one.target] = max(one.rate, out.get((one.source, one.target), 0))
    return out


def likely_rates(best: dict[tuple[int, int], int], topology: Topology) -> dict[tuple[int, int], int]:
    """For every way between nodes with memory: what was measured there, else the slowest that was measured over the
    same distance, else over the next shorter or longer one. Nothing where nothing was measured."""
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


def worst_stall(rates: Sequence[Rate]) -> int:
    """Nanoseconds that move_pages held a process up at most; 0 where nothing was measured."""
    return max((one.stall for one in rates if one.method == "move_pages"), default=0)


def _rate(raw: Any) -> Rate:
    fields = cast(dict[str, Any], raw)
    if fields["method"] not in ("move_pages", "migrate_pages") or not isinstance(fields["huge"], bool):
        raise ValueError("not a measurement")
    numbers = [fields[key] for key in ("source", "target", "workers", "batch", "rate", "stall")]
    if any(isinstance(one, bool) or not isinstance(one, int) or not 0 <= one < 1 << 62 for one in numbers):
        raise ValueError("not a number of it")
    if not fields["rate"]:
        raise ValueError("nothing moves at no speed")
    return Rate(**fields)
