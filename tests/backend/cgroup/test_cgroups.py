"""Finding hierarchies, walking them, and memory.numa_stat, on small written trees."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cgroup import cgroups
from backend.cgroup.cgroup_memory import parse_numa_stat, survey
from backend.cgroup.cgroups import (
    Directory,
    check_path,
    find_hierarchies,
    hierarchy_of,
    members,
    parse_mounts,
    parse_pids,
    parse_proc_cgroup,
    walk,
)  # fmt: skip
from backend.errors import NotFound, NotPermitted, NotSupported, ParseError, UsageError
from backend.recording.kernel import RecordedKernel
from tests.kernels.around import Around
from tests.trees import write

V2_STAT = "anon N0=8192 N1=4096\nfile N0=4096 N1=0\nkernel_stack N0=100 N1=0\nanon_thp N0=0 N1=0\nshmem N0=4096 N1=0\n"
V1_STAT = (
    "total=7 N0=5 N1=2\nfile=1 N0=1 N1=0\nanon=5 N0=3 N1=2\nunevictable=1 N0=1 N1=0\n"
    "hierarchical_total=17 N0=10 N1=7\nhierarchical_file=4 N0=4 N1=0\nhierarchical_anon=12 N0=5 N1=7\n"
    "hierarchical_unevictable=1 N0=1 N1=0\n"
)
ROOT = "sys/fs/cgroup"


def v2(root: Path, groups: dict[str, dict[str, str]], mounts: str | None = None) -> RecordedKernel:
    """A recording with cgroup v2; `groups`: path → files."""
    files: dict[str, str | bytes] = {f"{ROOT}/cgroup.controllers": "cpuset memory\n", "proc/x": ""}
    if mounts is not None:
        files["proc/self/mounts"] = mounts
    for path, contents in groups.items():
        files |= {f"{ROOT}{path.rstrip('/')}/{name}": text for name, text in contents.items()}
    return RecordedKernel(write(root, files))


class Endless:
    """Directories in which there is one more of the same name, `depth` times."""

    def __init__(self, name: str, depth: int) -> None:
        self.name, self.depth = name, depth

    def listdir(self, path: str) -> list[str]:
        return [self.name] if path.count("/") < self.depth else []


class TestHierarchies:
    def test_v2_by_its_mount_and_without(self, tmp_path: Path) -> None:
        mounted = v2(tmp_path / "a", {"/": {}}, "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n")
        probed = v2(tmp_path / "b", {"/": {}})
        for kernel in (mounted, probed):
            (one,) = find_hierarchies(kernel)
            assert (one.version, one.mount, one.controllers) == ("v2", "/sys/fs/cgroup", {"cpuset", "memory"})

    def test_hybrid_takes_each_controller_where_it_is(self, tmp_path: Path) -> None:
        files: dict[str, str | bytes] = {
            f"{ROOT}/unified/cgroup.controllers": "cpuset\n",
            f"{ROOT}/memory/tasks": "1\n",
            f"{ROOT}/cpu,cpuacct/tasks": "1\n",
            "proc/x": "",
        }
        probed = RecordedKernel(write(tmp_path / "a", files))
        files["proc/self/mounts"] = (
            "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
            "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncgroup /gone cgroup rw,pids 0 0\n"
        )
        mounted = RecordedKernel(write(tmp_path / "b", files))
        for kernel in (probed, mounted):
            memory, cpuset = hierarchy_of(kernel, "memory"), hierarchy_of(kernel, "cpuset")
            assert (memory.version, memory.mount) == ("v1", "/sys/fs/cgroup/memory")
            assert (cpuset.version, cpuset.mount) == ("v2", "/sys/fs/cgroup/unified")
        assert hierarchy_of(probed, "cpuacct").mount == "/sys/fs/cgroup/cpu,cpuacct"
        with pytest.raises(NotSupported, match="pids controller"):
            hierarchy_of(mounted, "pids")

    def test_mount_points_are_unescaped_and_noprefix_is_known(self, tmp_path: Path) -> None:
        kernel = RecordedKernel(
            write(
                tmp_path,
                {
                    "proc/mounts": "none /dev/my\\040set cgroup rw,cpuset,noprefix 0 0\n",
                    "dev/my set/tasks": "",
                    "sys/x": "",
                },
            )
        )
        (one,) = find_hierarchies(kernel)
        assert (one.mount, one.prefix) == ("/dev/my set", "")

    def test_none_at_all(self, tmp_path: Path) -> None:
        kernel = RecordedKernel(write(tmp_path, {"proc/self/mounts": "proc /proc proc rw 0 0\n", "sys/x": ""}))
        with pytest.raises(NotSupported, match="no cgroups are mounted"):
            find_hierarchies(kernel)

    def test_a_controller_that_is_nowhere(self, tmp_path: Path) -> None:
        kernel = v2(tmp_path, {"/": {"cgroup.controllers": "cpu io\n"}})
        with pytest.raises(NotSupported, match="memory controller is in none"):
            survey(kernel)


class TestWalking:
    def test_parents_come_first_and_siblings_by_name(self, tmp_path: Path) -> None:
        kernel = v2(tmp_path, {"/b/x": {"f": ""}, "/a/y/z": {"f": ""}, "/a": {"f": ""}})
        found = list(walk(kernel, find_hierarchies(kernel)[0]))
        assert [one.path for one in found] == ["/", "/a", "/a/y", "/a/y/z", "/b", "/b/x"]
        assert [one.depth for one in found] == [0, 1, 2, 3, 1, 2]
        assert found[1].name == "a"

    def test_a_very_deep_tree_needs_no_recursion(self) -> None:
        found = list(walk(Endless("d", 1500), cgroups.Hierarchy("v2", "", frozenset())))  # type: ignore[arg-type]
        assert [one.depth for one in found] == list(range(1501))
        assert not any(one.unread for one in found)

    def test_what_is_too_deep_for_a_path_is_said_not_read(self) -> None:
        found = list(walk(Endless("x" * 200, 9999), cgroups.Hierarchy("v2", "", frozenset())))  # type: ignore[arg-type]
        assert len(found) == 4096 // 201 + 2
        assert [one.unread for one in found if one.unread] == ["its path is longer than 4096 bytes"]

    def test_loops_in_a_recording_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        kernel = v2(tmp_path, {"/a": {"f": ""}})
        (tmp_path / ROOT / "a/loop").symlink_to("..")
        (tmp_path / ROOT / "a/again").symlink_to("..")
        monkeypatch.setattr(cgroups, "MAX_CGROUPS", 500)
        with pytest.raises(NotSupported, match="more than 500 cgroups"):
            list(walk(kernel, find_hierarchies(kernel)[0]))

    def test_what_vanishes_is_left_out_and_what_is_forbidden_is_said(self, tmp_path: Path) -> None:
        kernel = v2(tmp_path, {f"/{name}/below": {"f": ""} for name in ("gone", "shut", "open")})
        broken = Around(kernel, {f"/{ROOT}/gone": errno.ENOENT, f"/{ROOT}/shut": errno.EACCES})
        found = {one.path: one.unread for one in walk(broken, find_hierarchies(kernel)[0])}  # type: ignore[arg-type]
        assert found == {"/": "", "/open": "", "/open/below": "", "/shut": "no permission"}

    @pytest.mark.parametrize(
        ("number", "error"), [(errno.EACCES, NotPermitted), (errno.ENOENT, NotFound), (errno.EIO, NotFound)]
    )
    def test_the_root_must_be_there(self, tmp_path: Path, number: int, error: type[Exception]) -> None:
        kernel = v2(tmp_path, {"/": {}})
        broken = Around(kernel, {f"/{ROOT}": number})
        with pytest.raises(error):
            list(walk(broken, find_hierarchies(kernel)[0]))  # type: ignore[arg-type]


class TestSurvey:
    def test_v2_is_bytes_and_mems_are_inherited(self, tmp_path: Path) -> None:
        kernel = v2(
            tmp_path,
            {"/": {"memory.numa_stat": V2_STAT, "cpuset.mems.effective": "0-1\n"},
             "/a": {"memory.numa_stat": V2_STAT, "cpuset.mems": "0\n", "cpuset.mems.effective": "0\n"},
             "/a/b": {"memory.numa_stat": V2_STAT}, "/c": {"f": ""}},
        )  # fmt: skip
        found = {one.directory.path: one for one in survey(kernel).cgroups}
        assert found["/"].by_node == {0: 12288, 1: 4096}
        assert found["/"].outside == {}
        assert found["/a"].outside == {1: 4096}
        assert found["/a/b"].outside == {1: 4096}, "the cpuset above decides"
        assert found["/c"].kinds is None
        assert found["/c"].total == 0
        assert found["/a"].of("kernel_stack") == {0: 100, 1: 0}

    def test_v1_is_pages_and_compared_with_the_cpuset_of_the_same_path(self, tmp_path: Path) -> None:
        kernel = RecordedKernel(
            write(
                tmp_path,
                {
                    f"{ROOT}/memory/tasks": "",
                    f"{ROOT}/memory/memory.numa_stat": V1_STAT,
                    f"{ROOT}/memory/a/memory.numa_stat": V1_STAT,
                    f"{ROOT}/memory/b/memory.numa_stat": V1_STAT,
                    f"{ROOT}/cpuset/tasks": "",
                    f"{ROOT}/cpuset/a/cpuset.mems": "0\n",
                    "proc/x": "",
                },
            )
        )
        found = {one.directory.path: one for one in survey(kernel).cgroups}
        assert found["/a"].by_node == {0: 10 * 4096, 1: 7 * 4096}
        assert found["/a"].outside == {1: 7 * 4096}
        assert found["/b"].cpuset is None
        assert found["/b"].outside == {}

    def test_a_kernel_without_numa_stat(self, tmp_path: Path) -> None:
        with pytest.raises(NotSupported, match=r"memory\.numa_stat"):
            survey(v2(tmp_path, {"/a": {"memory.current": "5\n"}}))

    def test_one_that_vanishes_meanwhile_is_no_error(self, tmp_path: Path) -> None:
        kernel = v2(tmp_path, {"/": {"memory.numa_stat": V2_STAT}, "/a": {"memory.numa_stat": V2_STAT}})
        broken = Around(kernel, {f"/{ROOT}/a/memory.numa_stat": errno.ENODEV})
        found = {one.directory.path: one.kinds for one in survey(broken).cgroups}  # type: ignore[arg-type]
        assert found["/a"] is None
        assert found["/"] is not None


class TestParsers:
    def test_numa_stat_of_v1_without_hierarchical_lines(self) -> None:
        assert parse_numa_stat(b"total=3 N0=1 N1=2\nanon=3 N0=1 N1=2\n", 65536) == {
            "total": {0: 65536, 1: 131072},
            "anon": {0: 65536, 1: 131072},
        }

    @pytest.mark.parametrize(
        "line",
        [
            b"anon N0",
            b"anon N0=-1",
            b"anon M0=1",
            b"anon N0=" + b"9" * 25,
            b"anon N999999=1",
            b"anon=x N0=1",
            b"an\xffon N0=1",
            b"anon N65536=1",
        ],
    )
    def test_malformed_lines(self, line: bytes) -> None:
        with pytest.raises(ParseError, match=r"memory\.numa_stat"):
            parse_numa_stat(V2_STAT.encode() + line)

    @given(st.binary(max_size=300) | st.text("anonfileN=0123456789 \n_\\").map(str.encode))
    def test_random_bytes_raise_nothing_else(self, raw: bytes) -> None:
        parsers: tuple[Callable[[bytes], object], ...] = (
            parse_mounts,
            parse_pids,
            parse_proc_cgroup,
            parse_numa_stat,
        )
        for parse in parsers:
            try:
                parse(raw)
            except ParseError as exc:
                assert parse is parse_numa_stat
                assert str(exc).isprintable()  # noqa: PT017

    def test_pids(self, tmp_path: Path) -> None:
        assert parse_pids(b"12\n3\n12\n0\nx\n") == [3, 12]
        kernel = v2(tmp_path, {"/a": {"cgroup.procs": "7\n"}})
        where = find_hierarchies(kernel)[0]
        assert members(kernel, where, "/a") == [7]
        threaded = Around(kernel, {f"/{ROOT}/a/cgroup.procs": errno.EOPNOTSUPP})
        assert members(threaded, where, "/a") == []  # type: ignore[arg-type]
        with pytest.raises(NotFound, match="/absent"):
            members(kernel, where, "/absent")

    def test_proc_cgroup(self) -> None:
        assert parse_proc_cgroup(b"4:cpu,cpuset:/a:b\n1:name=systemd:/x\n0::/c\nbad\n") == [
            ({"cpu", "cpuset"}, "/a:b"), ({"name=systemd"}, "/x"), (set(), "/c"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("/a/b", "/a/b"),
            ("a/b/", "/a/b"),
            ("/sys/fs/cgroup/a", "/a"),
            ("/sys/fs/cgroup", "/"),
            ("/", "/"),
            ("a..b", "/a..b"),
        ],
    )
    def test_paths(self, text: str, path: str) -> None:
        assert check_path(text, cgroups.Hierarchy("v2", "/sys/fs/cgroup", frozenset())) == path

    @pytest.mark.parametrize(
        "text", ["..", "../a", "/a/../../etc", "a/./b", "/sys/fs/cgroup/../x", "", "a\0b", "x" * 5000]
    )
    def test_paths_that_lead_out(self, text: str) -> None:
        with pytest.raises(UsageError) as refused:
            check_path(text, cgroups.Hierarchy("v2", "/sys/fs/cgroup", frozenset()))
        assert str(refused.value).isprintable()

    def test_the_name_of_a_directory(self) -> None:
        assert Directory("/", 0, frozenset()).name == ""
