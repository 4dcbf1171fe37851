"""Real programs read the emulated machine, written to a folder, and say the same of it as numatui does."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from backend.emulator.scenario.open import open_scenario
from backend.errors import UsageError
from backend.kernel import Traits
from backend.machine.topology import read_topology
from backend.recording.contents import files
from backend.recording.kernel import RecordedKernel
from backend.recording.record import Recorder
from backend.recording.sinks import Folder
from numatui.cli.app import run
from tests.conftest import without

MIB = 1 << 20
ODD = r"""
machine:
  nodes: [{id: 0, memory: 64MiB, cpus: 0-1}, {id: 2, memory: 48MiB, cpus: "2-3,40"}, {id: 5, memory: 32MiB}]
  distances: [[10, 21, 17], [21, 10, 28], [17, 28, 10]]
processes:
  - {name: "a) R\n1 (b", command: "x\ny ../..", uid: 0, node: 2,
     memory: [{kind: heap, size: 3MiB, on: {2: 70%, 5: 30%}}]}
  - {name: "../../etc", uid: 7, node: 0,
     memory: [{name: data, size: 5MiB, on: {0: 60%, 2: 40%}}, {kind: stack, size: 1MiB}]}
  - {name: empty, node: 0}
"""


def export(scenario: str, tree: Path) -> int:
    """Record it once to a folder; the number of files."""
    return Recorder(open_scenario(scenario), Folder(tree)).take().files


class Exported:
    """A machine's tree, and what numatui says of the machine itself."""

    def __init__(self, scenario: str, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.scenario, self.tree, self._capsys = scenario, tree, capsys
        self.files = export(scenario, tree)

    def numatui(self, *arguments: str) -> dict[str, Any]:
        self._capsys.readouterr()
        assert run([*arguments, "--json"]) == 0
        return json.loads(self._capsys.readouterr().out)

    @property
    def nodes(self) -> dict[int, dict[str, Any]]:
        return {node["id"]: node for node in self.numatui("--demo", self.scenario, "nodes")["nodes"]}

    @property
    def processes(self) -> list[dict[str, Any]]:
        return self.numatui("--demo", self.scenario, "ps")["processes"]

    def inside(self, *command: str, proc: bool = False) -> str:
        """What a program prints that sees this tree in place of /sys/devices/system/node (and /proc)."""
        need(command[0], "unshare")
        mounts = ['mount --bind "$1/sys/devices/system/node" /sys/devices/system/node']
        if proc:
            mounts.append('mount --bind "$1/proc" /proc')
        private = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
        if os.geteuid() or subprocess.run([*private, mounts[0], "sh", str(self.tree)], capture_output=True).returncode:
            without("no private mount namespace can be had")
        script = " && ".join([*mounts, 'shift && exec "$@"'])
        done = subprocess.run([*private, script, "sh", str(self.tree), *command], capture_output=True, text=True)
        if "No NUMA" in done.stdout + done.stderr:
            without(f"{command[0]} finds no NUMA system calls here")
        assert done.returncode == 0, done.stderr
        return done.stdout


def need(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            without(f"there is no {program}")


@pytest.fixture(params=["scheduler-moves", "odd"])
def exported(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Exported:
    scenario = request.param
    if scenario == "odd":
        scenario = str(tmp_path / "odd.yaml")
        Path(scenario).write_text(ODD)
    return Exported(scenario, tmp_path / "tree", capsys)


def test_the_tree_is_private_and_nothing_lies_outside_of_it(exported: Exported) -> None:
    files = [path for path in exported.tree.rglob("*") if not path.is_dir()]
    assert len(files) >= exported.files > 50
    for path in exported.tree.rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert {path.name for path in exported.tree.parent.iterdir()} <= {"tree", "odd.yaml"}


def test_the_tree_replayed_is_the_machine(exported: Exported) -> None:
    for command, key in (("nodes", "nodes"), ("ps", "processes")):
        there = exported.numatui("--replay", str(exported.tree), command)[key]
        here = exported.numatui("--demo", exported.scenario, command)[key]
        assert there == here
    assert read_topology(RecordedKernel(exported.tree)).warnings == ()


def test_numactl_sees_the_same_nodes(exported: Exported) -> None:
    out = exported.inside("numactl", "-H")
    nodes = exported.nodes
    assert out.startswith(f"available: {len(nodes)} nodes")
    cpus = {int(node): [int(cpu) for cpu in rest.split()] for node, rest in re.findall(r"node (\d+) cpus:(.*)", out)}
    assert cpus == {node: one["cpus"] for node, one in nodes.items()}
    for what, key in (("size", "total"), ("free", "free")):
        told = {int(node): int(size) for node, size in re.findall(rf"node (\d+) {what}: (\d+) MB", out)}
        assert told == {node: one[key] // MIB for node, one in nodes.items()}
    rows = re.findall(r"^ +(\d+): (.*)$", out.partition("node distances:")[2], re.MULTILINE)
    assert {int(node): [int(cell) for cell in row.split()] for node, row in rows} == {
        node: [one["distances"][str(other)] for other in nodes] for node, one in nodes.items()
    }


def test_numastat_sees_the_same_counters(exported: Exported) -> None:
    header, *lines = exported.inside("numastat").splitlines()
    nodes = exported.nodes
    assert header.split() == [f"node{node}" for node in nodes]
    table = {line.split()[0]: [int(cell) for cell in line.split()[1:]] for line in lines}
    assert table == {name: [one["numastat"][name] for one in nodes.values()] for name in table}
    assert len(table) == 6


def test_numastat_sees_the_same_memory_of_every_process(exported: Exported) -> None:
    nodes = list(exported.nodes)
    resident = [process for process in exported.processes if process["rss"]]
    assert resident
    for process in resident:
        out = exported.inside("numastat", "-p", str(process["pid"]), proc=True)
        total = next(line.split()[1:] for line in out.splitlines() if line.startswith("Total"))
        expected = [process["nodes"].get(str(node), 0) for node in nodes]
        assert [float(cell) for cell in total] == pytest.approx(
            [amount / MIB for amount in (*expected, sum(expected))], abs=0.006
        )


def test_lstopo_sees_the_same_nodes_cpus_and_distances(exported: Exported) -> None:
    need("lstopo")
    done = subprocess.run(
        ["lstopo", "--input", str(exported.tree), "--of", "xml"], capture_output=True, text=True, check=True,
        env={**os.environ, "HWLOC_COMPONENTS": "-pci,-gl,-opencl,-cuda"},
    )  # fmt: skip
    topology = ET.fromstring(done.stdout)
    nodes = exported.nodes
    told = {int(one.attrib["os_index"]): one for one in topology.iter("object") if one.get("type") == "NUMANode"}
    assert {node: int(one.attrib["local_memory"]) for node, one in told.items()} == {
        node: one["total"] for node, one in nodes.items()
    }
    cpus = {node: _bits(one.attrib["cpuset"]) for node, one in told.items() if nodes[node]["cpus"]}
    assert cpus == {node: one["cpus"] for node, one in nodes.items() if one["cpus"]}
    units = sorted(int(one.attrib["os_index"]) for one in topology.iter("object") if one.get("type") == "PU")
    assert units == sorted(cpu for one in nodes.values() for cpu in one["cpus"])
    distances = next(one for one in topology.iter("distances2") if one.get("name") == "NUMALatency")
    values = [int(word) for part in distances.iter("u64values") for word in (part.text or "").split()]
    assert values == [one["distances"][str(other)] for one in nodes.values() for other in nodes]


def _bits(mask: str) -> list[int]:
    """hwloc's `0x00000100,0x0000000c` → CPU numbers."""
    number = 0
    for word in mask.split(","):
        number = number << 32 | int(word or "0", 16)
    return [bit for bit in range(number.bit_length()) if number >> bit & 1]


def test_nothing_is_recorded_over_something(exported: Exported) -> None:
    with pytest.raises(UsageError, match="not empty"):
        export(exported.scenario, exported.tree)


class Hostile:
    """A machine whose directories have names that lead elsewhere, and files that go while they are read."""

    source = "demo"
    traits = Traits()
    name = ""

    def listdir(self, path: str) -> list[str]:
        if path == "/proc":
            return []
        if path == "/sys/devices/system/node":
            return ["..", ".", "", "a/../../b", "nul\0", "fine", "gone", "fi\nne\udcff"]
        raise FileNotFoundError(2, path)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        if path.endswith("/gone") or not path.startswith("/sys/devices/system/node/"):
            raise ProcessLookupError(3, path)
        return b"x"


def test_names_that_lead_out_are_left_out(tmp_path: Path) -> None:
    sink = Folder(tmp_path / "tree")
    for path, data in files(Hostile()):  # type: ignore[arg-type]
        sink.put(path, data)
    assert sorted(os.listdir(tmp_path / "tree/sys/devices/system/node")) == ["fi\nne\udcff", "fine"]
    assert os.listdir(tmp_path) == ["tree"]
