"""What differs between kernels, measured on the running one: the rows of docs/kernels.md.

`python -m tests.guest.inside.kernel_facts` prints them as JSON, for tests/data/kernels.json."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import re
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from backend.live.kernel import LiveKernel
from tests.guest import victim
from tests.guest.inside import rig

NODES = Path("/sys/devices/system/node")
_MPOL_WEIGHTED_INTERLEAVE = 6
_ENOUGH_MIB = 96
"""So much is moved that a stall of the whole move stands out."""


def release() -> str:
    """`6.1` of `6.1.0-57-amd64`."""
    return ".".join(platform.release().split(".")[:2])


def _query(address: int) -> str:
    """What move_pages(2) says of a page of this process: `a node` or an error."""
    status = array("i", [99])
    LiveKernel().move_pages(os.getpid(), array("Q", [address]), None, status, 0)
    return "a node" if status[0] >= 0 else errno.errorcode[-status[0]]


def hole() -> str:
    """A page never touched, asked for by move_pages."""
    return _query(victim.map_memory(rig.PAGE, mmap.MAP_PRIVATE))


def zero_page() -> str:
    """A page that was only read, asked for by move_pages."""
    address = victim.map_memory(rig.PAGE, mmap.MAP_PRIVATE)
    victim.libc.madvise(address, rig.PAGE, victim.MADV_NOHUGEPAGE)
    ctypes.string_at(address, 8)
    return _query(address)


def vvar() -> str:
    """Whether numa_maps counts the page behind [vvar] as this process's."""
    maps = Path("/proc/self/maps").read_text()
    starts = {line.split("-")[0] for line in maps.splitlines() if "[vvar" in line}
    lines = Path("/proc/self/numa_maps").read_text().splitlines()
    counted = [line for line in lines if line.split()[0] in starts and " N" in line]
    return "counted" if counted else "not counted"


def balancing_hides() -> str:
    """Whether move_pages sees pages that NUMA balancing has marked."""
    one = rig.LinuxVictim({"memory": {"on": {0: 1024}}})
    try:
        with rig.marked_by_balancing(one):
            nodes = one.where()["memory"]
    finally:
        one.end()
    return "hidden" if nodes.count(-errno.ENOENT) > len(nodes) // 2 else "seen"


def migrate_pages_holds() -> str:
    """Whether the process can map memory while migrate_pages(2) moves its pages."""
    import time

    from backend.live.stall_target import stall_target
    from backend.nodeset import NodeSet

    shares: list[float] = []
    with stall_target(_ENOUGH_MIB * rig.MiB, 0, 3, False) as target:
        for source, to in ((0, 2), (2, 0), (0, 2)):
            target.begin()
            began = time.perf_counter()
            LiveKernel().migrate_pages(target.pid, 65, NodeSet([source]).mask(), NodeSet([to]).mask())
            shares.append(target.worst / (time.perf_counter() - began))
    return "for the whole move" if sorted(shares)[1] > 0.5 else "while it looks for pages"


def pagemap_scan() -> str:
    """The ioctl PAGEMAP_SCAN."""
    try:
        LiveKernel().pagemap_scan(os.getpid(), 0, 1 << 20, 1)
    except OSError as exc:
        return "no" if exc.errno == errno.ENOTTY else errno.errorcode[exc.errno or 0]
    return "yes"


def weighted_interleave() -> str:
    """The policy MPOL_WEIGHTED_INTERLEAVE, as numa_maps has it."""
    address = victim.map_memory(rig.PAGE, mmap.MAP_PRIVATE)
    try:
        victim.mbind(address, rig.PAGE, _MPOL_WEIGHTED_INTERLEAVE, (0, 1))
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    ctypes.memset(address, 1, rig.PAGE)
    match = re.search(rf"^{address:x} (.*?) anon=", Path("/proc/self/numa_maps").read_text(), re.MULTILINE)
    return f"`{match[1]}`" if match else "not in numa_maps"


