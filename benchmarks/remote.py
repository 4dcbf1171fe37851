"""Another machine over a line of 20 ms (10 each way) and 100 Mbit/s, which a program in the place of ssh makes: the
time, round trips and bytes of connecting, of the first table and of later ones, with 300 processes; beside reading the
same here. `remote.py [PROCESSES] [MILLISECONDS]`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from backend.kernel import Kernel
from backend.live.kernel import LiveKernel
from backend.machine.topology import read_topology
from backend.placement.survey import Surveyor
from backend.remote.bundle import stream
from backend.remote.kernel import RemoteKernel
from backend.remote.ssh import Destination, Link

ROUNDS = 10
RATE = 100e6 / 8


def surveys(kernel: Kernel) -> tuple[float, list[float]]:
    """Seconds of the first table, and of the later ones, a second apart."""
    began = time.monotonic()
    surveyor = Surveyor(kernel, read_topology(kernel))
    surveyor.read()
    first, later = time.monotonic() - began, list[float]()
    for _ in range(ROUNDS):
        time.sleep(1.0)
        began = time.monotonic()
        surveyor.topology = read_topology(kernel)
        surveyor.read()
        later.append(time.monotonic() - began)
    return first, later


def main() -> None:
    count, delay = (int(one) for one in (*sys.argv[1:3], *("300", "20")[len(sys.argv) - 1 :]))
    children = [subprocess.Popen(["sleep", "3600"]) for _ in range(count)]
    try:
        here, here_later = surveys(LiveKernel())
        os.environ["NUMATUI_SSH"] = f"{sys.executable} -m benchmarks.slow_line {delay / 2000} {RATE}"
        began = time.monotonic()
        link = Link(Destination("far"))
        kernel = RemoteKernel(link.connection, "far")
        connected = time.monotonic() - began
        wire = link.connection
        print(f"connect      {connected:.2f} s   {wire.sent + len(stream()):>9,} B there {wire.received:>9,} B back")
        first, later = surveys_counted(kernel, link)
        print(f"first table  {first:.2f} s   here {here:.2f} s   {later[0]}")
        times = [one for one, _ in later[1]]
        print(
            f"a refresh    {statistics.median(times):.2f} s (worst {max(times):.2f})   here "
            f"{statistics.median(here_later):.2f} s   {later[1][len(times) // 2][1]}"
        )
        link.close()
    finally:
        for one in children:
            one.kill()


def surveys_counted(kernel: RemoteKernel, link: Link) -> tuple[float, tuple[str, list[tuple[float, str]]]]:
    """As `surveys`, with what went over the line."""
    wire = link.connection
    before = (0, 0, 0)

    def line() -> str:
        nonlocal before
        now = (wire.requests, wire.sent, wire.received)
        trips, there, back = (a - b for a, b in zip(now, before, strict=True))
        before = now
        return f"{trips} round trips {there:>7,} B there {back:>9,} B back"

    line()
    began = time.monotonic()
    surveyor = Surveyor(kernel, read_topology(kernel))
    surveyor.read()
    first, told = time.monotonic() - began, line()
    later: list[tuple[float, str]] = []
    for _ in range(ROUNDS):
        time.sleep(1.0)
        began = time.monotonic()
        surveyor.topology = read_topology(kernel)
        surveyor.read()
        later.append((time.monotonic() - began, line()))
    return first, (told, later)


if __name__ == "__main__":
    main()
