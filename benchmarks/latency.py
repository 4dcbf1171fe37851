"""What clients feel while the memory of their service moves: the latency of GETs of Redis and of transactions of
PostgreSQL (pgbench), while nothing moves, while `migratepages` moves it, and while numatui does with several budgets.

`latency.py [redis|postgresql] [ROUNDS]`: both, 4 rounds. A round moves to another node and back by each way in turn;
counted is what ended while a move ran. Needs root, two nodes with memory, `migratepages` (package numactl) and the
programs; without such a machine: `tests/guest/guest.sh run four OUT .venv/bin/python benchmarks/latency.py`."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.job.job import Job
from backend.job.options import Options
from backend.job.planning import plan
from backend.job.request import MoveRequest
from backend.live.kernel import LiveKernel
from backend.process.process import with_descendants
from backend.selection.selection import Selection

Floats = NDArray[np.float64]
SERVER, CLIENT, FAR = 0, 1, 2
"""Nodes: where the service and its memory are, where its clients run, and where the memory goes."""
BUDGETS = {"budget 2 ms": 2_000_000, "budget 10 ms": 10_000_000, "budget 100 ms (default)": 100_000_000}
SLOWLY = "at most 20 MiB/s"
WAYS = ("nothing moves", "migratepages", *BUDGETS, SLOWLY)
KEYS, VALUE, PORT = 150_000, 1000, 7009
QUIET = 6.0
"""Seconds that count for `nothing moves`."""
POSTGRES = tuple(str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))


def program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([*POSTGRES, os.environ["PATH"]]))
    return found or sys.exit(f"{name} is not installed")


def cpus(node: int) -> str:
    return Path(f"/sys/devices/system/node/node{node}/cpulist").read_text().strip()


@contextmanager
def running(command: list[str], node: int, **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["taskset", "-c", cpus(node), *command], stdout=subprocess.DEVNULL, **how)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def wait_for(answers: Callable[[], bool]) -> None:
    for _ in range(6000):
        if answers():
            return
        time.sleep(0.02)
    sys.exit("the service does not answer")


class Redis:
    """One client in a process of its own asks for one key after the other."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        command = [program("redis-server"), "--port", str(PORT), "--save", "", "--enable-debug-command", "yes"]
        self.server = stack.enter_context(running(command, SERVER))
        wait_for(lambda: self._cli("PING") == "PONG")
        self._cli("DEBUG", "POPULATE", str(KEYS), "key", str(VALUE))
        command = [sys.executable, __file__, "client", str(folder / "gets")]
        self.client = stack.enter_context(running(command, CLIENT))

    def _cli(self, *words: str) -> str:
        done = subprocess.run([program("redis-cli"), "-p", str(PORT), *words], capture_output=True, text=True)
        return done.stdout.strip()

    def samples(self) -> Floats:
        raw = (self.folder / "gets").read_bytes()
        return np.frombuffer(raw[: len(raw) // 16 * 16], np.float64).reshape(-1, 2)


def client(path: str) -> None:
    """Writes when each GET ended, and how long it took, in seconds."""
    connection = socket.create_connection(("127.0.0.1", PORT))
    number, samples = 0, np.zeros((64, 2))
    with open(path, "wb", buffering=0) as out:
        while True:
            for index in range(len(samples)):
                number = (number + 7919) % KEYS
                began = time.monotonic()
                connection.sendall(b"GET key:%d\r\n" % number)
                got = 0
                while got < VALUE:
                    got += len(connection.recv(4096))
                samples[index] = (ended := time.monotonic()), ended - began
            out.write(samples.tobytes())


class Postgresql:
    """pgbench with two connections, as it logs its transactions."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder, self.user = folder, pwd.getpwnam("postgres").pw_uid
        folder.chmod(0o777)
        self.environment = {**os.environ, "PGHOST": str(folder), "PGUSER": "postgres"}
        self._run("initdb", "--no-sync", "-A", "trust", "-D", str(folder / "data"))
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": folder,
            "shared_buffers": "128MB",
            "fsync": "off",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        how: dict[str, Any] = {"user": self.user, "cwd": folder, "env": self.environment, "stderr": subprocess.DEVNULL}
        command = [program("postgres"), "-D", str(folder / "data"), *words]
        self.server = stack.enter_context(running(command, SERVER, **how))
        wait_for(lambda: subprocess.run([program("pg_isready"), "-q"], env=self.environment).returncode == 0)
        self._run("pgbench", "-i", "-q", "-s", "5", "postgres")
        load = ["-n", "-c", "2", "-T", "100000", "-l", "--log-prefix", str(folder / "log"), "postgres"]
        stack.enter_context(running([program("pgbench"), *load], CLIENT, **how))

    def _run(self, name: str, *words: str) -> None:
        subprocess.run(
            [program(name), *words], check=True, user=self.user, cwd=self.folder, env=self.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def samples(self) -> Floats:
        since = time.time() - time.monotonic()
        lines = [line.split() for one in self.folder.glob("log.*") for line in one.read_text().splitlines()]
        whole = [line for line in lines if len(line) >= 6]
        return np.array([(int(w[4]) + int(w[5]) / 1e6 - since, int(w[2]) / 1e6) for w in whole])


def move(way: str, pid: int, source: int, target: int) -> None:
    kernel = LiveKernel()
    if way == "nothing moves":
        time.sleep(QUIET / 2)
    elif way == "migratepages":
        for one in with_descendants(kernel, [pid]):
            subprocess.run(["migratepages", str(one), str(source), str(target)])
    else:
        everybody, rate = Selection((pid,), tree=True), 20 << 20 if way == SLOWLY else 0
        request = MoveRequest(everybody, str(source), str(target), method="move_pages", move_all=True, max_rate=rate)
        with tempfile.TemporaryDirectory() as folder:
            Job(
                kernel,
                plan(kernel, request),
                Options(budget=BUDGETS.get(way, 10_000_000), journal_dir=Path(folder) / "jobs"),
            ).run()


def measure(kind: type[Redis] | type[Postgresql], rounds: int) -> dict[str, dict[str, float]]:
    windows: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with ExitStack() as stack, tempfile.TemporaryDirectory() as name:
        service = kind(stack, Path(name))
        time.sleep(2)
        for number in range(rounds + 1):
            for way in WAYS:
                for source, target in ((SERVER, FAR), (FAR, SERVER)):
                    began = time.monotonic()
                    move(way, service.server.pid, source, target)
                    if number:  # The first round fills caches, and a guest's own memory.
                        windows[way].append((began, time.monotonic()))
                    time.sleep(0.5)
        time.sleep(1)
        samples = service.samples()
        ended, took = samples[:, 0], samples[:, 1]
    out: dict[str, dict[str, float]] = {}
    for way in WAYS:
        inside = np.zeros(len(ended), bool)
        for low, high in windows[way]:
            inside |= (ended >= low) & (ended - took <= high)
        mine = took[inside] * 1e3
        seconds = sum(high - low for low, high in windows[way]) / len(windows[way])
        out[way] = {
            "count": len(mine), "p50": float(np.percentile(mine, 50)), "p99": float(np.percentile(mine, 99)),
            "max": float(mine.max()), "seconds": seconds,
        }  # fmt: skip
    return out


def main(which: str = "", rounds: int = 4) -> None:
    Path("/proc/sys/kernel/numa_balancing").write_text("0")
    subprocess.run(["ip", "link", "set", "lo", "up"])
    print(f"Linux {os.uname().release}")
    for kind in (Redis, Postgresql):
        if which not in ("", kind.__name__.lower()):
            continue
        found = measure(kind, rounds)
        quiet, old = found["nothing moves"], found["migratepages"]
        print(f"{kind.__name__}: ms, and × of what it is while nothing moves")
        for way, one in found.items():
            print(
                f"  {way:26} p50 {one['p50']:7.2f}  p99 {one['p99']:7.1f} ({one['p99'] / quiet['p99']:4.1f} ×)  "
                f"max {one['max']:7.1f} ({one['max'] / quiet['max']:4.1f} ×, {one['max'] / old['max']:.2f} of "
                f"migratepages)  {one['count']:6.0f} in moves of {one['seconds']:.2f} s"
            )
        print(json.dumps({kind.__name__.lower(): found}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        client(sys.argv[2])
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else "", int(sys.argv[2]) if len(sys.argv) > 2 else 4)
