"""Topologies: what real and broken machines tell, from small trees and from recorded machines."""

from __future__ import annotations

import contextlib
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend.errors import NotSupported, ParseError
from backend.machine.topology import (
    parse_counters,
    parse_distances,
    parse_meminfo,
    parse_watermarks,
    read_topology,
)
from backend.nodeset import NodeSet
from backend.recording.kernel import RecordedKernel
from tests.conftest import SHARED
from tests.trees import node_files, two_nodes, write

MACHINES = sorted((SHARED / "fixtures" / "machines").glob("*.tar.bz2")) if SHARED.is_dir() else []
GUESTS = (
    [SHARED / "fixtures" / name for name in ("four-node", "cpuless-node", "memoryless-node")] if SHARED.is_dir() else []
)


def test_two_plain_nodes(tmp_path: Path) -> None:
    topology = read_topology(RecordedKernel(two_nodes(tmp_path)))
    assert str(topology.ids) == "0-1"
    assert topology.distance(0, 1) == 21
    assert topology.node(1).total == 1024 * 1024
    assert topology.node(0).memory["HugePages_Total"] == 2
    assert topology.node(0).memory["Strange_New"] == 5 * 1024
    assert topology.node_of_cpu[4] == 1
    assert topology.node(0).numastat == {"numa_hit": 10, "numa_miss": 2}
    assert not topology.warnings


def test_sparse_ids_and_distances_in_numeric_order(tmp_path: Path) -> None:
    files = {
        **node_files(2, "10 20 30", "0"),
        **node_files(10, "20 10 40", "1"),
        **node_files(100, "30 40 10", ""),
    }
    topology = read_topology(RecordedKernel(write(tmp_path, files)))
    assert list(topology.ids) == [2, 10, 100]
    assert topology.distance(100, 10) == 40
    assert not topology.node(100).cpus


def test_nodes_without_memory_are_no_targets(tmp_path: Path) -> None:
    files = {**node_files(0, "10 20", "0"), **node_files(1, "20 10", "1", total=0, free=0)}
    topology = read_topology(RecordedKernel(write(tmp_path, files)))
    assert str(topology.memory_ids) == "0"


def test_offline_cpus_and_old_kernels_with_masks_only(tmp_path: Path) -> None:
    files = node_files(0, "10")
    del files["sys/devices/system/node/node0/cpulist"]
    files["sys/devices/system/node/node0/cpumap"] = "00000000,00000005\n"
    files |= {"sys/devices/system/cpu/present": "0-3\n", "sys/devices/system/cpu/online": "0,2\n"}
    topology = read_topology(RecordedKernel(write(tmp_path, files)))
    assert list(topology.node(0).cpus) == [0, 2]
    assert list(topology.offline_cpus) == [1, 3]


@pytest.mark.parametrize(
    ("online", "possible", "folders", "row", "own"),
    [
        ("1", "0-1", (1,), "21 10", 10),  # a row with the offline node's column, as hwloc's offline-cpu0-node0 has
        ("1", "", (0, 1), "21 10", 10),
        ("1", "", (1,), "21 10", 10),
        ("1", "0-1", (1,), "10", 10),
        ("1,3", "0-3", (1, 3), "20 10 20 30", 10),
    ],
)
def test_distances_are_of_the_right_column_with_nodes_offline(
    tmp_path: Path, online: str, possible: str, folders: tuple[int, ...], row: str, own: int
) -> None:
    files: dict[str, str | bytes] = {"sys/devices/system/node/online": online + "\n"}
    if possible:
        files["sys/devices/system/node/possible"] = possible + "\n"
    for node in folders:
        files |= node_files(node, row, str(node))
    topology = read_topology(RecordedKernel(write(tmp_path, files)))
    assert topology.distance(1, 1) == own
    if 3 in topology.ids:
        assert topology.distance(1, 3) == 30
    assert not [warning for warning in topology.warnings if "distances for" in warning]


def test_cpus_that_are_offline_are_no_nodes_cpus(tmp_path: Path) -> None:
    files = {**node_files(0, "10 20", "0-3"), **node_files(1, "20 10", "4-7")}
    files |= {"sys/devices/system/cpu/present": "0-7\n", "sys/devices/system/cpu/online": "1-3,5\n"}
    topology = read_topology(RecordedKernel(write(tmp_path, files)))
    assert [str(node.cpus) for node in topology.nodes] == ["1-3", "5"]
    assert str(topology.offline_cpus) == "0,4,6-7"
    assert 0 not in topology.node_of_cpu


