"""Advice by what is used, beside advice by all memory and doing nothing: bytes moved and throughput gained, on emulated
machines: the shipped scenarios, and random ones with hot sets of 1 to 50 %.

`heat_advice.py [MACHINES]`"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from backend.advice.advice import Advice
from backend.emulator.scenario.open import open_scenario
from backend.emulator.scenario.shipped import names
from backend.heat.choosing import HeatWish
from tests.backend.advice.test_advice import MIB, NODES, advice_for, follow, scenario, work_done

MACHINES = 200
UNTIL = 60
"""Simulated seconds after which all are measured: watching what is used takes four for each process."""


def one_way(name: str, folder: Path, heat: HeatWish | None, until: float | None) -> tuple[int, float, float]:
    """Bytes moved, accesses a second afterwards, and when that was, in simulated seconds. `until`: None for nothing to
    be moved."""
    kernel = open_scenario(name)
    advised: list[Advice] = []
    if until is None:
        kernel.pause(UNTIL * 1_000_000_000)
    else:
        advised = advice_for(kernel, MIB, heat)
        follow(kernel, advised, folder)
        kernel.machine.advance(max(0.0, until - kernel.machine.now))
    return sum(one.proposal.bytes for one in advised if one.proposal), work_done(kernel), kernel.machine.now


def measured(name: str, folder: Path) -> tuple[float, int, float, int, float]:
    """Work without; bytes and work with all memory; bytes and work with what is used."""
    _, without, _ = one_way(name, folder, None, None)
    until = float(UNTIL)
    everything, all_work, _ = one_way(name, folder / "all", None, until)
    hot, hot_work, _ = one_way(name, folder / "hot", HeatWish("hot"), until)
    return without, everything, all_work, hot, hot_work


def random_machine(chosen: random.Random) -> str:
    tasks = [
        {
            "node": chosen.randrange(NODES), "threads": chosen.randint(1, 3), "size": chosen.randint(8, 48),
            "on": [chosen.randint(0, 3) for _ in range(NODES - 1)] + [1], "policy": "default",
            "access": {"hot": f"{chosen.choice([1, 2, 5, 10, 20, 35, 50])}%", "begin": f"{chosen.randrange(100)}%"},
        }
        for _ in range(chosen.randint(1, 4))
    ]  # fmt: skip
    far = sorted(chosen.randint(1, 30) for _ in range(3))
    return scenario(tasks, far)


def line(name: str, found: tuple[float, int, float, int, float]) -> str:
    without, everything, all_work, hot, hot_work = found
    gains = [work / without if without else 1.0 for work in (all_work, hot_work)]
    return f"{name:<24}{everything / MIB:>8.0f} MiB{gains[0]:>8.2f}x{hot / MIB:>8.0f} MiB{gains[1]:>8.2f}x"


def main() -> None:
    machines = int(sys.argv[1]) if len(sys.argv) > 1 else MACHINES
    print(f"{'':<24}{'all memory':>12}{'gain':>9}{'what is used':>12}{'gain':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(names()):
            found = measured(name, Path(folder))
            if found[1] or found[3]:
                print(line(name, found), flush=True)
        chosen, path = random.Random(1), Path(folder) / "random.yaml"
        many: list[tuple[float, int, float, int, float]] = []
        for number in range(machines):
            path.write_text(random_machine(chosen))
            many.append(measured(str(path), Path(folder) / str(number)))
    if not many:
        return
    everything, hot = sum(one[1] for one in many), sum(one[3] for one in many)
    gained, by_heat = sum(one[2] - one[0] for one in many), sum(one[4] - one[0] for one in many)
    print(f"{machines} random machines: {hot / everything:.2f} of the bytes for {by_heat / gained:.2f} of the gain")
    for label, at in (("all memory", 2), ("what is used", 4)):
        ratios = [one[at] / one[0] for one in many]
        print(f"{label}: median {statistics.median(ratios):.2f}x, worst {min(ratios):.2f}x of doing nothing")


if __name__ == "__main__":
    main()
