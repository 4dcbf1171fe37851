"""Values of each node over the last readings. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from backend.machine.activity import Activity
from backend.machine.topology import Topology

MOST = 120
"""Readings kept: two minutes at the default interval."""
SERIES = {
    "free": "free memory",
    "cpu": "CPU load",
    "hit": "allocated here, as meant",
    "miss": "allocated here, meant for others",
}
"""The series kept for each node, with their titles."""


class NodeHistory:
    """node → series → values, oldest first. Units: `free` bytes, `cpu` a share, `hit` and `miss` pages a second.
    `moved`: pages migrated a second on the whole machine; the kernel does not count them by node. `most`: the highest
    `hit` and `miss` of each node so far."""

    def __init__(self) -> None:
        self._values: dict[int, dict[str, deque[float]]] = {}
        self.moved = deque[float](maxlen=MOST)
        self.most: dict[int, dict[str, float]] = {}

    def add(self, topology: Topology, activity: Activity) -> None:
        """Adds a reading. Nodes that are gone are dropped."""
        kept: dict[int, dict[str, deque[float]]] = {}
        for node in topology.nodes:
            series = self._values.get(node.id) or {name: deque[float](maxlen=MOST) for name in SERIES}
            rates = activity.rates.get(node.id, {})
            if node.free is not None:
                series["free"].append(float(node.free))
            if node.id in activity.busy:
                series["cpu"].append(activity.busy[node.id])
            if rates:
                most = self.most.setdefault(node.id, {})
                for name in ("hit", "miss"):
                    rate = rates.get(f"numa_{name}", 0.0)
                    series[name].append(rate)
                    most[name] = max(rate, most.get(name, 0.0))
            kept[node.id] = series
        self._values = kept
        if activity.machine:
            self.moved.append(activity.machine.get("pgmigrate_success", 0.0))

    def of(self, node: int) -> Mapping[str, deque[float]]:
        return self._values.get(node, {})
