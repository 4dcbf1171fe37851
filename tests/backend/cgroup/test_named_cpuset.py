"""cgroup v1: what `numatui cgroups` lists is of the memory controller; the cpuset that is meant is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.cgroup.cpuset_tree import read_cpusets
from backend.cgroup.named_cpuset import find_cpuset
from backend.cpuset.change import predict_mems
from backend.errors import NotFound, UsageError
from backend.nodeset import NodeSet
from backend.recording.kernel import RecordedKernel
from tests.trees import node_files, process_files, write

ROOT = "sys/fs/cgroup"
ID = "0123456789abcdef" * 4


@pytest.fixture
def kernel(tmp_path: Path) -> RecordedKernel:
    files: dict[str, str | bytes] = {
        "sys/devices/system/node/online": "0-1\n", **node_files(0, "10 21", "0-3"), **node_files(1, "21 10", "4-7"),
        f"{ROOT}/memory/tasks": "", f"{ROOT}/cpuset/tasks": "", f"{ROOT}/memory/memory.numa_stat": "",
        f"{ROOT}/cpuset/cpuset.mems": "0-1\n",
        f"{ROOT}/cpuset/cpuset.cpus": "0-7\n", f"{ROOT}/cpuset/cpuset.memory_migrate": "0\n",
    }  # fmt: skip
    for path in ("/both", "/batch"):
        files |= {
            f"{ROOT}/cpuset{path}/cpuset.mems": "0-1\n", f"{ROOT}/cpuset{path}/cpuset.cpus": "0-7\n",
            f"{ROOT}/cpuset{path}/cpuset.memory_migrate": "1\n", f"{ROOT}/cpuset{path}/cgroup.procs": "7\n8\n",
        }  # fmt: skip
    for path, pids in {
        "/both": "7\n", "/db.service": "7\n", "/db.service/inner": "8\n", "/spread": "7\n9\n", "/outside": "9\n",
        "/empty": "", "/one/twin": "", "/two/twin": "", f"/docker/{ID}": "8\n",
    }.items():  # fmt: skip
        files |= {f"{ROOT}/memory{path}/cgroup.procs": pids}
    for pid, path in {7: "/batch", 8: "/batch", 9: "/"}.items():
        files |= {**process_files(pid, b"db"), f"proc/{pid}/cgroup": f"4:memory:/x\n3:cpuset:{path}\n"}
    return RecordedKernel(write(tmp_path, files))


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("/both", "/both", ""),
        ("/sys/fs/cgroup/memory/both", "/both", ""),
        ("/db.service", "/batch", "/db.service is no cpuset: all of its processes are in /batch, which changes"),
        ("db", "/batch", "/db.service is no cpuset: all of its processes are in /batch, which changes"),
        ("/sys/fs/cgroup/memory/db.service", "/batch", "/db.service is no cpuset"),
        (ID[:12], "/batch", f"/docker/{ID} is no cpuset"),
    ],
)
def test_it_is_the_cpuset_of_the_same_path_or_of_all_its_processes(
    kernel: RecordedKernel, text: str, path: str, said: str
) -> None:
    found, note = find_cpuset(kernel, read_cpusets(kernel), text)
    assert found.path == path
    assert note.startswith(said)
    assert bool(note) == bool(said)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("/spread", NotFound, "its processes are in /, /batch"),
        ("/outside", NotFound, "its processes are in /"),
        ("/empty", NotFound, "its processes are in none"),
        ("/absent", NotFound, "there is no cgroup /absent"),
        ("twin", NotFound, "there is no cgroup /twin"),
        ("../both", UsageError, "may not contain"),
    ],
)
def test_otherwise_it_is_said_what_there_is(
    kernel: RecordedKernel, text: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        find_cpuset(kernel, read_cpusets(kernel), text)


def test_a_change_says_that_another_is_meant(kernel: RecordedKernel) -> None:
    change = predict_mems(kernel, "db", NodeSet([1]))
    assert change.path == "/batch"
    assert change.notes[0] == "/db.service is no cpuset: all of its processes are in /batch, which changes"
    assert [one.process.pid for one in change.processes] == [7, 8]