def test_kernels_without_a_list_of_online_cpus_tell_them_one_by_one(tmp_path: Path) -> None:
    files = node_files(0, "10", "0-3")
    files |= {f"sys/devices/system/cpu/cpu{cpu}/topology/core_id": f"{cpu}\n" for cpu in range(4)}
    files |= {"sys/devices/system/cpu/cpu1/online": "0\n", "sys/devices/system/cpu/cpu2/online": "1\n"}
    topology = read_topology(RecordedKernel(write(tmp_path, files)))
    assert str(topology.node(0).cpus) == "0,2-3"


@pytest.mark.parametrize(
    ("rows", "cpus", "nearest"),
    [
        (["10 20 17", "20 10 28", "17 28 10"], "0-1", "0"),
        (["10 20 28", "20 10 28", "28 28 10"], "0-1", ""),
        (["10 20 20 20", "20 10 28 20", "20 28 10 20", "20 20 20 10"], "0-2", ""),
        (["10 20 20 20", "20 10 28 30", "20 28 10 20", "20 30 20 10"], "0-2", "0,2"),
        (["10 10 10", "10 10 10", "10 10 10"], "0-1", ""),
        (["10 20", "20 10"], "0", "0"),
        (["", "", ""], "0-1", ""),
    ],
)
def test_a_node_without_cpus_has_nearest_cpus_by_distance(
    tmp_path: Path, rows: list[str], cpus: str, nearest: str
) -> None:
    files: dict[str, str | bytes] = {}
    with_cpus = NodeSet.parse_list(cpus)
    for node, row in enumerate(rows):
        files |= node_files(node, row, str(node) if node in with_cpus else "")
    topology = read_topology(RecordedKernel(write(tmp_path, files)))
    assert str(topology.nearest_with_cpus(len(rows) - 1)) == nearest
    assert str(topology.nearest_with_cpus(0)) == "0"


@pytest.mark.parametrize("others", [[], ["node2"]])
def test_the_firmware_knows_better_which_cpus_are_nearest(tmp_path: Path, others: list[str]) -> None:
    """HMAT: access1 has the nearest CPUs, access0 the nearest of any kind, as here a device with memory."""
    files = {**node_files(0, "10 20 17", "0"), **node_files(1, "20 10 28", "1"), **node_files(2, "17 28 10", "")}
    base = "sys/devices/system/node/node2"
    files |= {f"{base}/access0/initiators/{other}/cpulist": "\n" for other in others}
    files[f"{base}/access1/initiators/node1/cpulist"] = "1\n"
    topology = read_topology(RecordedKernel(write(tmp_path, files)))
    assert str(topology.nearest_with_cpus(2)) == "1"


def test_free_memory_that_is_not_told_is_unknown(tmp_path: Path) -> None:
    files = {**node_files(0, "10 20", "0"), **node_files(1, "20 10", "1")}
    files["sys/devices/system/node/node1/meminfo"] = "Node 1 MemTotal: 1048576 kB\n"
    topology = read_topology(RecordedKernel(write(tmp_path, files)))
    assert topology.node(1).free is None
    assert "how much memory of node 1 is free is not told" in topology.warnings


def test_hmat_figures(tmp_path: Path) -> None:
    files = node_files(0, "10", "0")
    files["sys/devices/system/node/node0/access0/initiators/read_latency"] = "84\n"
    files["sys/devices/system/node/node0/access0/initiators/read_bandwidth"] = "119000\n"
    assert read_topology(RecordedKernel(write(tmp_path, files))).node(0).access == {
        "read_latency": 84,
        "read_bandwidth": 119000,
    }


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["10 20", "30 10"], "but"), (["10 10", "10 10"], "between all nodes"), (["0 0", "0 0"], "between all nodes"),
        (["10", "20 10"], "1 distances for 2"), (["10 x", "20 10"], "not a list"), (["30 20", "20 10"], "farther "
                                                                                                        "from itself"),
        (["10 5", "5 10"], "less than 10"),
    ],
)  # fmt: skip
def test_firmware_nonsense_is_shown_not_believed(tmp_path: Path, rows: list[str], says: str) -> None:
    files = {**node_files(0, rows[0], "0"), **node_files(1, rows[1], "0")}
    warnings = read_topology(RecordedKernel(write(tmp_path, files))).warnings
    assert any(says in warning for warning in warnings)
    assert any("claim the CPUs 0" in warning for warning in warnings)


def test_no_nodes_at_all(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match="--demo"):
        read_topology(RecordedKernel(write(tmp_path, {"proc/version": "Linux\n"})))


