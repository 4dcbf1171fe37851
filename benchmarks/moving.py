"""Moving the memory of a process: the real `migratepages` and numatui with one and two workers, side by side, for 4 KiB
and for transparent huge pages. Speed, and the worst stall of the process itself.

NUMA balancing is off meanwhile. Needs root, two nodes with memory and `migratepages` (package numactl); without such a
machine: `tests/guest/guest.sh run four OUT .venv/bin/python benchmarks/moving.py`. `moving.py [MIB [ROUNDS]]`: 256 MiB,
5 rounds after two that do not count (they fill caches, and a guest's own memory)."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy  # noqa: F401

from backend.job.job import Job
from backend.job.options import Options
from backend.job.planning import plan
from backend.job.request import MoveRequest
from backend.live.kernel import LiveKernel
from backend.live.stall_target import StallTarget, stall_target
from backend.machine.topology import read_topology
from backend.selection.selection import Selection

MIB = 1 << 20
HOWS = ("migratepages", "1 worker", "2 workers", "auto")


def move(how: str, victim: StallTarget, source: int, target: int) -> tuple[float, float]:
    """(seconds, seconds of the worst stall) of one move, planning and verification included."""
    kernel = LiveKernel()
    victim.begin()
    began = time.perf_counter()
    if how == "migratepages":
        subprocess.run(["migratepages", str(victim.pid), str(source), str(target)], check=True)
    else:
        request = MoveRequest(Selection((victim.pid,)), str(source), str(target), method="move_pages")
        workers = None if how == "auto" else int(how[0])
        with tempfile.TemporaryDirectory() as folder:
            options = Options(workers=workers, journal_dir=Path(folder) / "jobs")
            outcome = Job(kernel, plan(kernel, request), options).run()
        for error in outcome.errors:
            print(f"  {how}: {error}")
    return time.perf_counter() - began, victim.worst


def main(size: int = 256, rounds: int = 5) -> None:
    topology = read_topology(LiveKernel())
    nodes = list(topology.memory_ids)
    if len(nodes) < 2:
        raise SystemExit("this machine has one node with memory: run it in the guest, see the top of this file")
    source, target, home = nodes[0], nodes[min(2, len(nodes) - 1)], max(topology.node_of_cpu)
    balancing = Path("/proc/sys/kernel/numa_balancing")
    was = balancing.read_text()
    balancing.write_text("0")
    try:
        compare(size, rounds, source, target, home)
    finally:
        balancing.write_text(was)


def compare(size: int, rounds: int, source: int, target: int, home: int) -> None:
    """All ways in turn, for both kinds of pages; prints the medians."""
    for huge in (False, True):
        speeds: dict[str, list[float]] = {how: [] for how in HOWS}
        stalls: dict[str, list[float]] = {how: [] for how in HOWS}
        with stall_target(size * MIB, source, home, huge) as victim:
            for how in HOWS * 2:
                move(how, victim, source, target)
                source, target = target, source
            for _ in range(rounds):
                for how in HOWS:
                    seconds, worst = move(how, victim, source, target)
                    speeds[how].append(size / seconds)
                    stalls[how].append(worst)
                    source, target = target, source
        print(f"{'huge pages' if huge else '4 KiB pages'}, {size} MiB, median of {rounds}:")
        for how in HOWS:
            speed, stall = statistics.median(speeds[how]), statistics.median(stalls[how])
            faster = speed / statistics.median(speeds["migratepages"])
            gentler = statistics.median(stalls["migratepages"]) / stall
            print(
                f"  {how:12} {speed:6.0f} MiB/s {stall * 1e3:8.1f} ms worst stall   {faster:5.2f} × as fast, "
                f"1/{gentler:.0f} of the stall"
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
