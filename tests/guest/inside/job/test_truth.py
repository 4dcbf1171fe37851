"""What is told is what the kernel says afterwards, of everybody's pages; and nothing is done that was not announced."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from backend.nodeset import CpuSet
from tests.guest.inside import rig
from tests.guest.inside.cgroups import Groups, charge, put
from tests.guest.inside.rig import OTHER, PAGE, USER, LiveKernel, MakeVictim, MiB, Numatui, numatui

OWNER = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, int(sys.argv[2]))
memory = mmap.mmap(fd, int(sys.argv[2]))
for at in range(0, len(memory), 4096): memory[at] = 1
print("ready", flush=True)
sys.stdin.read()
"""
ATTACKER = """
import ctypes, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size = int(sys.argv[2])
theirs = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
sum(theirs[at] for at in range(0, size, 4096))
own = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
own.madvise(mmap.MADV_NOHUGEPAGE)
for at in range(0, size, 4096): own[at] = 1
start = ctypes.addressof(ctypes.c_char.from_buffer(own))
assert not ctypes.CDLL(None).mprotect(ctypes.c_void_p(start), ctypes.c_size_t(size // 2), 0)
print("ready", flush=True)
cpus = sys.stdin.readline()
if cpus:
    os.sched_setaffinity(0, map(int, cpus.split(",")))
    while True:
        for at in range(size // 2, size, 4096): own[at] = 1
"""


