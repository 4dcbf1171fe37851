"""Cpusets: found by name, what a change will move, and that the emulated kernel moves just that."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.cgroup.cpuset_tree import pids_in, read_cpusets
from backend.cpuset.change import apply, predict_attach, predict_mems, write_mems
from backend.cpuset.confinement import confinements
from backend.cpuset.rules import write_file
from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.errors import NotFound, NotPermitted, NotSupported, NumatuiError, UsageError, os_error
from backend.nodeset import CpuSet, NodeSet
from backend.plan.remap import Move
from backend.process.process import read_process
from backend.recording.kernel import RecordedKernel
from tests.emulator.machines import nodes_of, region
from tests.emulator.tasks.cpuset_machine import Admin
from tests.trees import node_files, process_files, write

ID = "0123456789abcdef" * 4
PAGE = 4096
ROOT = "sys/fs/cgroup"
NODES: dict[str, str | bytes] = {
    "sys/devices/system/node/online": "0-1\n", **node_files(0, "10 21", "0-3"), **node_files(1, "21 10", "4-7"),
}  # fmt: skip


def nodes(text: str) -> NodeSet:
    return NodeSet.parse_list(text)


def recorded(root: Path, groups: dict[str, dict[str, str]], **files: str | bytes) -> RecordedKernel:
    """cgroup v2 on two nodes; `groups`: path → files."""
    out: dict[str, str | bytes] = {**NODES, f"{ROOT}/cgroup.controllers": "cpuset memory\n", **files}
    for path, contents in groups.items():
        out |= {f"{ROOT}{path.rstrip('/')}/{name}": text for name, text in contents.items()}
    return RecordedKernel(write(root, out))


@pytest.fixture
def tree(tmp_path: Path) -> RecordedKernel:
    return recorded(
        tmp_path,
        {
            "/": {
                "cpuset.mems.effective": "0-1\n",
                "cpuset.cpus.effective": "0-7\n",
                "cgroup.subtree_control": "cpuset memory\n",
            },
            "/system.slice": {
                "cpuset.mems": "\n",
                "cpuset.mems.effective": "0-1\n",
                "cgroup.procs": "",
                "cgroup.subtree_control": "memory\n",
            },
            r"/system.slice/my\x2ddb.service": {"cgroup.procs": "7\n"},
            f"/system.slice/docker-{ID}.scope": {"cgroup.procs": "8\n8\n0\n"},
            "/a": {"cpuset.mems": "0\n", "cpuset.mems.effective": "0\n", "cpuset.cpus": "0-1\n", "cgroup.procs": ""},
            "/a/twin": {"cgroup.procs": ""},
            "/b/twin": {"cgroup.procs": ""},
        },
    )


class TestReading:
    def test_cgroups_that_are_no_cpusets_have_what_is_above(self, tree: RecordedKernel) -> None:
        found = read_cpusets(tree)
        inner = found.find("my-db")
        assert (inner.path, inner.own) == (r"/system.slice/my\x2ddb.service", False)
        assert inner.effective_mems == nodes("0-1")
        assert found.deciding(inner.path).path == "/system.slice"
        assert found.at("/a").cpus == CpuSet([0, 1])
        assert pids_in(tree, found, "/system.slice") == [7, 8]
        assert [one.path for one in found.governed("/a")] == ["/a", "/a/twin"]

    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("/", "/"),
            ("a", "/a"),
            ("/a/", "/a"),
            ("/sys/fs/cgroup/a/twin", "/a/twin"),
            ("my-db.service", r"/system.slice/my\x2ddb.service"),
            (r"my\x2ddb.service", r"/system.slice/my\x2ddb.service"),
            ("system", "/system.slice"),
            (ID[:12], f"/system.slice/docker-{ID}.scope"),
        ],
    )
    def test_names(self, tree: RecordedKernel, text: str, path: str) -> None:
        assert read_cpusets(tree).find(text).path == path

    def test_names_of_none_or_several(self, tree: RecordedKernel) -> None:
        found = read_cpusets(tree)
        with pytest.raises(UsageError, match="2 cgroups are called twin: /a/twin, /b/twin"):
            found.find("twin")
        for absent in ("absent", "a/absent", ID[:5], "\x1b[31m"):
            with pytest.raises(NotFound) as refused:
                found.find(absent)
            assert str(refused.value).isprintable()
        with pytest.raises(UsageError, match="may not contain"):
            found.find("../a")

    @given(st.binary(max_size=40), st.binary(max_size=40))
    @settings(max_examples=50)
    def test_whatever_is_in_the_files(self, tmp_path_factory: pytest.TempPathFactory, mems: bytes, cpus: bytes) -> None:
        root = tmp_path_factory.mktemp("any")
        kernel = recorded(
            root,
            {"/": {"cpuset.mems.effective": "0-1\n"}},
            **{
                f"{ROOT}/x/cpuset.mems": mems,
                f"{ROOT}/x/cpuset.cpus.effective": cpus,
                f"{ROOT}/x/cgroup.subtree_control": mems,
                f"{ROOT}/x/cgroup.procs": cpus,
            },
        )
        found = read_cpusets(kernel)
        pids_in(kernel, found, "/x")
        assert found.at("/").effective_mems == nodes("0-1")


class TestForetelling:
    def test_a_recording_tells_what_would_move(self, tmp_path: Path) -> None:
        kernel = recorded(
            tmp_path,
            {"/": {"cpuset.mems.effective": "0-1\n", "cgroup.subtree_control": "cpuset\n"},
             "/a": {"cpuset.mems": "0\n", "cpuset.mems.effective": "0\n", "cgroup.procs": "7\n99\n"}},
            **process_files(7, b"postgres"),
        )  # fmt: skip
        change = predict_mems(kernel, "a", nodes("1"))
        (one,) = change.processes
        assert one.process.pid == 7
        assert one.ways == {(0, 1): 6 * PAGE}
        assert one.before == {0: 6 * PAGE, 1: 3 * PAGE + (4 << 20)}
        assert one.after == {1: 9 * PAGE + (4 << 20)}
        assert one.policies == ("bind:1",)
        assert any("bind:1" in note for note in change.notes)
        assert not any("room" in note for note in change.notes)
        with pytest.raises(NotSupported, match="read-only"):
            apply(kernel, change)

    def test_the_fix_names_the_cgroup_that_hands_nothing_on(self, tree: RecordedKernel) -> None:
        with pytest.raises(NotSupported) as refused:
            predict_mems(tree, "my-db", nodes("0"))
        assert "echo +cpuset > /sys/fs/cgroup/system.slice/cgroup.subtree_control" in str(refused.value)
        with pytest.raises(NotSupported, match=r"/sys/fs/cgroup/b/cgroup\.subtree_control"):
            predict_mems(tree, "/b/twin", nodes("0"))

    def test_nodes_without_memory_count_as_what_the_cgroup_above_has(self, tmp_path: Path) -> None:
        files: dict[str, str | bytes] = {
            "sys/devices/system/node/online": "0-3\n", **process_files(7, b"x"),
            **{path: text for node in (0, 2, 3) for path, text in node_files(node, "10 20 20 20", str(node)).items()},
            **node_files(1, "20 10 20 20", "1", total=0, free=0),
        }  # fmt: skip
        files |= {
            f"{ROOT}/cpuset.mems.effective": "0-3\n",
            f"{ROOT}/P/cpuset.mems": "0-2\n",
            f"{ROOT}/P/cpuset.mems.effective": "0-2\n",
            f"{ROOT}/P/a/cpuset.mems": "1\n",
            f"{ROOT}/P/a/cpuset.mems.effective": "1\n",
            f"{ROOT}/P/a/cgroup.procs": "7\n",
        }
        kernel = recorded(tmp_path, {}, **files)
        (one,) = predict_mems(kernel, "P/a", nodes("2")).processes
        assert (one.old, one.new) == (nodes("0,2"), nodes("2"))
        with pytest.raises(UsageError, match="node 1 has no memory"):
            predict_mems(kernel, "P/a", nodes("1"))

    def test_units_of_systemd_have_a_better_way(self, tree: RecordedKernel) -> None:
        notes = predict_mems(tree, "/system.slice", nodes("1")).notes
        assert any("systemctl set-property -- system.slice AllowedMemoryNodes=1 " in note for note in notes)
        assert not any("systemctl" in note for note in predict_mems(tree, "/a", nodes("1")).notes)

    @pytest.mark.parametrize(
        ("name", "mems", "error", "words"),
        [
            ("/", "0", UsageError, "root"),
            ("a", "0,5", NotFound, "no node 5"),
            ("a/twin", "0", NotSupported, "not a cpuset"),
        ],
    )
    def test_refused(self, tree: RecordedKernel, name: str, mems: str, error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            predict_mems(tree, name, nodes(mems))

    def test_v2_always_moves(self, tree: RecordedKernel) -> None:
        with pytest.raises(UsageError, match="always moves"):
            predict_mems(tree, "a", nodes("1"), memory_migrate=False)

    def test_no_process_in_between(self) -> None:
        admin = Admin()
        admin.create("P", "0-1")
        admin.create("C", "0", "P")
        task = admin.spawn()
        with pytest.raises(UsageError, match="EBUSY"):
            predict_attach(admin.kernel, "/P", [task.pid])

    def test_v1_needs_mems_and_cpus_before_processes(self) -> None:
        admin = Admin(cgroups="v1")
        admin.create("E", "", cpus=CpuSet())
        admin.create("N", "0", cpus=CpuSet())
        task = admin.spawn()
        with pytest.raises(UsageError, match=r"no mems.*numatui cpuset set-mems /E"):
            predict_attach(admin.kernel, "E", [task.pid])
        with pytest.raises(UsageError, match=r"no cpus.*/sys/fs/cgroup/cpuset/N/cpuset\.cpus"):
            predict_attach(admin.kernel, "N", [task.pid])

    def test_kernel_threads_and_ended_processes(self) -> None:
        admin = Admin()
        admin.create("A", "0")
        kthread = spawn(admin.m, "kthread", cpu=0, kernel_thread=True)
        with pytest.raises(NotSupported, match="kernel thread"):
            predict_attach(admin.kernel, "A", [kthread.pid])
        with pytest.raises(NotFound, match="no process 999"):
            predict_attach(admin.kernel, "A", [999])


SETS = st.sets(st.integers(0, 3), min_size=1).map(NodeSet)


class TestChanging:
    @given(
        SETS,
        SETS,
        st.lists(st.integers(0, 3), min_size=1, max_size=8),
        st.sampled_from(["v1", "v2"]),
        st.sampled_from([None, True, False]),
    )
    @settings(max_examples=120, deadline=None)
    def test_what_is_foretold_is_what_comes(
        self, old: NodeSet, new: NodeSet, layout: list[int], version: Any, migrate: bool | None
    ) -> None:
        """Of any sets, wherever the pages lie; v1 moves only when told."""
        admin = Admin(cgroups=version)
        admin.create("A", str(old))
        task = admin.spawn("A")
        vma = region(admin.m, task, {node: layout.count(node) for node in dict.fromkeys(layout)})
        start = nodes_of(admin.m, vma)
        change = predict_mems(admin.kernel, "A", new, migrate if version == "v1" else None)
        result = apply(admin.kernel, change)
        now = nodes_of(admin.m, vma)
        assert result.complete
        assert result.effective == change.effective == new
        if change.processes:
            after = change.processes[0].after
            assert after == {node: now.count(node) * PAGE for node in sorted(set(now))}
            assert result.processes[0].after == after
        else:
            assert now == start
        if version == "v1" and not migrate:
            assert now == start

    @pytest.mark.parametrize("version", ["v1", "v2"])
    def test_attach_keeps_relative_positions(self, version: Any) -> None:
        admin = Admin(cgroups=version)
        for name, mems in (("A", "0-1"), ("B", "2-3")):
            admin.create(name, mems)
        task = admin.spawn("A")
        vma = region(admin.m, task, {0: 3, 1: 2})
        change = predict_attach(admin.kernel, "B", [task.pid, task.pid], True if version == "v1" else None)
        (one,) = change.processes
        assert one.ways == {(0, 2): 3 * PAGE, (1, 3): 2 * PAGE}
        result = apply(admin.kernel, change)
        assert nodes_of(admin.m, vma) == [2] * 3 + [3] * 2
        assert result.processes[0].left == {}
        assert admin.kernel.read(f"/proc/{task.pid}/cpuset") == b"/B\n"
        assert any("stays charged" in note for note in change.notes) == (version == "v2")
        again = predict_attach(admin.kernel, "B", [task.pid])
        assert again.bytes == 0

    def test_cpusets_below_follow_by_their_own_effective_mems(self) -> None:
        admin = Admin()
        admin.create("P", "0-1")
        admin.create("same", "", "P")
        admin.create("one", "1", "P")
        tasks = {name: admin.spawn(f"P/{name}") for name in ("same", "one")}
        areas = {name: region(admin.m, task, {0: 1, 1: 2}) for name, task in tasks.items()}
        change = predict_mems(admin.kernel, "P", nodes("2-3"))
        ways = {one.process.pid: one.ways for one in change.processes}
        assert len(change.processes) == 2, "each is told once"
        assert ways == {
            tasks["same"].pid: {(0, 2): PAGE, (1, 3): 2 * PAGE},
            tasks["one"].pid: {(1, 2): 2 * PAGE},
        }
        apply(admin.kernel, change)
        assert nodes_of(admin.m, areas["same"]) == [2, 3, 3]
        assert nodes_of(admin.m, areas["one"]) == [0, 2, 2], "what was outside stays there"

    def test_a_recycled_pid_is_left_alone(self) -> None:
        admin = Admin()
        admin.create("A", "2")
        old, other = admin.spawn(), admin.spawn()
        change = predict_attach(admin.kernel, "A", [old.pid, other.pid])
        do_exit(admin.m, old)
        recycled = spawn(admin.m, "new", cpu=0, pid=old.pid)
        result = apply(admin.kernel, change)
        assert admin.kernel.read(f"/proc/{recycled.pid}/cpuset") == b"/\n"
        assert admin.kernel.read(f"/proc/{other.pid}/cpuset") == b"/A\n"
        (error,) = result.errors
        assert isinstance(error, NotFound)
        assert not result.complete
        alone = replace(change, processes=change.processes[:1])
        with pytest.raises(NotFound, match="another has its number"):
            apply(admin.kernel, alone)

    def test_who_comes_in_between_is_reported_too(self) -> None:
        admin = Admin()
        admin.create("A", "0")
        change = predict_mems(admin.kernel, "A", nodes("1"))
        assert change.processes == ()
        task = admin.spawn("A")
        region(admin.m, task, {0: 2})
        (one,) = apply(admin.kernel, change).processes
        assert one.after == {1: 2 * PAGE}

    def test_pages_that_stay_are_said(self) -> None:
        admin = Admin(pages=64)
        admin.create("A", "0")
        task = admin.spawn("A")
        region(admin.m, task, {0: 40})
        filler = admin.spawn()
        region(admin.m, filler, {1: 40})
        change = predict_mems(admin.kernel, "A", nodes("1"))
        assert any("node 1 has less room" in note for note in change.notes)
        result = apply(admin.kernel, change)
        (one,) = result.processes
        assert not result.complete
        assert one.left == {0: (one.after or {})[0]}

    def test_only_root_may(self) -> None:
        admin = Admin()
        admin.create("A", "0")
        user = EmulatedKernel(admin.m, Caller(1000, privileged=False))
        with pytest.raises(NotPermitted, match="/A"):
            apply(user, predict_mems(user, "A", nodes("1")))
        assert admin.read("A", "cpuset.mems") == "0"

    def test_v1_takes_no_more_than_the_parent_and_no_less_than_the_children(self) -> None:
        admin = Admin(cgroups="v1")
        admin.create("P", "0-1")
        admin.create("C", "1", "P")
        with pytest.raises(UsageError, match=r"/P/C below has mems 1"):
            predict_mems(admin.kernel, "P", nodes("0"))
        with pytest.raises(UsageError, match=r"node 2 is not in the mems of the cgroup above, /P \(0-1\)"):
            predict_mems(admin.kernel, "P/C", nodes("1-2"))

    @pytest.mark.parametrize(
        ("number", "pid", "error", "words"),
        [
            (errno.ESRCH, 5, NotFound, "no process 5"),
            (errno.EBUSY, 5, UsageError, "no process in it"),
            (errno.ENOSPC, 0, UsageError, "elsewhere first"),
            (errno.EROFS, 0, NotSupported, "read-only"),
            (errno.EPERM, 0, NotPermitted, "/a"),
            (errno.ENODEV, 0, NotFound, "no cgroup /a"),
            (errno.EINVAL, 0, NumatuiError, "EINVAL"),
        ],
    )
    def test_what_a_refusal_means(
        self,
        tree: RecordedKernel,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        pid: int,
        error: type[Exception],
        words: str,
    ) -> None:
        found = read_cpusets(tree)

        def refuse(path: str, data: bytes) -> None:
            raise os_error(number, path)

        monkeypatch.setattr(tree, "write", refuse)
        with pytest.raises(error, match=words) as refused:
            write_file(tree, found, found.at("/a"), "cpuset.mems", "1\n", pid)
        assert type(refused.value) is error


class TestConfining:
    def test_who_shares_is_told_with_what_they_have_and_where_it_goes(self) -> None:
        admin = Admin()
        admin.create("A", "0-1")
        admin.create("below", "", "A")
        mine, other, far = admin.spawn("A/below"), admin.spawn("A/below"), admin.spawn()
        region(admin.m, other, {0: 1, 1: 1})
        (one,) = confinements(admin.kernel, [read_process(admin.kernel, mine.pid)], nodes("1"))
        assert (one.path, one.mems, one.written) == ("/A/below", nodes("0-1"), nodes(""))
        assert (one.targets, one.final, one.pids) == (nodes("1"), nodes("1"), {mine.pid})
        (its,) = one.others
        assert its.subject.process.pid == other.pid
        assert its.subject.placement.bytes_by_node == {0: 4096, 1: 4096}
        assert its.steps == (Move(0, 1),)
        assert not its.by_kernel
        assert far.pid not in {other.subject.process.pid for other in one.others}

    def test_in_a_cpuset_below_with_mems_of_its_own_the_kernel_moves(self) -> None:
        admin = Admin()
        admin.create("A", "0-1")
        admin.create("inner", "1", "A")
        mine, inner = admin.spawn("A"), admin.spawn("A/inner")
        (one,) = confinements(admin.kernel, [read_process(admin.kernel, mine.pid)], nodes("2-3"))
        (its,) = one.others
        assert its.subject.process.pid == inner.pid
        assert (its.steps, its.by_kernel) == ((Move(1, 2),), True)

    def test_in_the_root_it_cannot_be_done(self) -> None:
        admin = Admin()
        with pytest.raises(UsageError, match="root"):
            confinements(admin.kernel, [read_process(admin.kernel, admin.spawn().pid)], nodes("1"))

    def test_what_somebody_else_has_written_since_is_left_alone(self) -> None:
        admin = Admin()
        admin.create("A", "0")
        with pytest.raises(NumatuiError, match="somebody else"):
            write_mems(admin.kernel, "/A", nodes("1"), [nodes("0-1")])
        assert admin.read("A", "cpuset.mems") == "0"
        write_mems(admin.kernel, "/A", nodes("1"), [nodes("0")])
        write_mems(admin.kernel, "/A", nodes("1"), [nodes("0")])
        assert admin.read("A", "cpuset.mems") == "1"
