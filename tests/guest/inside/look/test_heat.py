"""What of a process's memory is used, on a real kernel: exactly what a program touches, on the nodes where it lies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.guest.inside import rig
from tests.guest.inside.rig import LinuxVictim, MakeVictim, Numatui, numatui


@contextmanager
def touching(victim: LinuxVictim) -> Iterator[None]:
    """It touches all its pages again and again."""
    stop = threading.Event()

    def touch() -> None:
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
    with touching(used):
        found = numatui("heat", used.pid, "--window", "2s", "--windows", "2", "--json")
    assert found.code == 0, found
    nodes = {str(node): count * rig.PAGE for node, count in on.items()}
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
