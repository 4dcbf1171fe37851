"""What of a process's memory is used, on a real kernel: exactly what a program touches, on the nodes where it lies."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.guest.inside import rig
from tests.guest.inside.rig import LinuxVictim, MakeVictim, Numatui, numatui


@contextmanager
def touching(victim: LinuxVictim) -> Iterator[None]:
    """It touches all its pages again and again, in turn with this thread on the same processor: QEMU's TLB keeps what
    it has until the address space changes, and a page that is in a TLB gets no accessed bit (seen: 8 of 400 pages in
    one window, all in the next; a real CPU, 6.18: all of 3,000 in each)."""
    stop = threading.Event()

    def touch() -> None:
        os.sched_setaffinity(0, os.sched_getaffinity(victim.pid))  # of this thread alone
        while not stop.is_set():
            victim.touch()

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def of(document: dict[str, Any], addresses: range) -> tuple[int, int, dict[str, int]]:
    """Resident and hot bytes of the mappings that begin in a range of addresses, and the hot ones by node."""
    inside = [one for one in document["ranges"] if int(one["start"], 16) in addresses]
    by_node: dict[str, int] = {}
    for one in inside:
        for node, amount in one["hot_nodes"].items():
            by_node[node] = by_node.get(node, 0) + amount
    return sum(one["resident"] for one in inside), sum(one["hot"] for one in inside), by_node


@pytest.mark.parametrize(("kind", "on"), [("anon", {0: 300, 2: 100}), ("shared", {0: 300, 2: 100}), ("thp", {2: 1024})])
def test_what_is_touched_is_hot_and_nothing_else(victim: MakeVictim, kind: str, on: dict[int, int]) -> None:
    used, idle = victim(on, kind=kind), victim({0: 300})
    size = sum(on.values()) * rig.PAGE
    nodes = {str(node): count * rig.PAGE for node, count in on.items()}
    with touching(used):
        for window in ("2s", "8s", "32s"):  # however slow the machine is, it comes round in one of them
            found = numatui("heat", used.pid, "--window", window, "--windows", "2", "--json")
            assert found.code == 0, found
            if of(found.json, used.addresses())[1] == size:
                break
    assert of(found.json, used.addresses()) == (size, size, nodes)
    found = numatui("heat", idle.pid, "--window", "200ms", "--windows", "1", "--json")
    assert of(found.json, idle.addresses())[:2] == (300 * rig.PAGE, 0)


def test_its_owner_may_and_others_may_not(victim: MakeVictim) -> None:
    one = victim({0: 50}, uid=rig.USER)
    assert numatui("heat", one.pid, "--window", "100ms", "--windows", "1", uid=rig.USER).code == 0
    numatui("heat", one.pid, "--window", "100ms", uid=rig.OTHER).refused(3)


def test_a_process_that_ends_meanwhile(victim: MakeVictim) -> None:
    one = victim({0: 50})
    running = Numatui(("heat", str(one.pid), "--window", "2s", "--windows", "100"))
    one.end()
    running.wait().refused(4)
