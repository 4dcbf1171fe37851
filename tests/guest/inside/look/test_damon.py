"""Heat from DAMON, on kernels that have it: which addresses, whose kdamond, and moves of what is hot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.live.kernel import LiveKernel
from backend.nodeset import NodeSet
from tests.guest.inside import rig
from tests.guest.inside.rig import Numatui, memory_nodes, numatui

HOT, ALL = 64 << 20, 192 << 20
PROGRAM = f"""
import ctypes, mmap, os
os.sched_setaffinity(0, {{max(os.sched_getaffinity(0))}})
memory = mmap.mmap(-1, {ALL})
base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
ctypes.memset(base, 1, {ALL})
print(base, flush=True)
if os.fork() == 0:  # Beside it, so that the TLB is flushed as it is on a machine that has more to do.
    while os.getppid() != 1: pass
    os._exit(0)
while True: ctypes.memset(base + {ALL // 3}, 2, {HOT})
"""
DAMON = Path("/sys/kernel/mm/damon/admin/kdamonds")
STAT = Path("/sys/module/damon_stat/parameters/enabled")


@contextmanager
def rewriting() -> Iterator[tuple[int, int]]:
    """Pid, and where it rewrites HOT bytes again and again."""
    with subprocess.Popen([sys.executable, "-IS", "-c", PROGRAM], stdout=subprocess.PIPE) as one:
        try:
            assert one.stdout is not None
            yield one.pid, int(one.stdout.readline()) + ALL // 3
        finally:
            one.kill()


def damon_or_skip() -> None:
    if not DAMON.exists():
        pytest.skip("this kernel has no DAMON in sysfs")


def is_on() -> bool:
    try:
        return (DAMON / "0/state").read_text() == "on\n"
    except OSError:  # It is not there yet, or EBUSY: somebody is at it.
        return False


def free_damon() -> None:
    """DAMON_STAT, which some kernels have on from the start, lets nobody else in."""
    if STAT.exists():
        STAT.write_text("N")


def test_damon_finds_the_addresses() -> None:
    damon_or_skip()
    if STAT.exists() and STAT.read_text().strip() == "Y":
        found = numatui("heat", os.getpid(), "--window", "200ms", "--windows", "1", "--json")
        assert found.json["way"] == "referenced"
        assert "another part of the kernel" in found.json["why"]
    free_damon()
    with rewriting() as (pid, start):
        for window in ("1s", "4s", "16s"):  # however slow the machine is, it is found in one of them
            found = numatui("heat", pid, "--way", "damon", "--window", window, "--json")
            assert found.code == 0, found
            ranges = [(int(one["start"], 16), int(one["end"], 16), one["hot"]) for one in found.json["ranges"]]
            hot = sum(amount for _, _, amount in ranges)
            right = sum(
                amount * max(0, min(end, start + HOT) - max(first, start)) / (end - first)
                for first, end, amount in ranges
            )
            if right > HOT / 2:
                break
        assert right > HOT / 2
        assert right > hot * 0.7
    assert (DAMON / "nr_kdamonds").read_text() == "0\n"


def test_what_is_hot_moves_and_comes_back() -> None:
    """By DAMON: what it rewrites, and little else; what the kernel says afterwards is what was announced."""
    damon_or_skip()
    free_damon()
    with rewriting() as (pid, start):
        of_it = range(start - ALL // 3, start - ALL // 3 + ALL)

        def on(node: int) -> int:
            return rig.region_pages(LiveKernel(), pid, of_it).get(node, 0) * rig.PAGE

        home = max(memory_nodes(), key=on)
        away = min(memory_nodes() - NodeSet([home]))
        how = ("--from", str(home), "--to", str(away), "--hot", "--yes", "--json")
        for window in ("1s", "4s", "16s"):
            before = on(home)
            done = numatui("migrate", pid, *how, "--way", "damon", "--window", window)
            assert done.code in (0, 6), done  # 6: a page was in use by the kernel at that moment
            [outcome] = done.json["outcomes"]
            assert outcome["after"][str(away)] >= outcome["moved"] > outcome["before"][str(home)] * 0.9
            # All that left the region is in what was told, beside what else of the program is hot.
            assert 0 <= before - on(home) <= outcome["moved"]
            if before - on(home) > HOT / 2:
                break
        assert before - on(home) > HOT / 2
        assert before - on(home) < HOT * 1.6


def test_damon_is_taken_down_after_a_kill_and_others_are_left_alone() -> None:
    damon_or_skip()
    free_damon()
    number = DAMON / "nr_kdamonds"
    with rewriting() as (pid, _):
        running = Numatui(("heat", str(pid), "--way", "damon", "--window", "60s"))
        rig.wait_until(is_on, "it runs")
        # A second one does without while the first is at work.
        second = numatui("heat", pid, "--window", "200ms", "--windows", "1", "--json")
        assert (second.json["way"], number.read_text()) == ("referenced", "1\n")
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        assert number.read_text() == "1\n"
        found = numatui("heat", pid, "--way", "damon", "--window", "200ms", "--windows", "1")
        assert (found.code, number.read_text()) == (0, "0\n")
        number.write_text("1")
        (DAMON / "0/contexts/nr_contexts").write_text("1")
        try:
            numatui("heat", pid, "--way", "damon", "--window", "200ms").refused(5)
            assert numatui("heat", pid, "--window", "200ms", "--windows", "1").code == 0
            assert (DAMON / "0/contexts/nr_contexts").read_text() == "1\n"
        finally:
            number.write_text("0")
