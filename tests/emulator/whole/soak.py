"""The state machine of test_stateful.py for a long time: `python -m tests.emulator.whole.soak --steps 1000000`
(scripts/soak).

All cases in turn, each with a seed of its own, until so many steps are done. When something breaks, Hypothesis prints
the shortest way there that it found, and this program how to come there again."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from hypothesis import Phase, seed, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tests.emulator.whole import test_stateful
from tests.emulator.whole.test_stateful import CASES, CHECKS_TO_SKIP, Happenings, state_machine

EXAMPLES, LENGTH = 150, 100
"""Of one case with one seed: examples, and steps of each at most."""


class Tally:
    """What was done so far."""

    def __init__(self) -> None:
        self.steps = self.examples = 0
        self.happenings: Counter[str] = Counter()

    def print(self, began: float) -> None:
        print(f"{self.steps} steps, {self.examples} examples, {time.monotonic() - began:.0f} s", flush=True)


def soaked(base: type[Happenings], tally: Tally) -> type[Happenings]:
    """The same state machine, counted."""

    class Soaked(base):
        @invariant()
        def step_is_counted(self) -> None:
            tally.steps += 1

        def teardown(self) -> None:
            super().teardown()
            tally.examples += 1
            tally.happenings.update(self.m.counters)

    Soaked.__name__ = Soaked.__qualname__ = base.__name__
    return Soaked


def run(case: tuple[str, int, int], number: int, tally: Tally) -> None:
    """One case with one seed. Raises what the state machine raises."""
    run_state_machine_as_test(
        seed(number)(soaked(state_machine(*case), tally)),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=LENGTH,
            deadline=None,
            database=None,
            suppress_health_check=CHECKS_TO_SKIP,
            phases=(Phase.generate, Phase.shrink),
        ),
    )


def main() -> int:
    """0, or 1 when something broke."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1_000_000, help="how many to do at least")
    parser.add_argument("--seed", type=int, default=None, help="of the first case; by default a random one")
    parser.add_argument("--case", type=int, choices=range(len(CASES)), help="this one only")
    options = parser.parse_args()
    first = random.randrange(1 << 31) if options.seed is None else options.seed
    chosen = range(len(CASES)) if options.case is None else [options.case]
    tally, began, turn = Tally(), time.monotonic(), 0
    while tally.steps < options.steps:
        number, case = first + turn, chosen[turn % len(chosen)]
        try:
            run(CASES[case], number, tally)
        except KeyboardInterrupt:
            break
        except BaseException:
            tally.print(began)
            print(f"broken, to see it again: scripts/soak --steps 1 --case {case} --seed {number}", flush=True)
            raise
        turn += 1
        if turn % len(chosen) == 0:
            tally.print(began)
    tally.print(began)
    others = sorted(test_stateful.seen - set(tally.happenings))
    for name, count in [*sorted(tally.happenings.items()), *((name, 1) for name in others)]:
        print(f"{count:>12} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
