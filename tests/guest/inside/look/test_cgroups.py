"""numatui cgroups and cpuset on a kernel with four nodes: cgroup v1 first, which takes its controllers back from v2."""

from __future__ import annotations

import contextlib
import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.guest.inside.cgroups import V2, Groups, charge, put
from tests.guest.inside.rig import PAGE, USER, MakeVictim, mounted, numatui, wait_until

NOISE = 16
"""Pages of programs and page tables that come and go on the node where a victim runs, and batches of the kernel's
sums."""


@contextlib.contextmanager
def version1(controller: str) -> Iterator[Groups]:
    """A hierarchy of cgroup v1 with one controller; v2 has it again afterwards. The kernel keeps a hierarchy that is
    unmounted while removed cgroups still linger in it: they are waited for. Skips the test where the kernel has no such
    controller any more."""
    if not has_version1(controller):
        pytest.skip(f"this kernel has no {controller} of cgroup v1")
    with mounted("cgroup", controller, Path(f"/run/{controller}")) as root:
        groups = Groups(root)
        yield groups
        groups.remove()
        Path("/proc/sys/vm/drop_caches").write_text("3")
        wait_until(lambda: cgroups_with(controller) == 1, f"the cgroups with {controller} are gone")
    wait_until(lambda: controller in (V2 / "cgroup.controllers").read_text().split(), f"v2 has {controller}")


def has_version1(controller: str) -> bool:
    """Whether the controller can be mounted as cgroup v1."""
    folder = Path(f"/run/try-{controller}")
    folder.mkdir(exist_ok=True)
    tried = subprocess.run(
        ["mount", "-t", "cgroup", "-o", controller, "cgroup", folder], capture_output=True, check=False
    )
    if tried.returncode == 0:
        subprocess.run(["umount", folder], check=True)
    return tried.returncode == 0


def cgroups_with(controller: str) -> int:
    """How many the kernel has, the root and those that linger included (/proc/cgroups)."""
    lines = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()]
    return next(int(number) for name, _, number, _ in lines if name == controller)


@pytest.fixture
def cpuset1() -> Iterator[Groups]:
    with version1("cpuset") as groups:
        yield groups


@pytest.fixture
def memory1() -> Iterator[Groups]:
    with version1("memory") as groups:
        yield groups


def entry(path: str) -> dict[str, Any]:
    """What numatui says of one cgroup."""
    said = numatui("cgroups", "--json")
    assert said.code == 0, said
    return next(one for one in said.json["cgroups"] if one["path"] == path)


def close(left: int, right: int, pages: int = NOISE) -> bool:
    return abs(left - right) <= pages * PAGE


def as_foretold(said: dict[str, Any]) -> bool:
    """What was foretold of every process is what was read afterwards."""
    meant = {one["pid"]: one["after"] for one in said["plan"]["processes"]}
    return said["outcome"]["complete"] and all(
        close(meant[one["pid"]].get(str(node), 0), one["after"].get(str(node), 0))
        for one in said["outcome"]["processes"]
        for node in range(4)
    )


