"""How long `numatui ps --json` takes beside an interpreter that does nothing: a ratio, measured alternately in one
run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

ROUNDS = 15


def seconds(*arguments: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        env=environment,
    )
    return time.perf_counter() - began


def main() -> None:
    commands = {
        "python -c pass": ("-c", "pass"),
        "import typer": ("-c", "import typer"),
        "numatui plan --nodes": (
            "-m",
            "numatui",
            "plan",
            "--nodes",
            "0-3",
            "--from",
            "0",
            "--to",
            "1",
            "--json",
        ),
        "numatui ps --json": ("-m", "numatui", "ps", "--json"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, arguments in commands.items():
            times[name].append(seconds(*arguments))
    base = statistics.median(times["python -c pass"])
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:22} {middle * 1000:7.1f} ms  {middle / base:5.1f} × python -c pass")


if __name__ == "__main__":
    main()
