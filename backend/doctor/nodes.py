"""The nodes: how many, what the firmware says of them, tiers."""

from __future__ import annotations

from collections.abc import Iterator

from backend.doctor.check import Check
from backend.kernel import Kernel
from backend.machine.memory_tiers import DEMOTION, demotes, read_tiers
from backend.machine.topology import Topology
from backend.nodeset import NodeSet

_MOST_WARNINGS = 8
"""A distance table that is wrong throughout would fill the screen."""


def node_checks(kernel: Kernel, topology: Topology) -> Iterator[Check]:
    """Raises only if the kernel breaks the seam's promises."""
    count = len(topology.memory_ids)
    if count > 1:
        yield Check("nodes", "ok", f"{count} nodes with memory: {topology.memory_ids}")
    else:
        yield Check(
            "nodes",
            "note",
            "one node with memory: there is nowhere to move pages to",
            "numatui --demo shows an emulated machine with more",
        )
    for warning in topology.warnings[:_MOST_WARNINGS]:
        yield Check("firmware", "note", warning)
    if (more := len(topology.warnings) - _MOST_WARNINGS) > 0:
        yield Check("firmware", "note", f"and {more} more such warnings")
    cpuless = NodeSet(node.id for node in topology.nodes if not node.cpus)
    if cpuless & topology.memory_ids:
        yield Check("cpuless", "note", f"nodes without CPUs: {cpuless & topology.memory_ids} (far or slow memory)")
    if cpuless - topology.memory_ids:
        yield Check("empty", "note", f"nodes with neither CPUs nor memory: {cpuless - topology.memory_ids}")
    tiers = read_tiers(kernel)
    if len(set(tiers.values())) > 1:
        by_tier = {
            tier: NodeSet(node for node, own in tiers.items() if own == tier) for tier in sorted(set(tiers.values()))
        }
        yield Check(
            "tiers",
            "note",
            "memory tiers, the fastest first: " + "; ".join(f"node {nodes}" for nodes in by_tier.values()),
        )
    elif tiers:
        yield Check("tiers", "ok", "all memory is of one tier")
    demotion = demotes(kernel)
    if demotion:
        yield Check(
            "demotion",
            "note",
            "demotion is on: the kernel moves cold pages to slower tiers by itself",
            f"echo 0 > {DEMOTION} while you place by hand",
        )
    elif demotion is not None:
        yield Check("demotion", "ok", "off: cold pages stay in their tier")