@pytest.mark.skipif(not MACHINES, reason="the recorded machines are not beside this checkout")
@pytest.mark.parametrize("path", [*MACHINES, *GUESTS], ids=lambda path: path.name)
def test_recorded_machines(path: Path) -> None:
    topology = read_topology(RecordedKernel(path))
    assert len(topology.nodes) in (3, 4, 8)
    assert all(len(node.distances) == len(topology.nodes) for node in topology.nodes)
    assert any(node.total > 256 << 20 for node in topology.nodes)
    expected_warnings = "buggy" in path.name
    assert bool(topology.warnings) == expected_warnings
    if "sparse" in path.name:
        assert str(topology.ids) == "0-2,33-34,45,72-73"
    if "ppc" in path.name:
        assert topology.distance(12, 13) == 20
        assert topology.distance(4, 5) == 20
        assert topology.distance(0, 13) == 40
    if "nvidia" in path.name:
        assert [node.id for node in topology.nodes if not node.cpus] == [250, 251, 252, 253, 254, 255]
    if "memoryless" in path.name:
        assert str(topology.memory_ids) == "0,2"


@pytest.mark.skipif(not MACHINES, reason="the recorded machines are not beside this checkout")
def test_a_tarball_and_its_unpacked_folder_say_the_same(tmp_path: Path) -> None:
    with tarfile.open(MACHINES[0]) as tar:
        tar.extractall(tmp_path, filter="data")
    assert read_topology(RecordedKernel(tmp_path)) == read_topology(RecordedKernel(MACHINES[0]))


def test_the_hardware_of_this_machine_agrees_with_lscpu_and_psutil() -> None:
    import psutil

    from backend.live.kernel import LiveKernel

    topology = read_topology(LiveKernel())
    assert len(topology.node_of_cpu) == psutil.cpu_count()
    shown = subprocess.run(["lscpu"], capture_output=True, text=True, env={"LC_ALL": "C"}, check=True).stdout
    counted = [line.split(":")[1].strip() for line in shown.splitlines() if line.startswith("NUMA node(s):")]
    assert not counted or int(counted[0]) == len(topology.nodes)


foreign = st.sampled_from([b"", b"MemFree: x kB", b"MemFree -1", b"7: 7 kB", b"numa_hit", b"numa_hit 1 2", b"a b 3"])
foreign |= st.binary(max_size=40).filter(lambda raw: b"\n" not in raw and not raw[:4].strip()[:1].isalpha())
"""Lines that are neither of meminfo nor of numastat."""
names = st.from_regex(r"[A-Za-z]\w{0,15}", fullmatch=True).filter(str.isascii)
amounts = st.integers(0, 10**17)


@given(st.lists(st.tuples(names, amounts, st.booleans(), st.booleans()) | foreign, max_size=8))
def test_meminfo_is_read_whatever_lines_are_between(lines: list[tuple[str, int, bool, bool] | bytes]) -> None:
    raw = b""
    told: dict[str, int] = {}
    for line in lines:
        if isinstance(line, bytes):
            raw += line + b"\n"
        else:
            name, amount, of_node, in_kb = line
            raw += f"{'Node 3 ' * of_node}{name}:     {amount}{' kB' * in_kb}\n".encode()
            told[name] = amount * 1024 if in_kb else amount
    assert parse_meminfo(raw) == told


@given(st.lists(st.tuples(names, amounts) | foreign, max_size=8))
@example([b"numa_hit", b"0"])
def test_counters_are_read_whatever_lines_are_between(lines: list[tuple[str, int] | bytes]) -> None:
    raw = b"".join((line if isinstance(line, bytes) else f"{line[0]} {line[1]}".encode()) + b"\n" for line in lines)
    assert parse_counters(raw) == dict(line for line in lines if not isinstance(line, bytes))


@given(st.lists(st.integers(0, 999_999_999).map(b"%d".__mod__) | st.sampled_from([b"x", b"-1", b"\xb2", b"1" * 5000])))
def test_distances_are_all_numbers_or_a_parse_error(words: list[bytes]) -> None:
    raw = b" ".join(words) + b"\n"
    if all(word.isdigit() and len(word) < 10 for word in words):
        assert parse_distances(raw) == [int(word) for word in words]
    else:
        with pytest.raises(ParseError) as caught:
            parse_distances(raw)
        assert len(str(caught.value)) < 200
        assert str(caught.value).isprintable()


@given(st.binary(max_size=400))
def test_any_bytes_give_facts_or_a_parse_error(raw: bytes) -> None:
    for facts in (parse_meminfo(raw), parse_counters(raw)):
        assert all(name.encode() in raw and amount >= 0 for name, amount in facts.items())
    for marks in parse_watermarks(raw).values():
        assert min(marks.min, marks.low, marks.high) >= 0
    with contextlib.suppress(ParseError):
        assert parse_distances(raw) == [int(word) for word in raw.split()]
