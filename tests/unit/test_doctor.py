"""What the doctor says: every check's every state, and that nothing it reads can break it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.doctor import Check, examine
from backend.doctor.container import identity_map
from backend.doctor.memory import chosen
from backend.doctor.tools import journal_check
from backend.emulator.kernel import EmulatedKernel
from backend.kernel import Capabilities, Capability
from backend.nodeset import CpuSet
from backend.rates import Rate, machine_of, rates_path, save_rates
from backend.recording import RecordedKernel
from backend.topology import read_topology
from tests.emulator.machines import machine
from tests.unit.trees import two_nodes, write

STATUS = b"Uid:\t0\t0\t0\t0\nCapEff:\t%s\nSeccomp:\t%s\n"
ALL_CAPS, NO_CAPS = b"000001ffffffffff", b"0000000000000000"


class _Live(RecordedKernel):
    """A folder that says it is this Linux: files below /proc/self are its own."""

    source: Any = "live"
    privileged = True
    scan: int | None = errno.ENOTTY

    def capabilities(self) -> Capabilities:
        return {
            **super().capabilities(),
            **dict.fromkeys(("move_pages", "migrate_pages", "move_all", "pidfd"), Capability(True)),
        }

    def credentials(self) -> tuple[int, bool]:
        return (0, True) if self.privileged else (1000, False)

    def pagemap_scan(self, pid: int, start: int, end: int, count: int) -> tuple[int, bytes]:
        if self.scan is not None:
            raise OSError(self.scan, "no")
        return end, b""


def live(folder: str) -> Any:
    """Such a kernel."""
    return _Live(folder)


@pytest.fixture
def folder(tmp_path: Path, private_state: Path) -> Path:
    root = two_nodes(tmp_path / "tree")
    write(
        root,
        {
            "proc/self/status": STATUS % (ALL_CAPS, b"0"),
            "proc/self/uid_map": b"0 0 4294967295\n",
            "proc/1/stat": b"",
        },
    )
    return root


def said(root: Path, **how: Any) -> dict[str, list[Check]]:
    kernel = live(str(root))
    for name, value in how.items():
        setattr(kernel, name, value)
    out: dict[str, list[Check]] = {}
    for check in examine(kernel):
        assert check.text
        assert check.state != "ok" or not check.fix
        out.setdefault(check.name, []).append(check)
    return out


@pytest.mark.parametrize(
    ("name", "files", "state", "words"),
    [
        ("balancing", {"proc/sys/kernel/numa_balancing": b"0\n"}, "ok", "off"),
        ("balancing", {"proc/sys/kernel/numa_balancing": b"1\n"}, "note", "hides pages"),
        ("balancing", {"proc/sys/kernel/numa_balancing": b"2\n"}, "note", "tiering"),
        ("balancing", {"proc/sys/kernel/numa_balancing": b"3\n"}, "note", "hides pages"),
        ("zone_reclaim", {"proc/sys/vm/zone_reclaim_mode": b"1\n"}, "note", "is 1"),
        ("thp", {"sys/kernel/mm/transparent_hugepage/enabled": b"always [madvise] never\n"}, "ok", "madvise"),
        ("swap", {"proc/meminfo": b"SwapTotal: 1048576 kB\nSwapFree: 1048576 kB\n"}, "ok", "hardly"),
        ("swap", {"proc/meminfo": b"SwapTotal: 1048576 kB\nSwapFree: 524288 kB\n"}, "note", "512 of 1024 MiB"),
        ("pressure", {"proc/pressure/memory": b"some avg10=0.00 avg60=0 \n"}, "ok", "0%"),
        ("pressure", {"proc/pressure/memory": b"some avg10=25.00 avg60=0 \n"}, "note", "25%"),
        ("hugetlb", {"sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages": b"8\n",
                     "sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages": b"3\n"}, "ok", "node 1: 3 of 8"),
        ("tiers", {"sys/devices/virtual/memory_tiering/memory_tier4/nodelist": b"0\n",
                   "sys/devices/virtual/memory_tiering/memory_tier8/nodelist": b"1\n"}, "note", "node 0; node 1"),
        ("demotion", {"sys/devices/virtual/memory_tiering/memory_tier4/nodelist": b"0\n",
                      "sys/devices/virtual/memory_tiering/memory_tier8/nodelist": b"1\n",
                      "sys/kernel/mm/numa/demotion_enabled": b"true\n"}, "note", "by itself"),
        ("capabilities", {}, "ok", "CAP_SYS_ADMIN, CAP_SYS_NICE, CAP_SYS_PTRACE"),
        ("capabilities", {"proc/self/status": STATUS % (b"0000000000a00000", b"0")}, "note", "no CAP_SYS_PTRACE"),
        ("seccomp", {"proc/self/status": STATUS % (ALL_CAPS, b"2")}, "note", "filters"),
        ("namespace", {"proc/self/uid_map": b"0 1000 1\n"}, "note", "user namespace"),
        ("container", {".dockerenv": b""}, "note", "container"),
        ("container", {"run/.containerenv": b""}, "note", "container"),
        ("cgroups", {}, "note", "no cgroups"),
        ("frames", {}, "note", "samples"),
        ("frames", {"proc/kpageflags": bytes(8)}, "ok", "exact"),
        ("pagemap_scan", {}, "note", "6.7"),
        ("journal", {}, "ok", "jobs"),
        ("bench", {}, "note", "assumed"),
    ],
)  # fmt: skip
def test_each_check_in_each_state(
    folder: Path, name: str, files: dict[str, bytes], state: str, words: str
) -> None:
    write(folder, {**files})
    (check,) = said(folder)[name]
    assert check.state == state
    assert words in check.text
    assert state == "ok" or check.fix or name in ("cgroups", "tiers", "pagemap_scan")


def test_what_is_lacking_is_named_one_by_one(folder: Path) -> None:
    write(folder, {"proc/self/status": STATUS % (NO_CAPS, b"0")})
    assert [check.text.split(":")[0] for check in said(folder, privileged=False)["capabilities"]] == [
        "no CAP_SYS_ADMIN",
        "no CAP_SYS_NICE",
        "no CAP_SYS_PTRACE",
    ]


def test_a_kernel_with_the_scan_and_a_machine_that_was_measured(folder: Path) -> None:
    kernel = live(str(folder))
    save_rates(
        rates_path(), machine_of(kernel, read_topology(kernel)), [Rate(0, 1, False, "move_pages", 1, 1, 1, 1)]
    )
    found = said(folder, scan=None)
    assert found["pagemap_scan"][0].state == found["bench"][0].state == "ok"


def test_what_an_emulated_or_a_recorded_machine_cannot_tell_is_left_out(folder: Path) -> None:
    for kernel in (EmulatedKernel(machine()), RecordedKernel(str(folder))):
        names = {check.name for check in examine(kernel)}
        assert not names & {"capabilities", "seccomp", "container", "cgroups", "frames", "journal", "bench"}
        assert {"kernel", "nodes", "permission", "processes", "balancing"} <= names


def test_a_journal_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    assert journal_check(tmp_path / "a" / "b").state == "ok"
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    assert journal_check(tmp_path / "file").state == "problem"
    (tmp_path / "link").symlink_to(tmp_path)
    assert journal_check(tmp_path / "link").state == "problem"
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        assert journal_check(tmp_path / "closed" / "jobs").state == "problem"


@pytest.mark.parametrize(
    ("raw", "identity"),
    [(b"", True), (b"         0          0 4294967295\n", True), (b"0 1000 1\n", False), (b"0 0 4294967295\n1 1 1\n", False), (b"\xff", False)],
)  # fmt: skip
def test_uid_maps(raw: bytes, identity: bool) -> None:
    assert identity_map(raw) == identity


@given(st.text(max_size=60))
def test_no_text_breaks_the_choice(text: str) -> None:
    assert len(chosen(text)) <= 20


PATHS = (
    "proc/self/status", "proc/self/uid_map", "proc/meminfo", "proc/pressure/memory", "proc/sys/kernel/numa_balancing",
    "proc/sys/vm/zone_reclaim_mode", "sys/kernel/mm/transparent_hugepage/enabled", "proc/mounts", "proc/self/mounts",
    "sys/devices/virtual/memory_tiering/memory_tier1/nodelist", "proc/zoneinfo", "sys/devices/system/node/node1/meminfo",
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(PATHS), st.binary(max_size=80), max_size=4))
def test_no_contents_break_it(folder: Path, files: dict[str, bytes]) -> None:
    write(folder, {**files})
    assert said(folder)["kernel"]


def test_a_machine_without_cpus_on_a_node_is_told(folder: Path) -> None:
    write(folder, {"sys/devices/system/node/node1/cpulist": b"\n"})
    assert read_topology(live(str(folder))).node(1).cpus == CpuSet()
    assert "1" in said(folder)["cpuless"][0].text
