"""Many processes and large ones on this machine, beside `numastat -p` of the same: `scale.py [PROCESSES [GIB]]`, 5,000
and 16. Whole commands, start-up included; seconds, and the most memory of each. Run as root."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

NAME = "numatui-idler"
LARGE = """
import mmap, sys
memory = mmap.mmap(-1, int(sys.argv[1]), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
for at in range(0, len(memory), 4096): memory[at] = 1
print(flush=True)
sys.stdin.read()
"""
NUMATUI = (sys.executable, "-m", "numatui")


@contextmanager
def idlers(count: int) -> Iterator[str]:
    """So many processes that sleep."""
    script = f"i=0; while [ $i -lt {count} ]; do sh -c 'exec -a {NAME} sleep 10000' & i=$((i+1)); done; echo up; wait"
    parent = subprocess.Popen(["bash", "-c", script.replace("sh -c", "bash -c")], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    parent.stdout.readline()
    time.sleep(5)
    try:
        yield NAME
    finally:
        subprocess.run(["pkill", "-f", NAME], check=False)
        parent.wait()


@contextmanager
def large(size: int) -> Iterator[str]:
    """A process with so many bytes of small pages."""
    command = [sys.executable, "-c", LARGE, str(size)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield str(process.pid)
    finally:
        process.kill()
        process.wait()


def timed(command: Sequence[str]) -> tuple[float, float, float]:
    """(seconds, seconds of CPU time, MiB at most) of a command: the best of three."""
    found: list[tuple[float, float, float]] = []
    for _ in range(3):
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        found.append((time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
    return min(found)


def compare(what: str, reference: Sequence[str], others: Sequence[Sequence[str]]) -> None:
    print(what)
    base = timed(reference)
    print(f"  {' '.join(reference)[:60]:60} {base[0]:6.2f} s  CPU {base[1]:6.2f} s  {base[2]:5.0f} MiB")
    for command in others:
        one = timed(command)
        name = " ".join(["numatui", *command[len(NUMATUI) :]])
        print(
            f"  {name[:60]:60} {one[0]:6.2f} s  CPU {one[1]:6.2f} s  {one[2]:5.0f} MiB  "
            f"{one[0] / base[0]:.2f} × the time, {one[1] / base[1]:.2f} × the CPU time"
        )


def numatui(*words: str) -> list[str]:
    return [*NUMATUI, *words]


def main(count: int = 5000, gib: int = 16) -> None:
    raise_limits()
    with idlers(count) as name:
        ways: list[list[str]] = [numatui("ps", name, "--json"), numatui("ps", "--json"), numatui("advise", "--json")]
        compare(f"{count} processes", ["numastat", "-p", name], ways)
    with large(gib << 30) as pid:
        ways = [
            numatui("ps", pid, "--json"),
            numatui("show", pid, "--json"),
            numatui("plan", pid, "--from", "0", "--to", "0", "--json"),
        ]
        compare(f"one process of {gib} GiB of small pages", ["numastat", "-p", pid], ways)


def raise_limits() -> None:
    """As many processes as asked for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