class TestVersion1:
    def test_memory_is_counted_in_pages(self, memory1: Groups, victim: MakeVictim) -> None:
        group = memory1.make("box")
        inner = memory1.make("box/inner")
        one = victim({0: 4})
        put(one, inner)
        charge(one, {0: 2048, 1: 1024})
        said = entry("/box")
        raw = dict(line.split(" ", 1) for line in (group / "memory.numa_stat").read_text().splitlines())
        line = next(f"{key} {rest}" for key, rest in raw.items() if key.startswith("hierarchical_anon="))
        pages = dict(word.split("=") for word in line.split()[1:])
        assert said["kinds"]["anon"] == {node[1:]: int(count) * PAGE for node, count in pages.items()}
        assert close(said["nodes"]["0"], 2048 * PAGE, 256)
        assert close(said["nodes"]["1"], 1024 * PAGE, 256)
        assert said["effective_mems"] is None
        one.end()

    def test_pages_move_only_with_memory_migrate(self, cpuset1: Groups, victim: MakeVictim) -> None:
        group = cpuset1.make("box", cpuset__cpus="0-3", cpuset__mems="0-1", cpuset__memory_migrate=0)
        one = victim({0: 600, 1: 300}, policy=True)
        put(one, group)
        stays = numatui("cpuset", "set-mems", "box", "1-2", "--yes", "--json")
        assert stays.code == 0, stays
        assert stays.json["plan"]["bytes"] == 0
        assert any("memory_migrate is 0" in note for note in stays.json["plan"]["notes"])
        assert one.pages() == {0: 600, 1: 300}
        assert stays.json["outcome"]["effective_mems"] == [1, 2]
        numatui("cpuset", "set-mems", "box", "0-1", "--yes")
        moves = numatui("cpuset", "set-mems", "box", "2-3", "--yes", "--json", "--memory-migrate")
        assert moves.code == 0, moves
        assert as_foretold(moves.json)
        assert one.pages() == {2: 600, 3: 300}
        assert (group / "cpuset.memory_migrate").read_text() == "1\n"
        one.verify()

    def test_what_v1_refuses(self, cpuset1: Groups, victim: MakeVictim) -> None:
        cpuset1.make("outer", cpuset__cpus="0-3", cpuset__mems="0-1")
        cpuset1.make("outer/inner", cpuset__cpus="0", cpuset__mems="1")
        empty = cpuset1.make("empty", cpuset__mems="0")
        one = victim({0: 4})
        numatui("cpuset", "attach", "empty", one.pid, "--yes").refused(2, "has no cpus", "ENOSPC", "cpuset.cpus")
        with pytest.raises(OSError) as refused:
            put(one, empty)
        assert refused.value.errno == errno.ENOSPC
        numatui("cpuset", "set-mems", "outer", "0", "--yes").refused(2, "/outer/inner", "EBUSY")
        numatui("cpuset", "set-mems", "inner", "2", "--yes").refused(2, "node 2", "/outer (0-1)")


class TestReading:
    def test_the_tree_has_what_the_files_have(self, v2: Groups, victim: MakeVictim) -> None:
        v2.make("system.slice", cgroup__subtree_control="+memory +cpuset")
        v2.make(r"system.slice/data\x2dbase.service")
        one = victim({2: 4})
        put(one, v2.made[-1])
        charge(one, {0: 4096, 1: 2048})
        said = entry(r"/system.slice/data\x2dbase.service")
        assert said["name"] == "data-base.service"
        assert close(said["nodes"]["0"], 4096 * PAGE, 256)
        assert close(said["nodes"]["1"], 2048 * PAGE, 256)
        said = entry("/system.slice")
        for line in (V2 / "system.slice/memory.numa_stat").read_text().splitlines():
            kind, *nodes = line.split()
            for word in nodes:
                node, _, amount = word.partition("=")
                assert close(said["kinds"][kind][node[1:]], int(amount), 256), line
        table = numatui("cgroups")
        assert "    data-base.service" in table.out, table
        assert table.code == 0

    def test_memory_outside_of_the_cpuset_is_marked(self, v2: Groups, victim: MakeVictim) -> None:
        group = v2.make("left-behind", cpuset__mems="")
        one = victim({0: 4})
        put(one, group)
        charge(one, {0: 512, 2: 2048})
        put(one, V2)
        assert entry("/left-behind")["outside"] == {}
        (group / "cpuset.mems").write_text("0-1")
        said = entry("/left-behind")
        assert close(said["outside"]["2"], 2048 * PAGE, 256)
        assert set(said["outside"]) <= {"2", "3"}
        table = numatui("cgroups", "left-behind")
        assert "!" in table.out
        assert "outside of the cpuset" in table.err

    def test_without_the_memory_controller_it_says_so(self, v2: Groups) -> None:
        v2.make("outer")
        v2.make("outer/inner")
        assert entry("/outer/inner")["memory"] is None
        assert "no memory.numa_stat in 1 of them" in numatui("cgroups").err

    def test_cpusets_are_listed_with_their_processes(self, v2: Groups, victim: MakeVictim) -> None:
        group = v2.make("listed", cpuset__mems="1-2", cpuset__cpus="3")
        inner = v2.make("listed/inner")
        one, two = victim({1: 4}), victim({1: 4})
        put(one, group)
        put(two, inner)
        said = {cpuset["path"]: cpuset for cpuset in numatui("cpuset", "list", "--json").json["cpusets"]}
        assert said["/listed"]["effective_mems"] == [1, 2]
        assert said["/listed"]["effective_cpus"] == [3]
        assert said["/listed"]["processes"] == 2, "inner is no cpuset: its process is confined by listed"
        assert "/listed/inner" not in said


