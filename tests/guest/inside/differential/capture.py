"""Plays sequences on this Linux and writes what it answered: `capture.py FIRST COUNT`, one JSON line for each.

Through `xz` it becomes tests/data/sequences-7.2.jsonl.xz, or that of another kernel."""

from __future__ import annotations

import json
import sys

from tests.guest.inside.differential.linux import on_linux
from tests.guest.inside.differential.sequence import sequence


def main(first: int, count: int) -> None:
    for seed in range(first, first + count):
        steps = sequence(seed)
        print(json.dumps({"steps": steps, "answers": on_linux(steps)}, separators=(",", ":")), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
