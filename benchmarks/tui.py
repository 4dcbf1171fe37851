"""The terminal UI on an emulated machine with 5,000 processes on 8 nodes, beside Textual's DataTable doing the same
work.

`tui.py` prints: time of the UI thread a refresh, key to paint, the first table, filling and updating beside DataTable.
`tui.py memory [REFRESHES]`: the memory of the process over as many refreshes (10,000). `tui.py rest [PROCESSES]`: CPU
time at rest beside htop, both in tmux showing as many processes once a second (needs tmux and htop)."""

from __future__ import annotations

import asyncio
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import DataTable

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.boot import boot
from backend.emulator.machine import Machine, MachineSpec, NodeSpec
from backend.emulator.mm.mmap import mmap
from backend.emulator.profile import PROFILES
from backend.emulator.scenario.layout import populate
from backend.emulator.tasks.life import spawn
from backend.nodeset import CpuSet
from backend.placement.survey import ProcessRow
from numatui.tui.app import NumatuiApp
from numatui.tui.reading.reader import SnapshotRead
from numatui.tui.screens.processes import ProcessesScreen

PROCESSES, NODES, SIZE = 5000, 8, (160, 50)
ROUNDS = 60


def machine() -> Machine:
    """Each process has some pages on two nodes, and a node where it runs."""
    import numpy as np

    nodes = [NodeSpec(node, 1 << 16, CpuSet([node])) for node in range(NODES)]
    distances = {(a, b): 10 if a == b else 20 for a in range(NODES) for b in range(NODES)}
    m = boot(MachineSpec(PROFILES["linux-6"], nodes, distances))
    for number in range(PROCESSES):
        task = spawn(m, f"task{number}", cpu=number % NODES, command=f"/usr/bin/task{number} --serve", uid=number % 7)
        pages = 4 + number % 29
        vma = mmap(m, task, pages)
        populate(m, vma, np.arange(pages // 2), number % NODES)
        populate(m, vma, np.arange(pages // 2, pages), (number // 3) % NODES)
    return m


def changed(rows: Sequence[ProcessRow], turn: random.Random, share: float) -> tuple[ProcessRow, ...]:
    """The next reading: a part of the processes ran elsewhere and has other memory."""
    out: list[ProcessRow] = []
    for row in rows:
        if turn.random() < share and row.by_node:
            cpu = turn.randrange(NODES)
            by_node = {node: amount + 4096 * turn.randrange(4) for node, amount in row.by_node.items()}
            row = replace(row, process=replace(row.process, cpu=cpu), node=cpu, by_node=by_node, runs_on={cpu: 1.0})
        out.append(row)
    return tuple(out)


def p95(values: Sequence[float]) -> float:
    return sorted(values)[max(0, int(len(values) * 0.95) - 1)]


class Painted:
    """When the screen was painted last."""

    def __init__(self, app: App[int], pilot: Pilot[int]) -> None:
        self.pilot, self.last = pilot, 0.0
        display = app._display

        def noted(*arguments: object, **options: object) -> None:
            display(*arguments, **options)  # type: ignore[arg-type]
            self.last = time.perf_counter()

        app._display = noted  # type: ignore[method-assign]

    async def settled(self) -> None:
        """Until all that was asked for is done."""
        await self.pilot.pause()

    async def since(self, before: float) -> float:
        """Milliseconds from then until the last time that something was painted for it."""
        await self.settled()
        return max(0.0, self.last - before) * 1000


async def ours(kernel: EmulatedKernel) -> tuple[tuple[ProcessRow, ...], dict[str, float]]:
    """Milliseconds."""
    app = NumatuiApp(kernel, interval=0)
    out: dict[str, float] = {}
    began = time.perf_counter()
    async with app.run_test(size=SIZE) as pilot:
        up = time.perf_counter()
        while app.snapshot is None:
            await asyncio.sleep(0.001)
        painted = Painted(app, pilot)
        await painted.settled()
        out["first table after start"] = (time.perf_counter() - up) * 1000
        out["start of Textual"] = (up - began) * 1000
        screen = app.screen
        assert isinstance(screen, ProcessesScreen)
        snapshot, turn = app.snapshot, random.Random(1)
        busy: list[float] = []
        for share in (0.02, 0.2):
            busy.clear()
            for _ in range(ROUNDS):
                snapshot = replace(snapshot, rows=changed(snapshot.rows, turn, share))
                before = time.thread_time()
                app.post_message(SnapshotRead(snapshot))
                await painted.settled()
                busy.append((time.thread_time() - before) * 1000)
            out[f"refresh, {share:.0%} changed, median"] = statistics.median(busy)
            out[f"refresh, {share:.0%} changed, p95"] = p95(busy)
        busy.clear()
        for number in range(ROUNDS):
            key = ("j", "pagedown", "M", "end", "N", "home")[number % 6]
            before = time.perf_counter()
            app.post_message(events.Key(key, key if len(key) == 1 else None))
            busy.append(await painted.since(before))
        out["key to paint, p95"] = p95(busy)
        busy.clear()
        await pilot.press("slash")
        for char in "task4 local<60":
            before = time.perf_counter()
            app.post_message(events.Key({" ": "space", "<": "less_than_sign"}.get(char, char), char))
            busy.append(await painted.since(before))
        out["key to paint while filtering, p95"] = p95(busy)
        await pilot.press("escape")
        table = screen.table
        fill: list[float] = []
        for _ in range(5):
            table.listing.rows = ()
            table.arrange()
            await painted.settled()
            before = time.thread_time()
            table.update(snapshot.rows, snapshot.topology)
            await painted.settled()
            fill.append((time.thread_time() - before) * 1000)
        out["fill"] = statistics.median(fill)
        update: list[float] = []
        for _ in range(10):
            rows = changed(snapshot.rows, turn, 0.2)
            before = time.thread_time()
            table.update(rows, snapshot.topology)
            await painted.settled()
            update.append((time.thread_time() - before) * 1000)
        out["update"] = statistics.median(update)
        return snapshot.rows, out


class Plain(App[int]):
    """The same columns in Textual's table."""

    def compose(self) -> ComposeResult:
        yield DataTable(cursor_type="row")


async def theirs(rows: Sequence[ProcessRow]) -> dict[str, float]:
    """Filling a DataTable with the same columns, updating the cells that changed, and sorting again."""
    app, turn, out = Plain(), random.Random(2), dict[str, float]()
    names = [
        "pid",
        "user",
        "command",
        "cpu",
        "rss",
        "local",
        *[f"n{node}" for node in range(NODES)],
        "policy",
        "cpuset",
    ]

    def line(row: ProcessRow) -> list[str]:
        from numatui.format import percent, size
        from numatui.tui.paint.cells import where

        by_node = row.by_node or {}
        return [
            str(row.process.pid),
            row.process.user,
            row.process.command,
            where(row),
            size(row.resident),
            percent(row.local),
            *[size(by_node.get(node, 0)) for node in range(NODES)],
            row.policy,
            row.process.cpuset,
        ]

    async with app.run_test(size=SIZE) as pilot:
        table, painted = app.query_one(DataTable), Painted(app, pilot)
        for name in names:
            table.add_column(name, key=name)
        fill: list[float] = []
        for _ in range(3):
            table.clear()
            await painted.settled()
            before = time.thread_time()
            for row in rows:
                table.add_row(*line(row), key=str(row.process.pid))
            table.sort("rss", key=_size_of, reverse=True)
            await painted.settled()
            fill.append((time.thread_time() - before) * 1000)
        out["fill"] = statistics.median(fill)
        known = {row.process.pid: line(row) for row in rows}
        update: list[float] = []
        for _ in range(3):
            rows = changed(rows, turn, 0.2)
            before = time.thread_time()
            for row in rows:
                fresh, last = line(row), known[row.process.pid]
                for name, text, old in zip(names, fresh, last, strict=True):
                    if text != old:
                        table.update_cell(str(row.process.pid), name, text)
                known[row.process.pid] = fresh
            table.sort("rss", key=_size_of, reverse=True)
            await painted.settled()
            update.append((time.thread_time() - before) * 1000)
        out["update"] = statistics.median(update)
    return out


def _size_of(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)([BKMGTP]?)", text)
    return float(match[1]) * 1024 ** "BKMGTP".index(match[2] or "B") if match and match[1] != "." else 0.0


async def memory(refreshes: int) -> None:
    """Resident memory over many refreshes with a fifth of the processes changed in each."""
    app = NumatuiApp(EmulatedKernel(machine()), interval=0)
    async with app.run_test(size=SIZE) as pilot:
        while app.snapshot is None:
            await asyncio.sleep(0.01)
        turn = random.Random(3)
        several = [replace(app.snapshot, rows=changed(app.snapshot.rows, turn, 0.2)) for _ in range(8)]
        first = 0
        for number in range(refreshes + 1):
            app.post_message(SnapshotRead(several[number % 8]))
            await pilot.pause()
            if number % max(1, refreshes // 10) == 0:
                now = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
                first = first or now
                print(f"{number:>6} refreshes: {now >> 20} MiB, {now / first:.3f} x of the first", flush=True)


def rest(processes: int) -> None:
    """CPU seconds in half a minute, each showing the same processes once a second."""
    sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(processes)]
    try:
        used: dict[str, float] = {}
        for name, command in (("htop", "htop -d 10"), ("numatui", f"{sys.executable} -m numatui --live")):
            session = ["tmux", "-L", f"bench-{os.getpid()}-{name}", "-f", "/dev/null"]
            subprocess.run([*session, "new-session", "-d", "-x", "160", "-y", "50", f"exec {command}"], check=True)
            time.sleep(6)
            pane = subprocess.run(
                [*session, "display-message", "-p", "#{pane_pid}"], capture_output=True, text=True, check=True
            )
            pid = int(pane.stdout)
            before = _cpu(pid)
            time.sleep(30)
            used[name] = _cpu(pid) - before
            subprocess.run([*session, "kill-server"], check=True)
        for name, seconds in used.items():
            print(f"{name:<8} {seconds / 30:.1%} of one CPU, {seconds / used['htop']:.1f} x htop")
    finally:
        for one in sleepers:
            one.kill()


def _cpu(pid: int) -> float:
    """Seconds that its threads have run. Not utime and stime: these count whole ticks, 10 ms, of who runs when one
    comes, and both wake up with it."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(one.read_text().split()[0]) for one in tasks) / 1e9


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["memory"]:
        asyncio.run(memory(int(words[1]) if len(words) > 1 else 10_000))
    elif words[:1] == ["rest"]:
        rest(int(words[1]) if len(words) > 1 else 300)
    else:
        rows, mine = asyncio.run(ours(EmulatedKernel(machine())))
        for name, value in mine.items():
            print(f"{name:<40} {value:8.1f} ms")
        others = asyncio.run(theirs(rows))
        for name, value in others.items():
            print(f"DataTable, {name:<29} {value:8.1f} ms: {value / mine[name]:.1f} x ours")


if __name__ == "__main__":
    main()
