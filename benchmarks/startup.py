"""How long commands take to start beside an interpreter that does nothing: ratios, measured alternately in one run.

`python benchmarks/startup.py [--against CHECKOUT]`: also the same commands of another checkout, in the same run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 15
HERE = Path(__file__).resolve().parents[1]
PLAN = ("plan", "--nodes", "0-3", "--from", "0", "--to", "1", "--json")
COMMANDS = {"plan --nodes": PLAN, "ps --json": ("ps", "--json"), "--help": ("--help",), "keys": ("keys",)}


def seconds(checkout: Path, *arguments: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        cwd=checkout,
        env={**environment, "PYTHONPATH": str(checkout)},
    )
    return time.perf_counter() - began


def main() -> None:
    others = [Path(sys.argv[2]).resolve()] if sys.argv[1:2] == ["--against"] else []
    runs: dict[tuple[Path, str], tuple[str, ...]] = {
        (HERE, "python -c pass"): ("-c", "pass"),
        (HERE, "import typer"): ("-c", "import typer"),
    }
    for name, arguments in COMMANDS.items():
        for checkout in (HERE, *others):
            runs[checkout, f"numatui {name}"] = ("-m", "numatui", *arguments)
    times: dict[tuple[Path, str], list[float]] = {run: [] for run in runs}
    for _ in range(ROUNDS):
        for run, arguments in runs.items():
            times[run].append(seconds(run[0], *arguments))
    base = statistics.median(times[HERE, "python -c pass"])
    for (checkout, name), values in times.items():
        middle = statistics.median(values)
        where = "" if checkout == HERE else "  (the other checkout)"
        print(f"{name:22} {middle * 1000:7.1f} ms  {middle / base:5.1f} × python -c pass{where}")


if __name__ == "__main__":
    main()
