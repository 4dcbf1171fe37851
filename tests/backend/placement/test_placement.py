"""numa_maps: every form that kernels write, and anything else that might come."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import ParseError
from backend.live.kernel import LiveKernel
from backend.machine.topology import read_topology
from backend.placement.numa_maps import join_maps, parse_numa_maps, parse_totals, read_placement
from backend.placement.placement import Placement, sum_by_node
from backend.placement.readers import Readers
from backend.placement.survey import Surveyor
from tests.conftest import without
from tests.trees import NUMA_MAPS


def one(line: str | bytes):
    return parse_numa_maps(line if isinstance(line, bytes) else line.encode())[0]


def test_a_whole_file() -> None:
    vmas = parse_numa_maps(NUMA_MAPS)
    assert [vma.kind for vma in vmas] == ["file", "heap", "huge", "stack"]
    assert Placement(vmas).bytes_by_node == {0: 6 * 4096, 1: 3 * 4096 + 2 * 2048 * 1024}
    assert parse_totals(NUMA_MAPS) == {0: 6 * 4096, 1: 3 * 4096 + 2 * 2048 * 1024}


@pytest.mark.parametrize(
    ("line", "policy"),
    [
        ("7f00 default", "default"),
        ("7f00 local anon=1 N0=1", "local"),
        ("7f00 prefer:3 anon=1 N3=1", "prefer:3"),
        ("7f00 bind:1,3", "bind:1,3"),
        ("7f00 interleave:1-3 anon=3", "interleave:1-3"),
        ("7f00 bind=static:1,3 x", "bind=static:1,3"),
        ("7f00 prefer (many):1,3 anon=1 N1=1", "prefer (many):1,3"),
        ("7f00 prefer (many)=relative:1 N1=1", "prefer (many)=relative:1"),
        ("7f00 weighted interleave:0-1 N0=1", "weighted interleave:0-1"),
        ("7f00 weighted interleave=static:0", "weighted interleave=static:0"),
    ],
)
def test_policies(line: str, policy: str) -> None:
    assert one(line).policy == policy


def test_huge_pages_count_by_their_size_and_transparent_ones_by_small_pages() -> None:
    assert one("7f00 default huge anon=3 N1=3 kernelpagesize_kB=1048576").bytes_by_node == {1: 3 << 30}
    assert one("7f00 default anon=1024 N0=1024 kernelpagesize_kB=4").bytes_by_node == {0: 4 << 20}


@pytest.mark.parametrize(
    ("escaped", "name"),
    [
        (rb"/a\040b", "/a b"),
        (rb"/a\011b", "/a\tb"),
        (rb"/a\012N0=9", "/a\nN0=9"),
        (rb"/a\134b", "/a\\b"),
        (b"/a\xffb", "/a\udcffb"),
    ],
)
def test_file_names_are_unescaped_and_cannot_pose_as_counts(escaped: bytes, name: str) -> None:
    vma = one(b"7f00 default file=" + escaped + b" mapped=2 N1=2 kernelpagesize_kB=4")
    assert vma.file == name
    assert vma.pages == {1: 2}


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("file=/dev/zero\\040(deleted)", "shared"),
        ("file=/SYSV0001", "shared"),
        ("file=/dev/shm/x", "shared"),
        ("file=/memfd:a", "shared"),
        ("file=/bin/sh", "file"),
        ("heap", "heap"),
        ("stack", "stack"),
        ("", "anon"),
        ("file=/anon_hugepage\\040(deleted) huge", "huge"),
    ],
)
def test_kinds(words: str, kind: str) -> None:
    assert one(f"7f00 default {words} N0=1").kind == kind


def test_unknown_words_and_keys_are_gone_past() -> None:
    vma = one("7f00 default newword newkey=7 N0=1 N1=2 other=abc kernelpagesize_kB=4")
    assert vma.pages == {0: 1, 1: 2}
    assert vma.counts == {"newkey": 7}


@pytest.mark.parametrize("policy", ["default", "bind:1", "weighted interleave:0-1"])
def test_pages_that_the_kernel_lends_to_all_are_no_memory_of_the_process(policy: str) -> None:
    """Linux 7.2's [vvar], as its numa_maps had it."""
    vvar = f"7fff6fdfc000 {policy} mapped=1 mapmax=14 N0=1 kernelpagesize_kB=4"
    assert parse_numa_maps(f"{vvar}\n7f00 default anon=1 dirty=1 N0=1 kernelpagesize_kB=4\n".encode()) == (
        one("7f00 default anon=1 dirty=1 N0=1 kernelpagesize_kB=4"),
    )
    own = "7f00 default anon=3 dirty=3 N0=3 kernelpagesize_kB=4\n"
    assert parse_totals(f"{own}{vvar}\n".encode()) == {0: 3 * 4096}
    usual = f"7e00 {policy} file=/bin/a mapped=1 N1=1 kernelpagesize_kB=4\n"
    assert parse_totals(f"{usual}{vvar}\n{own * 1000}".encode()) == {0: 3000 * 4096, 1: 4096}


@pytest.mark.parametrize("line", ["", "xyz default", "7f00", "7f00 default N0=x", "-1 default", "f" * 17 + " default"])
def test_what_is_no_line_is_a_parse_error(line: str) -> None:
    if not line:
        assert parse_numa_maps(b"") == ()
        return
    with pytest.raises(ParseError):
        parse_numa_maps(line.encode())


