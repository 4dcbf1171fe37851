"""What the doctor says: every check's every state, and that nothing it reads can break it."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.doctor import Check, examine
from backend.doctor.container import identity_map
from backend.doctor.memory import chosen, parse_swaps
from backend.doctor.permissions import parse_capabilities, parse_seccomp
from backend.doctor.tools import journal_check, tells_frame
from backend.emulator.abi.kernel import EmulatedKernel
from backend.kernel import Call, Capabilities, Capability
from backend.live.kernel import LiveKernel
from backend.machine.topology import read_topology
from backend.nodeset import CpuSet
from backend.plan.rates import Rate, machine_of, rates_path, save_rates
from backend.process.hidepid import parse_hidepid
from backend.recording.kernel import RecordedKernel
from tests.emulator.machines import machine
from tests.trees import node_files, two_nodes, write

STATUS = b"Uid:\t0\t0\t0\t0\nCapEff:\t%s\nSeccomp:\t%s\n"
ALL_CAPS, NO_CAPS = b"000001ffffffffff", b"0000000000000000"
PRESENT = 1 << 63
FRAME_TOLD, FRAME_HIDDEN = (PRESENT | 0x1234).to_bytes(8, "little"), PRESENT.to_bytes(8, "little")
V2 = "sys/fs/cgroup/cgroup"
TIERS: dict[str, bytes] = {
    "sys/devices/virtual/memory_tiering/memory_tier4/nodelist": b"0\n",
    "sys/devices/virtual/memory_tiering/memory_tier8/nodelist": b"1\n",
}
WEIGHTED = "sys/kernel/mm/mempolicy/weighted_interleave"
WEIGHTS: dict[str, bytes] = {f"{WEIGHTED}/node0": b"3\n", f"{WEIGHTED}/node1": b"7\n"}
KDAMONDS = "sys/kernel/mm/damon/admin/kdamonds"
POOL = "sys/devices/system/node/node{}/hugepages/hugepages-{}kB/{}_hugepages"


class _Live(RecordedKernel):
    """A folder that says it is this Linux: files below /proc/self are its own."""

    source: Any = "live"
    traits = LiveKernel().traits
    privileged = True
    uid = 0
    scan: int | None = errno.ENOTTY
    refused: tuple[Call, ...] = ()
    pagemap: bytes | int = FRAME_TOLD
    closed: dict[str, int] = {}  # noqa: RUF012

    def capabilities(self) -> Capabilities:
        calls = super().capabilities()
        return {call: Capability(False, "refused") if call in self.refused else Capability(True) for call in calls}

    def credentials(self) -> tuple[int, bool]:
        return (self.uid, True) if self.privileged else (1000, False)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        if path in self.closed:
            raise OSError(self.closed[path], "closed")
        if path == "/proc/self/pagemap":
            if isinstance(self.pagemap, int):
                raise OSError(self.pagemap, "no")
            return self.pagemap
        return super().read(path, offset, size)

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


def pool(node: int, total: int, free: int, size: int = 2048) -> dict[str, bytes]:
    """The files of a pool of hugetlb pages of `size` KiB."""
    return {POOL.format(node, size, "nr"): b"%d\n" % total, POOL.format(node, size, "free"): b"%d\n" % free}


@pytest.mark.parametrize(
    ("name", "files", "state", "words"),
    [
        ("kernel", {}, "ok", "6.1.0"),
        ("nodes", {}, "ok", "2 nodes with memory: 0-1"),
        ("nodes", {"sys/devices/system/node/online": b"0\n"}, "note", "nowhere to move"),
        ("firmware", {"sys/devices/system/node/node1/distance": b"17 10\n"}, "note", "the distance 0 to 1 is 21"),
        ("balancing", {}, "ok", "off"),
        ("balancing", {"proc/sys/kernel/numa_balancing": b"0\n"}, "ok", "off"),
        ("balancing", {"proc/sys/kernel/numa_balancing": b"1\n"}, "note", "hides pages"),
        (
            "balancing",
            {"proc/sys/kernel/numa_balancing": b"1\n", "proc/sys/kernel/osrelease": b"6.12.0\n"},
            "note",
            "is on: it may move pages back",
        ),
        ("balancing", {"proc/sys/kernel/numa_balancing": b"2\n"}, "note", "tiering"),
        ("balancing", {"proc/sys/kernel/numa_balancing": b"3\n"}, "note", "hides pages"),
        ("balancing", {"proc/sys/kernel/numa_balancing": "\u00b2".encode()}, "note", "does not know"),
        ("balancing", {"proc/sys/kernel/numa_balancing": b"9" * 5000}, "note", "does not know"),
        ("zone_reclaim", {"proc/sys/vm/zone_reclaim_mode": b"0\n"}, "ok", "takes memory of other nodes before"),
        ("zone_reclaim", {"proc/sys/vm/zone_reclaim_mode": b"1\n"}, "note", "is 1"),
        ("thp", {"sys/kernel/mm/transparent_hugepage/enabled": b"[always] madvise never\n"}, "ok", "always, wherever"),
        (
            "thp",
            {"sys/kernel/mm/transparent_hugepage/enabled": b"always [madvise] never\n"},
            "ok",
            "madvise, where programs",
        ),
        ("thp", {"sys/kernel/mm/transparent_hugepage/enabled": b"always madvise [never]\n"}, "ok", "never, none"),
        (
            "thp",
            {"sys/kernel/mm/transparent_hugepage/enabled": b"always [within]\n"},
            "ok",
            "within, which numatui does not know",
        ),
        ("swap", {"proc/meminfo": b"SwapTotal: 0 kB\nSwapFree: 0 kB\n"}, "ok", "none"),
        ("swap", {"proc/meminfo": b"SwapTotal: 1048576 kB\nSwapFree: 1048576 kB\n"}, "ok", "1024 MiB, hardly"),
        ("swap", {"proc/meminfo": b"SwapTotal: 1048576 kB\nSwapFree: 524288 kB\n"}, "note", "512 of 1024 MiB"),
        (
            "swap",
            {"proc/swaps": b"Filename Type Size Used Priority\n/a b partition 1048576 1048576 -2\n"},
            "note",
            "1024 of 1024 MiB",
        ),
        ("swap", {"proc/swaps": b"Filename Type Size Used Priority\n"}, "ok", "none"),
        ("pressure", {"proc/pressure/memory": b"some avg10=0.00 avg60=0 \n"}, "ok", "0%"),
        ("pressure", {"proc/pressure/memory": b"some avg10=25.00 avg60=0 \n"}, "note", "25%"),
        ("hugetlb", {**pool(0, 4, 4), **pool(1, 8, 3)}, "ok", "of 2 MiB, free: node 0: 4 of 4, node 1: 3 of 8"),
        ("hugetlb", pool(1, 8, 3), "note", "on node 0 none is free"),
        ("hugetlb", {**pool(0, 4, 1), **pool(1, 8, 0)}, "note", "on node 1 none is free"),
        ("hugetlb", {**pool(0, 4, 1, 64), **pool(1, 8, 1, 64)}, "ok", "of 64 KiB"),
        ("hugetlb", {**pool(0, 4, 1, 1 << 20), **pool(1, 8, 1, 1 << 20)}, "ok", "of 1 GiB"),
        ("tiers", TIERS, "note", "node 0; node 1"),
        ("tiers", {"sys/devices/virtual/memory_tiering/memory_tier4/nodelist": b"0-1\n"}, "ok", "one tier"),
        ("demotion", {"sys/kernel/mm/numa/demotion_enabled": b"true\n"}, "note", "by itself"),
        ("demotion", {"sys/kernel/mm/numa/demotion_enabled": b"false\n"}, "ok", "stay in their tier"),
        ("stall", {"proc/sys/kernel/osrelease": b"6.1.0-57-amd64\n"}, "note", "for the whole move"),
        ("stall", {"proc/sys/kernel/osrelease": b"7.2.2\n"}, "ok", "only while it looks"),
        ("weights", {}, "ok", "no weighted interleave"),
        ("weights", WEIGHTS, "ok", "node 0: 3, node 1: 7"),
        ("weights", WEIGHTS | {f"{WEIGHTED}/auto": b"true\n"}, "ok", "node 1: 7, from the nodes' bandwidths"),
        ("weights", WEIGHTS | {f"{WEIGHTED}/auto": b"false\n"}, "ok", "node 1: 7, set by hand"),
        ("reclaim", {}, "ok", "no reclaim of one node"),
        ("reclaim", {"sys/devices/system/node/node0/reclaim": b""}, "ok", "memory of one node can"),
        ("damon", {}, "ok", "no DAMON"),
        ("damon", {f"{KDAMONDS}/nr_kdamonds": b"0\n"}, "ok", "which pages are hot"),
        ("damon", {f"{KDAMONDS}/nr_kdamonds": b"1\n", f"{KDAMONDS}/0/state": b"on\n"}, "ok", "1 kdamond runs already"),
        ("damon", {f"{KDAMONDS}/nr_kdamonds": b"1\n"}, "ok", "set up by somebody else"),
        (
            "damon",
            {
                f"{KDAMONDS}/nr_kdamonds": b"1\n",
                f"{KDAMONDS}/0/contexts/0/schemes/0/access_pattern/sz/max": b"%d\n" % (1 << 62 | 77 << 32 | 5),
            },
            "note",
            "a numatui that was killed (77) left",
        ),
        ("idle", {}, "ok", "no idle page tracking"),
        ("idle", {"sys/kernel/mm/page_idle/bitmap": b""}, "ok", "told one by one"),
        ("capabilities", {}, "ok", "CAP_SYS_ADMIN, CAP_SYS_NICE, CAP_SYS_PTRACE"),
        (
            "capabilities",
            {"proc/self/status": STATUS % (b"0000000000280000", b"0")},
            "note",
            "no CAP_SYS_NICE: pages that others",
        ),
        (
            "capabilities",
            {"proc/self/status": STATUS % (b"0000000000a00000", b"0")},
            "note",
            "no CAP_SYS_PTRACE: the placement",
        ),
        (
            "capabilities",
            {"proc/self/status": STATUS % (b"0000000000880000", b"0")},
            "note",
            "no CAP_SYS_ADMIN: pagemap",
        ),
        ("capabilities", {"proc/self/uid_map": b"0 1000 1\n"}, "note", "within a user namespace"),
        ("seccomp", {}, "ok", "no filter"),
        ("seccomp", {"proc/self/status": STATUS % (ALL_CAPS, b"2")}, "ok", "numatui makes are allowed"),
        ("processes", {}, "ok", "2 can be seen"),
        (
            "processes",
            {"proc/self/mounts": b"proc /proc proc rw,nosuid,hidepid=invisible 0 0\n"},
            "ok",
            "hidepid=invisible",
        ),
        ("namespace", {"proc/self/uid_map": b"0 1000 1\n"}, "note", "user namespace"),
        ("container", {}, "ok", "no sign"),
        ("container", {".dockerenv": b""}, "note", "container (/.dockerenv)"),
        ("container", {"run/.containerenv": b""}, "note", "container (/run/.containerenv)"),
        ("container", {"run/systemd/container": b"lxc"}, "note", "container (/run/systemd/container)"),
        ("cgroups", {}, "note", "no cgroups"),
        (
            "cgroups",
            {f"{V2}.controllers": b"cpuset memory\n", f"{V2}.subtree_control": b"memory cpuset\n"},
            "ok",
            "cgroup v2 with",
        ),
        (
            "cgroups",
            {f"{V2}.controllers": b"cpuset memory\n", f"{V2}.subtree_control": b"memory\n"},
            "note",
            "v2: cpuset not enabled",
        ),
        ("cgroups", {f"{V2}.controllers": b"cpu cpuset\n"}, "note", "without the controller memory"),
        ("cgroups", {"sys/fs/cgroup/cpuset/tasks": b"", "sys/fs/cgroup/memory/tasks": b""}, "ok", "cgroup v1 with"),
        ("frames", {}, "ok", "exact"),
        ("kpageflags", {}, "note", "hidden"),
        ("kpageflags", {"proc/kpageflags": bytes(8)}, "ok", "are recognized"),
        ("pagemap_scan", {}, "note", "6.7"),
        ("journal", {}, "ok", "jobs"),
        ("bench", {}, "note", "assumed"),
    ],
)
def test_each_check_in_each_state(folder: Path, name: str, files: dict[str, bytes], state: str, words: str) -> None:
    write(folder, {**files})
    (check,) = said(folder)[name]
    assert (check.state, words in check.text) == (state, True), check
    assert state == "ok" or check.fix or name in ("tiers", "pagemap_scan", "firmware")


@pytest.mark.parametrize(
    ("name", "how", "state", "words"),
    [
        ("permission", {}, "ok", "every process"),
        ("permission", {"privileged": False}, "note", "uid 1000"),
        ("permission", {"closed": {"/proc/1/numa_maps": errno.EPERM}}, "note", "security module"),
        ("move_pages", {}, "ok", "available"),
        ("move_pages", {"refused": ("move_pages",)}, "problem", "refused"),
        ("migrate_pages", {"refused": ("migrate_pages",)}, "problem", "refused"),
        ("move_all", {"refused": ("move_all",)}, "note", "refused"),
        ("pidfd", {"refused": ("pidfd",)}, "note", "refused"),
        ("processes", {"privileged": False}, "ok", "can be seen"),
        ("processes", {"privileged": False, "closed": {"/proc/1/stat": errno.EPERM}}, "note", "what those of other "
                                                                                              "users do (hidepid)"),
        ("frames", {"pagemap": FRAME_HIDDEN}, "note", "pagemap hides frame numbers"),
        ("frames", {"pagemap": b""}, "note", "pagemap hides frame numbers"),
        ("frames", {"pagemap": errno.ENOENT}, "note", "pagemap cannot be read (ENOENT"),
        ("container", {"closed": {"/.dockerenv": errno.EACCES}}, "note", "container"),
        ("pagemap_scan", {"scan": None}, "ok", "skipped"),
        ("pagemap_scan", {"scan": errno.ENOSYS}, "note", "6.7"),
        ("pagemap_scan", {"scan": errno.EPERM}, "note", "refused (EPERM"),
    ],
)  # fmt: skip
def test_what_the_kernel_lets_the_caller_do(
    folder: Path, name: str, how: dict[str, Any], state: str, words: str
) -> None:
    (check,) = said(folder, **how)[name]
    assert (check.state, words in check.text) == (state, True), check


def test_a_filter_that_refuses_calls_is_told_with_their_names(folder: Path) -> None:
    write(folder, {"proc/self/status": STATUS % (ALL_CAPS, b"2")})
    (check,) = said(folder, refused=("mbind", "migrate_pages"))["seccomp"]
    assert check.state == "note"
    assert "migrate_pages, mbind refused" in check.text


def test_processes_that_are_not_shown_are_told_with_how_proc_is_mounted(folder: Path) -> None:
    (folder / "proc/1/stat").unlink()
    (folder / "proc/1").rmdir()
    write(folder, {"proc/self/mounts": b"proc /proc proc rw,hidepid=2,gid=9 0 0\n"})
    (check,) = said(folder, privileged=False)["processes"]
    assert (check.state, check.text) == ("note", "1 are shown: /proc hides those of other users (hidepid=2)")


def test_what_helps_depends_on_who_lacks_it(folder: Path) -> None:
    write(folder, {"proc/self/status": STATUS % (b"0000000000a00000", b"0")})
    assert "--cap-add" in said(folder)["capabilities"][0].fix
    assert said(folder, privileged=False)["capabilities"][0].fix == "run numatui as root"


def test_what_is_not_told_is_left_out(folder: Path) -> None:
    (folder / "proc/self/status").unlink()
    (folder / "proc/self/uid_map").unlink()
    left_out = {
        "seccomp",
        "capabilities",
        "namespace",
        "swap",
        "pressure",
        "thp",
        "zone_reclaim",
        "demotion",
        "tiers",
        "hugetlb",
        "cpuless",
        "firmware",
    }
    assert not left_out & said(folder).keys()


def test_no_nodes_is_a_problem_and_the_rest_is_still_told(tmp_path: Path, private_state: Path) -> None:
    write(tmp_path / "tree", {"proc/sys/kernel/osrelease": b"6.1.0\n"})
    found = said(tmp_path / "tree")
    assert found["nodes"][0].state == "problem"
    assert found["journal"][0].state == "ok"
    assert "bench" not in found


def test_proc_that_cannot_be_listed_is_a_problem(tmp_path: Path, private_state: Path) -> None:
    write(tmp_path / "tree", {"sys/devices/system/node/online": b"0\n"})
    assert said(tmp_path / "tree")["processes"][0].state == "problem"


def test_a_table_that_is_wrong_throughout_does_not_fill_the_screen(folder: Path) -> None:
    for node in range(2, 12):
        write(folder, node_files(node, " ".join(str(9 - node % 3) for _ in range(12))))
    write(folder, {"sys/devices/system/node/online": b"0-11\n"})
    found = said(folder)["firmware"]
    assert len(found) == 9
    assert re.fullmatch(r"and [0-9]+ more such warnings", found[-1].text)


def test_links_in_a_circle_cost_their_subject_only(folder: Path) -> None:
    (folder / "proc/pressure").mkdir()
    (folder / "proc/pressure/memory").symlink_to("memory")
    names = {check.name for check in examine(live(str(folder)))}
    assert {"balancing", "frames", "journal"} <= names


def test_what_is_lacking_is_named_one_by_one(folder: Path) -> None:
    write(folder, {"proc/self/status": STATUS % (NO_CAPS, b"0")})
    assert [check.text.split(":")[0] for check in said(folder, privileged=False)["capabilities"]] == [
        "no CAP_SYS_ADMIN",
        "no CAP_SYS_NICE",
        "no CAP_SYS_PTRACE",
    ]


def test_a_kernel_with_the_scan_and_a_machine_that_was_measured(folder: Path) -> None:
    kernel = live(str(folder))
    save_rates(rates_path(), machine_of(kernel, read_topology(kernel)), [Rate(0, 1, False, "move_pages", 1, 1, 1, 1)])
    found = said(folder, scan=None)
    assert found["pagemap_scan"][0].state == found["bench"][0].state == "ok"


def test_what_an_emulated_or_a_recorded_machine_cannot_tell_is_left_out(folder: Path) -> None:
    for kernel in (EmulatedKernel(machine()), RecordedKernel(str(folder))):
        names = {check.name for check in examine(kernel)}
        assert not names & {
            "capabilities",
            "seccomp",
            "container",
            "namespace",
            "cgroups",
            "frames",
            "kpageflags",
            "pagemap_scan",
            "journal",
            "bench",
        }
        assert {"kernel", "nodes", "permission", "processes"} <= names
        assert ("balancing" in names) == (kernel.source == "demo")


def test_a_journal_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    assert journal_check(tmp_path / "a" / "b").state == "ok"
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    (tmp_path / "program").touch(0o700)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for bad in ("file", "link", "dangling", "file/jobs", "program/jobs", "dangling/jobs", "n\0ul", "x" * 300):
        assert journal_check(tmp_path / bad).state == "problem", bad
    (tmp_path / "behind").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "behind")
    assert journal_check(tmp_path / "way" / "jobs").state == "ok"


def test_a_folder_that_may_not_be_entered_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> Any:
        raise PermissionError(errno.EACCES, "no", str(path))

    monkeypatch.setattr("backend.doctor.tools.os.lstat", forbidden)
    check = journal_check(tmp_path / "jobs")
    assert (check.state, "EACCES" in check.text) == ("problem", True)


@pytest.mark.parametrize(("free", "state"), [(100, "problem"), (1 << 20, "ok")])
def test_a_journal_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free, f_frsize=4096))
    assert journal_check(tmp_path / "jobs").state == state


def test_a_journal_that_others_may_look_into_is_told(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir(mode=0o700)
    assert journal_check(tmp_path / "jobs").state == "ok"
    (tmp_path / "jobs").chmod(0o750)
    assert journal_check(tmp_path / "jobs").state == "note"
    assert stat.S_IMODE((tmp_path / "jobs").stat().st_mode) == 0o750


@pytest.mark.parametrize(
    ("raw", "identity"),
    [
        (b"", True),
        (b"         0          0 4294967295\n", True),
        (b"0 1000 1\n", False),
        (b"0 0 4294967295\n1 1 1\n", False),
        (b"\xff", False),
    ],
)
def test_uid_maps(raw: bytes, identity: bool) -> None:
    assert identity_map(raw) == identity


@given(st.text(max_size=60))
def test_no_text_breaks_the_choice(text: str) -> None:
    assert len(chosen(text)) <= 20


@given(st.binary(max_size=120))
def test_no_bytes_break_a_parser(raw: bytes) -> None:
    assert isinstance(identity_map(raw), bool)
    assert isinstance(tells_frame(raw), bool)
    for shown in (
        raw,
        b"CapEff:" + raw,
        b"Seccomp:" + raw,
        b"proc /proc proc " + raw,
        b"proc /proc proc hidepid=" + raw,
    ):
        has, mode = parse_capabilities(shown), parse_seccomp(shown)
        assert has is None or 0 <= has < 1 << 64
        assert mode in (None, 0, 1, 2)
        assert parse_hidepid(shown).isascii()
    assert all(number >= 0 for number in parse_swaps(b"head\n" + raw))


@given(st.integers(0, (1 << 64) - 1))
def test_an_entry_names_a_frame_only_when_its_page_is_present(value: int) -> None:
    told = tells_frame(value.to_bytes(8, "little"))
    assert told == (value >> 63 == 1 and value % (1 << 55) > 0)


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40)), max_size=5))
def test_swap_areas_are_added_up(areas: list[tuple[int, int]]) -> None:
    lines = b"".join(b"/dev/a\\040b partition %d %d -2\n" % area for area in areas)
    expected = (1024 * sum(size for size, _ in areas), 1024 * sum(used for _, used in areas))
    assert parse_swaps(b"Filename Type Size Used Priority\n" + lines) == expected


@pytest.mark.parametrize(
    ("mounts", "value"),
    [
        (b"", ""), (b"proc /proc proc rw,nosuid 0 0\n", ""), (b"proc /proc proc hidepid=0 0 0\n", ""),
        (b"proc /proc proc rw,hidepid=off 0 0\n", ""), (b"proc /proc proc rw,hidepid=2,gid=4 0 0\n", "2"),
        (b"proc /proc proc hidepid=ptraceable 0 0\n", "ptraceable"), (b"proc /mnt proc hidepid=2 0 0\n", ""),
        (b"proc /proc proc hidepid=2 0 0\nproc /proc proc rw 0 0\n", ""), (b"proc /proc tmpfs hidepid=2 0 0\n", ""),
        (b"proc /proc proc rw,nothidepid=2 0 0\n", ""),
    ],
)  # fmt: skip
def test_hidepid(mounts: bytes, value: str) -> None:
    assert parse_hidepid(mounts) == value


PATHS = (
    "proc/self/status",
    "proc/self/uid_map",
    "proc/swaps",
    "proc/kpageflags",
    "sys/fs/cgroup/cgroup.controllers",
    "sys/fs/cgroup/cgroup.subtree_control",
    "sys/kernel/mm/numa/demotion_enabled",
    "proc/sys/kernel/osrelease",
    "proc/meminfo",
    "proc/pressure/memory",
    "proc/sys/kernel/numa_balancing",
    "proc/sys/vm/zone_reclaim_mode",
    "sys/kernel/mm/transparent_hugepage/enabled",
    "proc/mounts",
    "proc/self/mounts",
    "sys/devices/virtual/memory_tiering/memory_tier1/nodelist",
    "proc/zoneinfo",
    "sys/devices/system/node/node1/meminfo",
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(PATHS), st.binary(max_size=80), max_size=4))
def test_no_contents_break_it(folder: Path, files: dict[str, bytes]) -> None:
    write(folder, {**files})
    assert said(folder)["kernel"]


def test_a_machine_without_cpus_on_a_node_is_told(folder: Path) -> None:
    write(folder, {"sys/devices/system/node/node1/cpulist": b"\n"})
    assert read_topology(live(str(folder))).node(1).cpus == CpuSet()
    assert "1" in said(folder)["cpuless"][0].text