class TestChanging:
    def test_set_mems_moves_as_foretold_and_keeps_positions(self, v2: Groups, victim: MakeVictim) -> None:
        group = v2.make("box", cpuset__mems="0-1")
        one = victim({0: 600, 1: 300}, policy=True)
        put(one, group)
        for mems, lands in (("2-3", {2: 600, 3: 300}), ("1-2", {1: 600, 2: 300}), ("0-3", {1: 600, 2: 300})):
            done = numatui("cpuset", "set-mems", "box", mems, "--yes", "--json")
            assert done.code == 0, done
            assert as_foretold(done.json), (mems, done.json)
            assert one.pages() == lands, mems
        one.verify()
        narrow = numatui("cpuset", "set-mems", "/box", "3", "--yes")
        assert narrow.code == 0, narrow
        assert one.pages() == {3: 900}
        assert "mems in effect: 3" in narrow.out

    def test_cgroups_below_follow(self, v2: Groups, victim: MakeVictim) -> None:
        v2.make("top", cpuset__mems="0-1", cgroup__subtree_control="+cpuset")
        own = v2.make("top/own", cpuset__mems="1")
        one = victim({1: 200})
        put(one, own)
        done = numatui("cpuset", "set-mems", "top", "2-3", "--yes", "--json")
        assert done.code == 0, done
        assert as_foretold(done.json), done.json
        assert done.json["plan"]["processes"][0]["new_mems"] == [2, 3]
        assert one.pages() == {2: 200}

    def test_attach_moves_as_foretold(self, v2: Groups, victim: MakeVictim) -> None:
        v2.make("box", cpuset__mems="2-3")
        one = victim({0: 600, 1: 300, 2: 50})
        said = numatui("cpuset", "attach", "box", one.pid, "--dry-run", "--json").json
        assert one.pages() == {0: 600, 1: 300, 2: 50}
        assert said["outcome"] is None
        done = numatui("cpuset", "attach", "box", one.pid, "--yes", "--json")
        assert done.code == 0, done
        assert as_foretold(done.json), done.json
        assert done.json["plan"]["processes"][0]["moves"] == said["plan"]["processes"][0]["moves"]
        assert one.pages() == {2: 650, 3: 300}
        assert Path(f"/proc/{one.pid}/cgroup").read_text().endswith("0::/box\n")
        one.verify()

    def test_what_is_refused_changes_nothing(self, v2: Groups, victim: MakeVictim) -> None:
        group = v2.make("box", cpuset__mems="0-1", cgroup__subtree_control="+memory")
        v2.make("box/inner")
        v2.make("open", cpuset__mems="0-1")
        one = victim({0: 16})
        numatui("cpuset", "set-mems", "box", "9", "--yes").refused(4, "no node 9", "0-3")
        assert numatui("cpuset", "set-mems", "box", "1").code == 2, "nobody confirms"
        numatui("cpuset", "set-mems", "/", "1", "--yes").refused(2, "root")
        numatui("cpuset", "set-mems", "../box", "1", "--yes").refused(2, "may not contain")
        numatui("cpuset", "set-mems", "absent", "1", "--yes").refused(4, "/absent")
        numatui("cpuset", "set-mems", "inner", "1", "--yes").refused(
            5, "is not a cpuset", "echo +cpuset > /sys/fs/cgroup/box/cgroup.subtree_control"
        )
        numatui("cpuset", "set-mems", "open", "1", "--yes", "--json", uid=USER).refused(3, "/open")
        numatui("cpuset", "attach", "open", one.pid, "--yes", "--json", uid=USER).refused(3)
        numatui("cpuset", "attach", "box", one.pid, "--yes").refused(2, "EBUSY", "memory")
        with pytest.raises(OSError) as refused:
            put(one, group)
        assert refused.value.errno == errno.EBUSY
        (group / "cgroup.subtree_control").write_text("+cpuset")
        numatui("cpuset", "set-mems", "inner", "1-2", "--yes").refused(2, "node 2", "/box (0-1)")
        assert (group / "cpuset.mems").read_text() == "0-1\n"
        assert (V2 / "open/cpuset.mems").read_text() == "0-1\n"
        assert one.pages() == {0: 16}

    def test_a_process_that_has_ended_is_not_attached(self, v2: Groups) -> None:
        v2.make("box", cpuset__mems="0-1")
        gone = subprocess.Popen(["true"])
        gone.wait()
        numatui("cpuset", "attach", "box", gone.pid, "--yes").refused(4, f"no process {gone.pid}")