def test_maps_adds_ends_and_sharing() -> None:
    maps = b"7f00-9f00 rw-s 00000000 00:01 5 /dev/zero\nbad line\na000-b000 r--p 00000000 00:00 0 \n"
    first, second, third = join_maps(parse_numa_maps(b"7f00 default N0=1\na000 default\nc000 default\n"), maps)
    assert (first.end, first.kind, first.writable) == (0x9F00, "shared", True)
    assert (second.end, second.writable) == (0xB000, False)
    assert third.end == 0


words = st.sampled_from(
    [
        b"anon=3",
        b"N0=1",
        b"N99=2",
        b"heap",
        b"huge",
        b"file=/x",
        b"kernelpagesize_kB=4",
        b"kernelpagesize_kB=2048",
        b"\xff",
        b"N=",
        b"N1=",
    ]
)
lines = st.tuples(
    st.sampled_from([b"7f00", b"0", b"zz"]),
    st.sampled_from([b"default", b"bind:1", b"prefer (many):1"]),
    st.lists(words, max_size=6).map(b" ".join),
)


@given(st.one_of(st.binary(max_size=300), st.lists(lines.map(b" ".join), max_size=5).map(b"\n".join)))
def test_any_bytes_give_vmas_or_a_parse_error(raw: bytes) -> None:
    assert all(0 <= node < 100_000 for node in parse_totals(raw))
    with contextlib.suppress(ParseError):
        vmas = parse_numa_maps(raw)
        assert [vma.start for vma in vmas] == [int(line.split(b" ")[0], 16) for line in raw.split(b"\n") if line]
        assert [vma.pages for vma in join_maps(vmas, raw)] == [vma.pages for vma in vmas]


counted = st.tuples(
    st.sampled_from(["heap", "stack", "", "file=/x", "huge"]),
    st.dictionaries(st.integers(0, 70), st.integers(1, 1 << 40), min_size=1, max_size=4),
    st.sampled_from([4, 64, 2048, 1048576]),
)


@given(st.lists(counted, max_size=6))
def test_the_fast_totals_are_the_sum_of_the_vmas(vmas: list[tuple[str, dict[int, int], int]]) -> None:
    raw = "".join(
        f"{n:x} default {word} anon=1 "
        + " ".join(f"N{node}={count}" for node, count in pages.items())
        + f" kernelpagesize_kB={size}\n"
        for n, (word, pages, size) in enumerate(vmas)
    ).encode()
    parsed = parse_numa_maps(raw)
    assert sum_by_node([parse_totals(raw)]) == sum_by_node(vma.bytes_by_node for vma in parsed)


foreign = st.lists(words.filter(lambda word: word not in (b"N0=1", b"N99=2") and b"kB" not in word), max_size=4)
"""Words of a line without pages on any node."""


@given(st.lists(counted | foreign, max_size=6), st.integers(0, 400))
def test_totals_are_those_of_the_good_lines_and_no_more_where_the_file_is_cut_off(
    lines: list[tuple[str, dict[int, int], int] | list[bytes]], length: int
) -> None:
    raw = b""
    told: dict[int, int] = {}
    for line in lines:
        if isinstance(line, list):
            raw += b" ".join([b"zz default", *line]) + b"\n"
        else:
            word, pages, size = line
            raw += f"7f00 default {word} anon=1 ".encode()
            raw += b"".join(b"N%d=%d " % on_node for on_node in pages.items()) + b"kernelpagesize_kB=%d\n" % size
            told = sum_by_node([told, {node: count * size * 1024 for node, count in pages.items()}])
    assert sum_by_node([parse_totals(raw)]) == told
    for node, amount in parse_totals(raw[:length]).items():
        assert 0 < amount <= told[node]


def test_totals_equal_numastat_for_a_process_of_this_machine() -> None:
    """Of one that stands still: this test's own child."""
    if not shutil.which("numastat"):
        without("numastat is not installed (package numactl)")
    code = "import sys; x = bytearray(40 << 20); print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        ours = read_placement(LiveKernel(), child.pid).bytes_by_node
        shown = subprocess.run(["numastat", "-p", str(child.pid)], capture_output=True, text=True, check=True).stdout
        assert child.stdin is not None
        child.stdin.close()
    total = next(line for line in shown.splitlines() if line.startswith("Total"))
    amounts = [float(word) for word in re.findall(r"[\d.]+", total)]
    nodes = [int(word) for word in re.findall(r"Node (\d+)", shown)]
    for node, amount in zip(nodes, amounts, strict=False):
        assert ours.get(node, 0) / (1 << 20) == pytest.approx(amount, abs=0.011)
    assert sum(ours.values()) > 40 << 20


def test_the_survey_agrees_with_psutil_about_who_runs() -> None:
    import psutil

    kernel = LiveKernel()
    readers: Readers[int] = Readers(0)
    surveyor = Surveyor(kernel, read_topology(kernel), readers=readers)
    rows = surveyor.read(lambda process: process.pid == os.getpid())
    (row,) = rows
    me = psutil.Process()
    assert row.process.user == me.username()
    assert row.process.command == " ".join(me.cmdline())
    assert row.process.threads == me.num_threads()
    assert row.process.ppid == me.ppid()
    assert set(row.process.cpus_allowed or ()) == set(me.cpu_affinity())
    assert abs(row.process.identity.start_time / os.sysconf("SC_CLK_TCK") + psutil.boot_time() - me.create_time()) < 2
