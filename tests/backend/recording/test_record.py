"""Recording: what is replayed is what was there, at every sample; nothing of it says who it was when that was not
wanted."""

from __future__ import annotations

import errno
import json
import tarfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.cgroup.cgroups import find_hierarchies, walk
from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.abi.proc_numatui import FRAMES, ZONES, parse_zones
from backend.emulator.mm.mmap import mmap
from backend.emulator.scenario.layout import populate
from backend.emulator.scenario.open import open_scenario
from backend.emulator.tasks.life import do_exit, spawn
from backend.errors import ParseError, UsageError
from backend.kernel import Traits
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from backend.placement.survey import Surveyor
from backend.recording.contents import files
from backend.recording.kernel import RecordedKernel
from backend.recording.manifest import parse_manifest, parse_sample
from backend.recording.record import Recorder
from backend.recording.sinks import open_sink
from tests.emulator.tasks.cpuset_machine import Admin
from tests.trees import two_nodes

SECOND = 1_000_000_000


def everything(kernel: EmulatedKernel) -> dict[str, bytes]:
    return dict(files(kernel))


def names(kernel: EmulatedKernel | RecordedKernel) -> list[str]:
    return sorted(name for name in kernel.listdir("/proc") if name.isdigit())


@pytest.mark.parametrize("ending", ["", ".tar", ".tar.gz"])
def test_every_sample_is_the_machine_as_it_was(tmp_path: Path, ending: str) -> None:
    machine = Admin(nodes=4, pages=4096)
    kernel = machine.kernel
    sink = open_sink(tmp_path / f"r{ending}", "r")
    recorder = Recorder(kernel, sink, 1.0)
    task = spawn(machine.m, "first", cpu=0)
    was: list[tuple[dict[str, bytes], list[str], int]] = []

    def sample() -> None:
        recorder.take()
        was.append((everything(kernel), names(kernel), kernel.clock()))

    sample()
    vma = mmap(machine.m, task, 64)
    populate(machine.m, vma, np.arange(64), 0)
    kernel.pause(SECOND)
    sample()
    machine.create("group", "0-1")
    machine.write("group", "cgroup.procs", str(task.pid))
    other = spawn(machine.m, "second", cpu=2)
    kernel.pause(SECOND)
    sample()
    kernel.migrate_pages(task.pid, 65, NodeSet([0]).mask(), NodeSet([1]).mask())
    do_exit(machine.m, other)
    sample()
    do_exit(machine.m, task)
    sample()
    again = spawn(machine.m, "third", cpu=1)
    sample()
    sink.close()
    replayed = RecordedKernel(tmp_path / f"r{ending}")
    assert len(replayed.samples) == len(was)
    for before, after, events in zip(was, was[1:], replayed.events[1:], strict=False):
        assert events.began == len(set(after[1]) - set(before[1]))
        assert events.ended == len(set(before[1]) - set(after[1]))
    for number in (*range(len(was)), *reversed(range(len(was)))):
        replayed.seek(number)
        replayed.settle()
        there, pids, at = was[number]
        assert names(replayed) == pids
        assert replayed.clock() == at - was[0][2]
        for path, data in there.items():
            assert replayed.read(path) == data, path
            folder, _, name = path.rpartition("/")
            assert name in replayed.listdir(folder)
        gone = {path for one, _, _ in was for path in one} - there.keys()
        for path in gone:
            with pytest.raises(OSError, match="No such file"):
                replayed.read(path)
    assert str(again.pid) in names(replayed) or replayed.at == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["1/stat", "1/task/1/stat", "1/task/2/stat", "2/stat", "2/cmdline"]),
            st.sampled_from([b"a", b"b"]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_files_that_come_go_and_come_again(tmp_path: Path, states: list[dict[str, bytes]]) -> None:
    class Changing:
        source, name, page_size = "demo", "x", 4096
        traits = Traits(writable=True)
        state: dict[str, bytes]

        def clock(self) -> int:
            return 0

        def username(self, uid: int) -> str:
            return str(uid)

        def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
            try:
                return self.state[path.removeprefix("/proc/")]
            except KeyError:
                raise FileNotFoundError(errno.ENOENT, path) from None

        def listdir(self, path: str) -> list[str]:
            base = path + "/"
            found = {
                f"/proc/{one}"[len(base) :].partition("/")[0] for one in self.state if f"/proc/{one}".startswith(base)
            }
            if not found and path != "/proc":
                raise FileNotFoundError(errno.ENOENT, path)
            return list(found)

    kernel = Changing()
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.tar"
    sink = open_sink(path, "r")
    recorder = Recorder(kernel, sink)  # type: ignore[arg-type]
    for kernel.state in states:
        recorder.take()
    sink.close()
    if not any(states):
        return
    if not states[0]:
        with pytest.raises(ParseError):
            RecordedKernel(path)
        return
    replayed = RecordedKernel(path)
    for number, kernel.state in enumerate(states):
        replayed.seek(number)
        replayed.settle()
        for file in ("1/stat", "1/task/1/stat", "1/task/2/stat", "2/stat", "2/cmdline"):
            if file in kernel.state:
                assert replayed.read(f"/proc/{file}") == kernel.state[file]
            else:
                with pytest.raises(OSError, match="No such file"):
                    replayed.read(f"/proc/{file}")
        for folder in ("/proc", "/proc/1", "/proc/1/task", "/proc/1/task/2", "/proc/2"):
            try:
                there = sorted(kernel.listdir(folder))
            except FileNotFoundError:
                there = []
            try:
                assert sorted(replayed.listdir(folder)) == there
            except OSError:
                assert not there


def test_the_commands_see_the_same_in_a_recording(tmp_path: Path) -> None:
    kernel = open_scenario()
    sink = open_sink(tmp_path / "r.tar.gz", "r")
    Recorder(kernel, sink).take()
    sink.close()
    replayed = RecordedKernel(tmp_path / "r.tar.gz")
    assert read_topology(replayed).nodes == read_topology(kernel).nodes
    there = {row.process.pid: row for row in Surveyor(replayed, read_topology(replayed)).read()}
    here = {row.process.pid: row for row in Surveyor(kernel, read_topology(kernel)).read()}
    assert there.keys() == here.keys()
    for pid, row in here.items():
        assert there[pid].process == row.process
        assert there[pid].by_node == row.by_node
    zones = parse_zones(replayed.read(ZONES))
    for node, (_, pages) in zones.items():
        assert len(replayed.read(f"{FRAMES}/{node}")) == pages


def test_a_file_that_changed_in_a_later_sample_is_no_folder(tmp_path: Path) -> None:
    """A walk of cgroups took memory.numa_stat for a cgroup, from the second sample on."""
    kernel = open_scenario("overlapping-sets")
    sink = open_sink(tmp_path / "r.tar", "r")
    recorder = Recorder(kernel, sink)
    for _ in range(4):
        recorder.take()
        kernel.pause(1_000_000_000)
    sink.close()
    replayed = RecordedKernel(tmp_path / "r.tar")
    (hierarchy,) = find_hierarchies(kernel)
    paths = [one.path for one in walk(kernel, hierarchy)]
    for number in range(4):
        replayed.seek(number)
        replayed.settle()
        (hierarchy,) = find_hierarchies(replayed)
        assert [one.path for one in walk(replayed, hierarchy)] == paths
        with pytest.raises((NotADirectoryError, FileNotFoundError)):
            replayed.listdir(f"{hierarchy.directory('/')}/memory.numa_stat")


def test_time_passes_sample_by_sample_and_ends(tmp_path: Path) -> None:
    kernel = open_scenario()
    sink = open_sink(tmp_path / "r.tar", "r")
    recorder = Recorder(kernel, sink)
    for _ in range(4):
        recorder.take()
        kernel.pause(SECOND)
    sink.close()
    replayed = RecordedKernel(tmp_path / "r.tar")
    assert replayed.capabilities()["time"].available
    replayed.pause(SECOND // 2)
    assert replayed.at == 1
    replayed.pause(2 * SECOND)
    assert replayed.at == 3
    replayed.pause(SECOND)
    assert replayed.at == 3


def test_a_recording_that_is_cut_off_has_its_whole_samples(tmp_path: Path) -> None:
    kernel = open_scenario()
    path = tmp_path / "r.tar.gz"
    sink = open_sink(path, "r")
    recorder = Recorder(kernel, sink)
    sizes: list[int] = []
    for _ in range(3):
        recorder.take()
        sizes.append(sink.written)
        kernel.pause(SECOND)
    sink.close()
    whole = path.read_bytes()
    for cut, samples in (
        (sizes[1], 2),
        (sizes[1] + 200, 2),
        (sizes[2], 3),
        (len(whole) - 3, 3),
        (len(whole), 3),
    ):
        path.write_bytes(whole[:cut])
        replayed = RecordedKernel(path)
        assert len(replayed.samples) == samples
        assert replayed.cut_off == (cut <= sizes[2])
        replayed.seek(9)
        replayed.settle()
        assert names(replayed)
    path.write_bytes(whole[: sizes[0] // 2])
    with pytest.raises(ParseError):
        RecordedKernel(path)


MARKS = ("zebrahost", "zebraproc", "zebraarg", "zebrauser", "zebrafile", "zebragroup", "zebradir")


def test_nothing_in_an_anonymised_recording_says_who_it_was(tmp_path: Path) -> None:
    machine = Admin(nodes=4, pages=4096)
    m = machine.m
    m.users[4242] = "zebrauser"
    task = spawn(m, "zebraproc", cpu=0, command="/opt/zebradir/zebraproc --token zebraarg", uid=4242)
    machine.create("zebragroup", "0-1")
    machine.create("zebrainner", "0", "zebragroup")
    vma = mmap(m, task, 16)
    populate(m, vma, np.arange(16), 0)

    class Named(EmulatedKernel):
        def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
            if path.endswith("/numa_maps"):
                return (
                    b"7f0000000000 default file=/srv/zebradir/zebrafile\\040(deleted) mapped=3 N0=3 "
                    b"kernelpagesize_kB=4\n"
                )
            if path.endswith("/maps"):
                return (
                    b"7f0000000000-7f0000003000 r--p 00000000 08:01 77 /srv/zebradir/zebrafile (deleted)\n"
                    b"7f0000004000-7f0000005000 rw-p 00000000 00:00 0 [heap]\n"
                )
            if path == "/proc/sys/kernel/hostname":
                return b"zebrahost\n"
            if path == "/proc/version":
                return b"Linux version 6.1.0 (zebrauser@zebrahost) #1\n"
            if path == "/proc/swaps":
                return b"Filename\tType\tSize\tUsed\tPriority\n/dev/zebrafile partition 1 0 -2\n"
            return super().read(path, offset, size)

    kernel = Named(m)
    kernel.name = "zebrahost"
    for anonymise in (False, True):
        machine.write("zebragroup/zebrainner", "cgroup.procs", str(task.pid))
        path = tmp_path / f"{anonymise}.tar"
        sink = open_sink(path, "r")
        recorder = Recorder(kernel, sink, anonymise=anonymise)
        recorder.take()
        machine.create(f"zebra{anonymise}", "0", "zebragroup")
        recorder.take()
        machine.write("zebragroup", "cgroup.procs", str(task.pid))
        recorder.take()
        sink.close()
        raw = path.read_bytes()
        found = [mark for mark in MARKS if mark.encode() in raw]
        assert found == ([] if anonymise else list(MARKS)), found
    replayed = RecordedKernel(tmp_path / "True.tar")
    process = next(
        row.process for row in Surveyor(replayed, read_topology(replayed)).read() if row.process.pid == task.pid
    )
    assert process.user == "1000"
    assert process.cgroup.count("/") == 2
    assert b"(deleted)" in replayed.read(f"/proc/{task.pid}/maps")
    assert b"[heap]" in replayed.read(f"/proc/{task.pid}/maps")
    folder = f"/sys/fs/cgroup{process.cgroup}"
    assert str(task.pid).encode() in replayed.read(f"{folder}/cgroup.procs").split()


def test_a_recording_goes_over_nothing(tmp_path: Path) -> None:
    for name in ("there.tar.gz", "there.tar"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(UsageError, match="already"):
            open_sink(tmp_path / name, "r")
        assert (tmp_path / name).read_text() == "mine"
    target = tmp_path / "target"
    (tmp_path / "link.tar").symlink_to(target)
    with pytest.raises(UsageError):
        open_sink(tmp_path / "link.tar", "r")
    assert not target.exists()
    with pytest.raises(UsageError, match=r"\.zip"):
        open_sink(tmp_path / "r.zip", "r")


def test_a_recording_is_its_writers_alone(tmp_path: Path) -> None:
    for name in ("r.tar.gz", "r.tar"):
        sink = open_sink(tmp_path / name, "r")
        Recorder(open_scenario(), sink).take()
        sink.close()
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        with tarfile.open(tmp_path / name) as tar:
            assert all(one.mode == 0o600 and one.name.startswith("r/") for one in tar)


@settings(max_examples=300)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["schema", "at", "wall", "gone", "users", "name", "page_size"]), inner, max_size=7
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_manifests_and_samples_of_anybody_are_read_or_refused(raw: bytes) -> None:
    for parse in (parse_manifest, parse_sample):
        with suppress(ParseError):
            parse(raw)


def test_samples_whose_times_run_backwards_are_refused(tmp_path: Path) -> None:
    tree = two_nodes(tmp_path)
    for number, at in ((0, 5), (1, 4)):
        folder = tree / f"numatui/samples/{number:06}"
        folder.mkdir(parents=True)
        (folder / "sample.json").write_text(f'{{"at": {at}, "wall": 1}}')
    with pytest.raises(ParseError, match="order"):
        RecordedKernel(tree)
