"""Cpusets of cgroup v2: the same on a real kernel and on the emulated machine."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from backend.kernel import Mode, ModeFlag
from backend.nodeset import NodeSet
from backend.process.process import read_process
from tests.guest.inside.contract.boxes import Box, Victim, lines, migrate_pages, move

REGIONS: dict[str, dict[str, Any]] = {
    "bound": {"on": {0: 6}},
    "spread": {"on": {}, "untouched": 6},
    "static": {"on": {0: 2, 1: 4}},
}


def confined(box: Box, cpuset: str, on: dict[int, int]) -> Victim:
    """A victim in a cpuset of nodes 0 and 1, with the regions besides."""
    one = box.victim(on, more=REGIONS)
    one.bind(Mode.BIND, [0], region="bound")
    one.bind(Mode.INTERLEAVE, [0, 1], region="spread")
    one.bind(Mode.BIND | ModeFlag.STATIC_NODES, [0, 1], region="static")
    one.touch()
    attach(box, cpuset, one)
    return one


def attach(box: Box, cpuset: str, one: Victim) -> None:
    box.kernel.write(f"{cpuset}/cgroup.procs", f"{one.pid}\n".encode())


def write(box: Box, cpuset: str, mems: str) -> None:
    box.kernel.write(f"{cpuset}/cpuset.mems", f"{mems}\n".encode())


def where(box: Box, one: Victim) -> dict[str, tuple[str, dict[int, int]]]:
    """Region → its policy and its pages by node."""
    out: dict[str, tuple[str, dict[int, int]]] = {}
    for name in ("memory", *REGIONS):
        (policy,) = {line.policy for line in lines(box, one, name)}
        out[name] = policy, one.pages(name)
    return out


def test_pages_and_policies_follow_the_nodes_of_a_cpuset(box: Box) -> None:
    cpuset, other = box.cpuset("one", "0-1"), box.cpuset("other", "2")
    one = confined(box, cpuset, {0: 8, 1: 4})
    begin = {
        "memory": ("default", {0: 8, 1: 4}),
        "bound": ("bind:0", {0: 6}),
        "spread": ("interleave:0-1", {0: 3, 1: 3}),
        "static": ("bind=static:0-1", {0: 2, 1: 4}),
    }
    assert where(box, one) == begin
    write(box, cpuset, "2-3")
    assert where(box, one) == {
        "memory": ("default", {2: 8, 3: 4}),
        "bound": ("bind:2", {2: 6}),
        "spread": ("interleave:2-3", {2: 3, 3: 3}),
        "static": ("bind=static:2-3", {2: 2, 3: 4}),
    }
    write(box, cpuset, "1-2")
    assert where(box, one) == {
        "memory": ("default", {1: 8, 2: 4}),
        "bound": ("bind:1", {1: 6}),
        "spread": ("interleave:1-2", {1: 3, 2: 3}),
        "static": ("bind=static:1", {1: 2, 2: 4}),
    }
    assert read_process(box.kernel, one.pid).mems_allowed == NodeSet([1, 2])
    attach(box, other, one)
    assert where(box, one) == {
        "memory": ("default", {2: 12}),
        "bound": ("bind:2", {2: 6}),
        "spread": ("interleave:2", {2: 6}),
        "static": ("bind=static:2", {2: 6}),
    }
    write(box, other, "0-3")
    widened = where(box, one)
    assert {name: pages for name, (_, pages) in widened.items()} == {
        "memory": {2: 12}, "bound": {2: 6}, "spread": {2: 6}, "static": {2: 6}
    }  # fmt: skip
    assert widened["static"][0] == "bind=static:0-1"
    one.verify()


def test_refused_writes_change_nothing(box: Box) -> None:
    cpuset = box.cpuset("one", "0-1")
    one = box.victim({0: 8})
    attach(box, cpuset, one)
    for file, data, number in (
        ("cpuset.mems", "9", errno.EINVAL),
        ("cpuset.mems", "1,4", errno.EINVAL),
        ("cpuset.mems", "1024", errno.ERANGE),
        ("cpuset.mems", "1-0", errno.EINVAL),
        ("cpuset.cpus", "0-4", errno.ERANGE),
        ("cgroup.procs", "2", errno.EINVAL),
        ("cgroup.procs", "3999999", errno.ESRCH),
        ("cpuset.mems.effective", "0", errno.EINVAL),
    ):
        with pytest.raises(OSError) as caught:
            box.kernel.write(f"{cpuset}/{file}", data.encode())
        assert caught.value.errno == number, (file, data)
    assert read_process(box.kernel, one.pid).mems_allowed == NodeSet([0, 1])
    assert one.pages() == {0: 8}


def test_linux_7_gives_a_cpuset_without_mems_those_above_it_others_refuse(box: Box) -> None:
    cpuset = box.cpuset("one", "0-1")
    one = box.victim({0: 8})
    attach(box, cpuset, one)
    if box.version >= (7, 0):
        box.kernel.write(f"{cpuset}/cpuset.mems", b"\n")
        assert read_process(box.kernel, one.pid).mems_allowed == NodeSet(range(4))
    else:
        with pytest.raises(OSError) as caught:
            box.kernel.write(f"{cpuset}/cpuset.mems", b"\n")
        assert caught.value.errno == errno.ENOSPC
    assert one.pages() == {0: 8}


def test_only_migrate_pages_reaches_nodes_outside_of_a_cpuset(box: Box) -> None:
    one = box.victim({0: 8})
    attach(box, box.cpuset("one", "0-1"), one)
    with pytest.raises(OSError) as caught:
        move(box, one.pid, list(one.addresses()), 2)
    assert caught.value.errno == errno.EACCES
    assert one.pages() == {0: 8}
    assert move(box, one.pid, list(one.addresses()), 1) == [1] * 8
    assert migrate_pages(box, one.pid, [1], [2]) == 0
    assert one.pages() == {2: 8}
    one.verify()


def test_auto_goes_outside_of_a_cpuset_by_migrate_pages_and_warns(box: Box) -> None:
    one = box.victim({0: 8})
    attach(box, box.cpuset("one", "0-1"), one)
    arguments = (one.pid, "--from", "0", "--to", "2", "--yes", "--json")
    for method in ("move_pages", "auto"):
        refused = box.numatui("migrate", *arguments, "--method", method)
        assert refused.code == 7, refused
        assert refused.json["outcomes"][0]["left"] == {"refused": 8 * 4096}
    done = box.numatui("migrate", *arguments, "--all")
    assert done.code == 0, done
    assert "cpuset" in {warning["code"] for warning in done.json["plan"]["warnings"]}
    assert done.json["outcomes"][0]["method"] == "move_pages+migrate_pages"
    assert one.pages() == {2: 8}
    one.verify()


def test_confining_moves_gently_and_ends_with_the_cpuset_at_the_targets(box: Box) -> None:
    cpuset = box.cpuset("one", "0-1")
    one = confined(box, cpuset, {0: 8, 1: 4})
    done = box.numatui("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--yes", "--json", "--cpuset")
    outcome = done.json["outcomes"][0]
    assert set(outcome["left"]) <= {"shared"}, f"only of its program, which others run too: {done}"
    assert done.json["cpusets"][0]["before"] == [0, 1]
    assert done.json["cpusets"][0]["after"] == [2, 3]
    assert outcome["method"] == "move_pages"
    assert outcome["moved"] >= (8 + 4 + 6 + 6 + 6) * 4096
    assert read_process(box.kernel, one.pid).mems_allowed == NodeSet([2, 3])
    assert where(box, one) == {
        "memory": ("default", {2: 8, 3: 4}),
        "bound": ("bind:2", {2: 6}),
        "spread": ("interleave:2-3", {2: 3, 3: 3}),
        "static": ("bind=static:2-3", {2: 2, 3: 4}),
    }
    one.verify()


NOT_EXCLUSIVE = "invalid (Cpu list in cpuset.cpus not exclusive)"
PARTITIONS: list[tuple[str, str, str, str, str, str]] = [
    # a write to p or q; then the root's CPUs, p's CPUs and partition, and q's partition
    ("p partition", "root", "0-3", "0-3", "root invalid (cpuset.cpus is empty)", "member"),
    ("p partition", "member", "0-3", "0-3", "member", "member"),
    ("p cpus", "1", "0-3", "1", "member", "member"),
    ("p partition", "root", "0,2-3", "1", "root", "member"),
    ("q cpus", "1-2", "0-3", "1", f"root {NOT_EXCLUSIVE}", "member"),
    ("q partition", "isolated", "0-3", "1", f"root {NOT_EXCLUSIVE}", f"isolated {NOT_EXCLUSIVE}"),
    ("q partition", "member", "0-3", "1", f"root {NOT_EXCLUSIVE}", "member"),
    ("q cpus", "2", "0-3", "1", f"root {NOT_EXCLUSIVE}", "member"),
    ("p partition", "root", "0-3", "1", f"root {NOT_EXCLUSIVE}", "member"),
    ("q partition", "isolated", "0-1,3", "1", f"root {NOT_EXCLUSIVE}", "isolated"),
    ("p cpus", "1-3", "0-3", "1-3", f"root {NOT_EXCLUSIVE}", f"isolated {NOT_EXCLUSIVE}"),
    ("p cpus", "0-3", "0-3", "0-3", "root invalid (Parent unable to distribute cpu downstream)",
     f"isolated {NOT_EXCLUSIVE}"),
    ("p partition", " member ", "0-3", "0-3", "member", f"isolated {NOT_EXCLUSIVE}"),
]  # fmt: skip


def test_partitions_take_cpus_and_say_why_they_cannot(box: Box) -> None:
    if box.version >= (6, 7):
        pytest.skip("with cpuset.cpus.exclusive partitions beside each other do otherwise; the emulator has it not")
    folders = {name: box.cpuset(name, "0-3") for name in ("p", "q")}
    root = folders["p"].removesuffix("/p")

    def read(path: str) -> str:
        return box.kernel.read(path).decode().strip()

    for step in PARTITIONS:
        name, _, file = step[0].partition(" ")
        box.kernel.write(f"{folders[name]}/cpuset.cpus{'.partition' if file == 'partition' else ''}", step[1].encode())
        assert step[2:] == (
            read(f"{root}/cpuset.cpus.effective"),
            read(f"{folders['p']}/cpuset.cpus.effective"),
            read(f"{folders['p']}/cpuset.cpus.partition"),
            read(f"{folders['q']}/cpuset.cpus.partition"),
        ), step
    for word in ("nonsense", "1"):
        with pytest.raises(OSError) as caught:
            box.kernel.write(f"{folders['p']}/cpuset.cpus.partition", word.encode())
        assert caught.value.errno == errno.EINVAL
    box.kernel.write(f"{folders['p']}/cpuset.cpus.partition", b"")