@contextmanager
def program(code: str, uid: int, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Runs on node 0, where its memory lies then."""
    cpus = cpus_of(0)
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, user=uid, group=uid, extra_groups=[], preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    ) as one:  # fmt: skip
        stdout: IO[str] | None = one.stdout
        assert stdout is not None
        assert stdout.readline() == "ready\n"
        yield one
        one.kill()


def cpus_of(node: int) -> set[int]:
    return set(CpuSet.parse_list(Path(f"/sys/devices/system/node/node{node}/cpulist").read_text().strip()))


def shared(pid: int, path: Path) -> dict[int, int]:
    """Node → pages of that file, as the process has them."""
    (vma,) = [vma for vma in rig.read_placement(LiveKernel(), pid).vmas if vma.file == str(path)]
    return vma.pages


@pytest.mark.parametrize("options", [(), ("--method", "migrate_pages")])
def test_memory_of_another_user_that_a_process_maps_stays_where_it_is(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Half of the process's own pages are inaccessible and so look hidden: no reason to move what others map."""
    path = Path("/dev/shm/theirs")
    with program(OWNER, OTHER, path, 4 * MiB) as owner, program(ATTACKER, USER, path, 4 * MiB) as attacker:
        before = shared(owner.pid, path)
        assert sum(before.values()) == 1024
        done = numatui("migrate", attacker.pid, "--from", "0", "--to", "2", "--yes", "--json", *options)
        assert shared(owner.pid, path) == before
    path.unlink()
    if options:
        done.refused(7, "for everybody", "--all")
        return
    assert "fallback" not in {warning["code"] for warning in done.json["plan"]["warnings"]}
    (outcome,) = done.json["outcomes"]
    assert outcome["method"] == "move_pages"
    assert outcome["left"]["shared"] >= 4 * MiB
    assert done.code in (0, 6), done


def test_the_mover_leaves_memory_of_another_user_that_a_process_maps(tmp_path: Path) -> None:
    """Allowed by its user, and running far from all that it maps."""
    path, policy = Path("/dev/shm/theirs"), tmp_path / "policy.yaml"
    policy.write_text(
        "{interval: 1s, settle: 2s, readings: 2, min_size: 1M, cooldown: 1h, confidence: low, "
        f"allow: [{{user: '{USER}'}}]}}"
    )
    policy.chmod(0o600)
    with program(OWNER, OTHER, path, 8 * MiB) as owner, program(ATTACKER, USER, path, 8 * MiB) as attacker:
        before = shared(owner.pid, path)
        assert attacker.stdin is not None
        attacker.stdin.write(",".join(map(str, cpus_of(2))) + "\n")
        attacker.stdin.flush()
        done = numatui(
            "watch", "--policy", policy, "--rounds", "8", "--apply", "--json", "-v", state=tmp_path / "state"
        )
        assert shared(owner.pid, path) == before
        told = [json.loads(line) for line in done.out.splitlines()]
        moves = [one for one in told if one["event"] in ("moved", "failed") and one["pid"] == attacker.pid]
    path.unlink()
    assert moves, done


def test_everybody_in_the_cpuset_is_told_and_undo_restores_it(v2: Groups, victim: MakeVictim, tmp_path: Path) -> None:
    group = v2.make("box", cpuset__mems="0-1")
    one, other = victim({}), victim({})
    for each in (one, other):
        put(each, group)
        charge(each, {0: 300, 1: 200})
    before = one.where(), other.where()
    arguments = ("migrate", one.pid, "--from", "0", "--to", "2", "--cpuset", "--yes", "--json")
    plan = numatui("plan", *arguments[1:6], "--cpuset", "--json").json
    assert {process["pid"]: process["confined"] for process in plan["processes"]} == {one.pid: False, other.pid: True}
    assert "confined" in {warning["code"] for warning in plan["warnings"]}
    done = numatui(*arguments, state=tmp_path)
    assert done.code == 0, done
    assert done.json["cpusets"][0]["now"] == [2]
    assert one.pages("more") == other.pages("more") == {2: 500}
    for told in done.json["outcomes"]:
        assert set(told["after"]) == {"2"}, told
        assert told["left"] == {}, told
        assert told["moved"] >= 500 * PAGE
    back = numatui("undo", "--yes", "--json", state=tmp_path)
    assert back.code == 0, back
    assert (group / "cpuset.mems").read_text() == "0-1\n"
    assert (one.where(), other.where()) == before
    one.verify()
    other.verify()


@pytest.mark.parametrize("number", range(3))
def test_killed_while_it_confines_it_is_taken_back(v2: Groups, victim: MakeVictim, tmp_path: Path, number: int) -> None:
    group = v2.make("box", cpuset__mems="0-1")
    one = victim({})
    put(one, group)
    charge(one, {0: 2000, 1: 1000})
    before = one.where()
    words = ("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--cpuset", "--yes", "--json", "--max-rate", "8MiB")
    command = Numatui(tuple(map(str, words)), state=tmp_path)
    rig.wait_until(lambda: (group / "cpuset.mems").read_text() != "0-1\n", "the cpuset is widened")
    time.sleep(random.Random(number).uniform(0, 1.5))
    os.kill(command.pid, signal.SIGKILL)
    assert command.wait().code == -signal.SIGKILL
    (job,) = numatui("jobs", "--json", state=tmp_path).json["jobs"]
    assert job["state"] == "interrupted"
    back = numatui("undo", "--yes", "--json", state=tmp_path)
    assert back.code == 0, back
    assert (group / "cpuset.mems").read_text() == "0-1\n"
    assert one.where() == before
    one.verify()


@pytest.mark.parametrize("end", [False, True], ids=["it moves to another cpuset", "it ends"])
def test_only_the_cpuset_that_was_widened_is_narrowed(
    v2: Groups, victim: MakeVictim, tmp_path: Path, end: bool
) -> None:
    """A process may change its cgroup, or end, while its cpuset is wider than it was."""
    box, bystander = v2.make("box", cpuset__mems="0-1"), v2.make("bystander", cpuset__mems="0-3")
    one, other = victim({}), victim({})
    put(one, box)
    put(other, bystander)
    charge(one, {0: 2000, 1: 1000})
    charge(other, {0: 300, 3: 200})
    where = other.where()
    words = ("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--cpuset", "--yes", "--json", "--max-rate", "4MiB")
    command = Numatui(tuple(map(str, words)), state=tmp_path)
    rig.wait_until(lambda: (box / "cpuset.mems").read_text() != "0-1\n", "the cpuset is widened")
    if end:
        one.end()
    else:
        put(one, bystander)
    command.wait()
    assert (bystander / "cpuset.mems").read_text() == "0-3\n"
    assert other.where() == where
    numatui("undo", "--yes", "--json", state=tmp_path)
    assert (box / "cpuset.mems").read_text() == "0-1\n"
    assert (bystander / "cpuset.mems").read_text() == "0-3\n"
    assert other.where() == where
    other.verify()


def test_a_pool_with_too_little_room_is_told_before(victim: MakeVictim) -> None:
    with rig.huge_pages(0, 8), rig.huge_pages(2, 2):
        one = victim(layout={"huge": {"on": {0: 8 * 512}, "kind": "huge"}, "small": {"on": {0: 100}}})
        plan = numatui("plan", one.pid, "--from", "0", "--to", "2")
        document = numatui("plan", one.pid, "--from", "0", "--to", "2", "--json").json
        one.end()
    assert "8 pages of its pool of 2.0M pages incoming" in plan.out
    assert "whose pool has 2 free" in plan.err
    assert document["stays"]["no-room"] == 6 * 2 * MiB
