"""Memory tiers: nodes grouped by the speed of their memory (Documentation/ABI/testing/sysfs-kernel-mm-memory-tiers)."""

from __future__ import annotations

import re

from backend.errors import ParseError
from backend.kernel import Kernel
from backend.machine.kernel_info import read_fact
from backend.nodeset import NodeSet

_FOLDER = "/sys/devices/virtual/memory_tiering"
DEMOTION = "/sys/kernel/mm/numa/demotion_enabled"
_NAME = re.compile(r"memory_tier([0-9]{1,9})\Z")


def demotes(kernel: Kernel) -> bool | None:
    """Whether reclaim moves cold pages to a lower tier instead of dropping or swapping them out; None if the kernel
    does not tell."""
    return {"1": True, "true": True, "0": False, "false": False}.get(read_fact(kernel, DEMOTION))


def read_tiers(kernel: Kernel) -> dict[int, int]:
    """Node → tier; a smaller number is faster. Empty on kernels without tiers (before 6.1)."""
    out: dict[int, int] = {}
    try:
        names = kernel.listdir(_FOLDER)
    except OSError:
        return out
    for name in names:
        match = _NAME.match(name)
        if match:
            try:
                nodes = NodeSet.parse_list(kernel.read(f"{_FOLDER}/{name}/nodelist"))
            except (OSError, ParseError):
                continue
            out |= dict.fromkeys(nodes, int(match[1]))
    return out
