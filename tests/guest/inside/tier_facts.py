"""What a kernel does with memory tiers, measured on the guest with the topology `tiers`: `python -m
tests.guest.inside.tier_facts` prints it as JSON, for tests/data/tiers.json. Node 2 is the slow one."""

from __future__ import annotations

import errno
import json
import re
import sys
from pathlib import Path
from typing import Any

from backend.live.kernel import LiveKernel
from tests.guest.inside import rig
from tests.guest.inside.cgroups import charge, put, version2
from tests.guest.inside.rig import MiB

NODES = Path("/sys/devices/system/node")
_WEIGHTS = Path("/sys/kernel/mm/mempolicy/weighted_interleave")
_TIERING = Path("/sys/devices/virtual/memory_tiering")
_BALANCING, _DEMOTION = Path("/proc/sys/kernel/numa_balancing"), Path("/sys/kernel/mm/numa/demotion_enabled")
_COUNTERS = ("pgdemote", "pgpromote", "numa_hint")
PAGES = 8192
ROUNDS = 6


def described() -> dict[str, Any]:
    """The files that tell of tiers."""
    access = {
        f"node{node}": {
            name: (NODES / f"node{node}/access0/initiators/{name}").read_text().strip()
            for name in ("read_latency", "read_bandwidth")
        }
        for node in range(3)
        if (NODES / f"node{node}/access0").exists()
    }
    return {
        "tiers": {one.parent.name: one.read_text().strip() for one in sorted(_TIERING.glob("memory_tier*/nodelist"))},
        "access": access,
        "weights": {one.name: one.read_text().strip() for one in sorted(_WEIGHTS.iterdir())},
    }


def counters() -> dict[str, int]:
    Path("/proc/sys/vm/stat_refresh").write_text("1")
    found = re.findall(r"^(\w+) (\d+)$", LiveKernel().read("/proc/vmstat").decode(), re.MULTILINE)
    return {name: int(value) for name, value in found if name.startswith(_COUNTERS)}


def changed(before: dict[str, int]) -> dict[str, int]:
    return {name: value - before.get(name, 0) for name, value in counters().items() if value != before.get(name, 0)}


def demoted(on: bool) -> dict[str, Any]:
    """A cgroup is asked to give up memory, with demotion and without."""
    _DEMOTION.write_text("1" if on else "0")
    with version2() as groups:
        group = groups.make("numatui-tiers")
        one = rig.LinuxVictim({"memory": {"on": {0: PAGES}}}, home=1)
        put(one, group)
        charge(one, {0: PAGES})
        before, answers = counters(), list[str]()
        try:
            for _ in range(ROUNDS):
                try:
                    (group / "memory.reclaim").write_text(f"{PAGES * rig.PAGE // MiB // 2}M")
                    answers.append("done")
                except OSError as exc:
                    answers.append(errno.errorcode[exc.errno or 0])
            pages = one.pages("more")
            found = changed(before)
            one.verify()
        finally:
            one.end()
            _DEMOTION.write_text("0")
    return {"answers": answers, "pages": pages, "counters": found}


def promoted(mode: int) -> dict[str, Any]:
    """Pages of the slow node are used from node 0 while balancing is on in this mode."""
    rig.mount_debugfs()
    one = rig.LinuxVictim({"memory": {"on": {2: PAGES}}}, home=0)
    before = counters()
    try:
        with (
            rig.setting("/sys/kernel/debug/sched/numa_balancing/scan_delay_ms", 1),
            rig.setting("/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms", 10),
            rig.setting(_BALANCING, mode),
        ):
            for _ in range(30):
                one.touch()
        pages = one.pages()
        one.verify()
    finally:
        one.end()
    return {"pages": pages, "counters": changed(before)}


def main() -> None:
    out = {
        "described": described(),
        "demotion off": demoted(False),
        "demotion on": demoted(True),
        "balancing 1": promoted(1),
        "balancing 2": promoted(2),
    }
    json.dump(out, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
