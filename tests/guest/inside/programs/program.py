"""Programs of the distribution, started in the guest, moved while they work, and taken back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from backend.live.kernel import LiveKernel
from backend.placement.numa_maps import read_placement
from backend.placement.placement import sum_by_node
from backend.process.process import with_descendants
from tests.guest.inside.rig import MiB, Result, numatui

SERVER, CLIENT, FAR = 0, 3, 2
"""Nodes: where a program runs and fills its memory, where its clients and pytest run, and where it moves to."""
PATIENCE = 600
"""Seconds after which a program that must answer counts as one that does not: generous, the guest is slow."""


def need(program: str, *folders: str) -> str:
    """Where a program of the distribution is. Without it the test fails or is skipped."""
    found = shutil.which(program, path=os.pathsep.join([*folders, os.environ["PATH"], "/usr/sbin"]))
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


@cache
def loopback() -> None:
    """127.0.0.1 answers: the guest begins without."""
    subprocess.run([need("ip"), "link", "set", "lo", "up"], check=True)


@dataclass
class Program:
    """A running program with its descendants. `log`: what it said."""

    process: subprocess.Popen[Any]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def run_on(self, node: int) -> None:
        """All threads of it and of its descendants run on the CPUs of a node from now on."""
        for pid in with_descendants(LiveKernel(), [self.pid]):
            subprocess.run(
                ["taskset", "-apc", Path(f"/sys/devices/system/node/node{node}/cpulist").read_text().strip(), str(pid)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
            )  # fmt: skip


@contextmanager
def running(
    command: Sequence[str | Path], folder: Path, on: int = SERVER, stop: int = signal.SIGTERM, **how: Any
) -> Iterator[Program]:
    """A program on the CPUs of a node, ended afterwards with a signal. `how`: as for Popen."""
    log = folder / f"{Path(command[0]).name}.log"
    cpus = Path(f"/sys/devices/system/node/node{on}/cpulist").read_text().strip()
    with open(log, "wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", cpus, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, **how
        )
    try:
        yield Program(process, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(stop)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()


def memory(*pids: int) -> dict[int, int]:
    """Node → bytes of these processes, as numa_maps has it; a shared page counts in each."""
    return sum_by_node(read_placement(LiveKernel(), pid).bytes_by_node for pid in pids)


def there_and_back(program: Program, *options: str, tree: bool = False) -> None:
    """Moves all of it from SERVER to FAR, asks the kernel, and takes it back. `tree`: its descendants too."""
    state = Path(tempfile.mkdtemp(prefix="numatui-state-"))
    pids = with_descendants(LiveKernel(), [program.pid]) if tree else [program.pid]
    had = memory(*pids)[SERVER]
    program.run_on(FAR)
    where = ("--tree", "--from", SERVER, "--to", FAR) if tree else ("--from", SERVER, "--to", FAR)
    there = numatui("migrate", program.pid, *where, "--yes", "--json", *options, state=state)
    moved = _moved(there)
    assert memory(*alive(pids)).get(SERVER, 0) <= _left(there, "shared") + had // 10, there
    program.run_on(SERVER)
    back = numatui("undo", "--yes", "--json", state=state)
    # Pages that are in use at this moment stay: of huge ones, which several processes have, a few are much.
    assert _moved(back) + _left(back, "busy") >= moved * 9 // 10, (there, back)


def _moved(done: Result) -> int:
    """Bytes. What stayed is shared with others, in use for I/O, or was freed meanwhile."""
    assert done.code in (0, 6), done
    reasons = {reason for outcome in _outcomes(done) for reason, amount in outcome["left"].items() if amount}
    assert reasons <= {"gone", "busy", "unmovable", "process-ended", "shared"}, done
    moved = sum(outcome["moved"] for outcome in _outcomes(done))
    assert moved > MiB, done
    return moved


def _left(done: Result, reason: str) -> int:
    return sum(outcome["left"].get(reason, 0) for outcome in _outcomes(done))


def _outcomes(done: Result) -> list[dict[str, Any]]:
    return done.json.get("outcomes") or [done.json["outcome"]]


def alive(pids: Sequence[int]) -> list[int]:
    """Those that have not ended: servers start and end processes of their own."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]
