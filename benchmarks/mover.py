"""The automatic mover in the emulator, beside doing nothing and numad's way: throughput and pages moved, by scenario.

`mover.py [SCENARIO…]`"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.backend.mover.movers import Numad, OurMover, nothing, run

SCENARIOS = ("default", "huge-pages", "node-removal", "scheduler-moves", "tiers")


def main() -> None:
    print(f"{'scenario':<18}{'nothing':>12}{'watch':>9}{'pages':>9}{'most':>6}{'numad':>9}{'pages':>9}{'most':>6}")
    for name in sys.argv[1:] or SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            base, ours, numad = run(name, nothing), run(name, OurMover(Path(folder))), run(name, Numad())
        line = f"{name:<18}{base.work / 1e6:>9.1f}M/s"
        for one in (ours, numad):
            ratio = one.work / base.work if base.work else 1.0
            line += f"{ratio:>8.2f}x{one.pages - base.pages:>9}{max(one.moves.values(), default=0):>6}"
        print(line)


if __name__ == "__main__":
    main()