def weights() -> str:
    """Where its weights are."""
    folder = Path("/sys/kernel/mm/mempolicy/weighted_interleave")
    names = sorted(one.name for one in folder.iterdir()) if folder.exists() else []
    kinds = dict.fromkeys("nodeN" if name.startswith("node") else name for name in names)
    return ", ".join(sorted(kinds, reverse=True)) or "no"


def cpuset_v1() -> str:
    """The cpuset controller of cgroup v1."""
    folder = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=True)
    (folder / "v1").mkdir()
    done = subprocess.run(
        ["mount", "-t", "cgroup", "-o", "cpuset", "none", str(folder / "v1")], capture_output=True, check=False
    )
    found = done.returncode == 0
    if found:
        subprocess.run(["umount", str(folder / "v1")], check=True)
    subprocess.run(["umount", str(folder)], check=True)
    return "yes" if found else "no"


def huge_page_sizes() -> str:
    """Sizes of multi-size transparent huge pages, in kB."""
    found = Path("/sys/kernel/mm/transparent_hugepage").glob("hugepages-*kB")
    sizes = sorted(int(re.sub(r"\D", "", one.name)) for one in found)
    return ", ".join(map(str, sizes)) or "none"


def counters(*words: str) -> Callable[[], str]:
    """The names in a node's vmstat that begin so."""

    def measure() -> str:
        names = [line.split()[0] for line in (NODES / "node0/vmstat").read_text().splitlines()]
        return ", ".join(name for name in names if name.startswith(words)) or "none"

    return measure


def there(path: str) -> Callable[[], str]:
    """Whether a file is there."""
    return lambda: "yes" if Path(path).exists() else "no"


def tiering() -> str:
    """Mode 2 of NUMA balancing, memory tiering."""
    with suppress(OSError), rig.setting("/proc/sys/kernel/numa_balancing", 2):
        return "yes"
    return "no"


def node_meminfo() -> str:
    """The keys of a node's meminfo."""
    return " ".join(re.findall(r"^Node \d+ (\S+):", (NODES / "node0/meminfo").read_text(), re.MULTILINE))


FACTS: dict[str, tuple[str, Callable[[], str]]] = {
    "migrate_pages": ("`migrate_pages` holds the process's memory map", migrate_pages_holds),
    "hidden": ("pages that NUMA balancing has marked: to `move_pages` they are", balancing_hides),
    "hole": ("`move_pages` says of a page that was never touched", hole),
    "zero-page": ("`move_pages` says of a page that was only read", zero_page),
    "vvar": ("the page behind `[vvar]`, which never moves, is in numa_maps", vvar),
    "pagemap-scan": ("PAGEMAP_SCAN, which skips what is empty", pagemap_scan),
    "weighted": ("the policy weighted interleave, as numa_maps has it", weighted_interleave),
    "weights": ("its weights, in /sys/kernel/mm/mempolicy/weighted_interleave", weights),
    "tiering": ("NUMA balancing as memory tiering (mode 2)", tiering),
    "demotion": ("demotion (/sys/kernel/mm/numa/demotion_enabled)", there("/sys/kernel/mm/numa/demotion_enabled")),
    "demoted": ("counters of demotion and promotion, in a node's vmstat", counters("pgdemote", "pgpromote")),
    "reclaim": ("reclaim of one node (nodeN/reclaim)", there("/sys/devices/system/node/node0/reclaim")),
    "damon": ("DAMON", there("/sys/kernel/mm/damon/admin/kdamonds")),
    "idle": ("idle page tracking", there("/sys/kernel/mm/page_idle/bitmap")),
    "sizes": ("sizes of huge pages beside 2 MiB (mTHP), kB", huge_page_sizes),
    "cpuset-v1": ("cpusets of cgroup v1", cpuset_v1),
    "meminfo": ("keys of a node's meminfo", node_meminfo),
}
"""Name → what it is, and how it is measured. The running kernel is Debian's."""


def main() -> None:
    json.dump({name: measure() for name, (_, measure) in FACTS.items()}, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
