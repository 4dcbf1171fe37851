"""Processes: hostile names, vanished and hidden ones, any bytes."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import NotFound, NotPermitted, ParseError
from backend.files.text import printable
from backend.kernel import Traits
from backend.machine.topology import read_topology
from backend.placement.survey import Surveyor
from backend.process.process import (
    UNTOLD,
    Identity,
    Stat,
    parse_stat,
    parse_status,
    pids,
    read_process,
    read_stat,
    thread_ids,
)
from backend.recording.kernel import RecordedKernel
from tests.kernels.around import Around
from tests.kernels.fake_kernel import FakeKernel
from tests.trees import process_files, two_nodes, write

HOSTILE = [
    b"a) S 1 (b",
    b"x\ny",
    b"\x1b[2J\x1b]0;pwn\x07",
    b"[red]bold[/red]",
    b"\xff\xfe",
    b") R 2",
    b"a" * 4096,
    b"\xe2\x80\xaetxt",
    b"",
]


def test_a_pid_has_few_digits() -> None:
    kernel: Any = Around(FakeKernel(), listdir=lambda _: ["1", "7" * 5000, "x", "12"])
    assert pids(kernel) == thread_ids(kernel, 1) == [1, 12]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_read_whole_and_shown_harmlessly(tmp_path: Path, name: bytes) -> None:
    process = read_process(RecordedKernel(write(tmp_path, process_files(7, name))), 7)
    assert process.identity == Identity(7, 100)
    assert process.comm.encode("utf-8", "surrogateescape") == name
    shown = printable(process.command)
    assert shown.isprintable()
    assert len(shown) <= 1024 + 1


@given(st.text())
def test_printable_text_is_one_printable_line_and_plain_text_is_kept(text: str) -> None:
    shown = printable(text, 100)
    assert shown.isprintable()
    assert "\n" not in shown
    if text.isascii() and text.isprintable() and len(text) <= 100:
        assert shown == text


def test_a_cgroup_stands_in_where_there_is_no_cpuset(tmp_path: Path) -> None:
    process = read_process(RecordedKernel(write(tmp_path, process_files(7, b"x"))), 7)
    assert process.cpuset == "/system.slice/x.service"
    assert process.swap == 8192
    assert str(process.mems_allowed) == "0-1"


def refusing(folder: Path, number: int, processes: list[str]) -> Any:
    """This machine, run by an ordinary user: /proc shows these, and no file of a process can be read."""
    inner = RecordedKernel(write(folder, process_files(42, b"x")))
    return Around(
        inner,
        {"stat": number},
        traits=Traits(is_host=True),
        credentials=lambda: (1000, False),
        listdir=lambda _: processes,
    )


@pytest.mark.parametrize(
    ("number", "error", "code"),
    [
        (errno.ENOENT, NotFound, 4),
        (errno.ESRCH, NotFound, 4),
        (errno.EACCES, NotPermitted, 3),
        (errno.EPERM, NotPermitted, 3),
        (errno.EIO, NotFound, 4),
    ],
)
def test_what_an_errno_means(tmp_path: Path, number: int, error: type[NotFound], code: int) -> None:
    with pytest.raises(error) as caught:
        read_stat(refusing(tmp_path, number, ["1", "4242"]), 42)
    assert caught.value.exit_code == code
    assert "42" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_processes_that_are_broken_or_gone_are_left_out(tmp_path: Path) -> None:
    tree = write(
        two_nodes(tmp_path),
        {**process_files(9, b"y"), "proc/8/stat": b"garbage", "proc/self/x": b""},
    )
    (tree / "proc/9/stat").unlink()
    kernel = RecordedKernel(tree)
    assert [row.process.pid for row in Surveyor(kernel, read_topology(kernel)).read()] == [7]


def stat_line(fields: list[bytes]) -> bytes:
    """`fields`: those after the name."""
    return b"7 (a b) " + b" ".join(fields) + b"\n"


FIELDS = [b"S", *[b"%d" % (100 + number) for number in range(1, 50)]]
"""Of /proc/PID/stat after the name: each tells its place."""
NUMBERS = {
    1: "ppid", 6: "flags", 7: "minflt", 9: "majflt", 11: "utime", 12: "stime", 16: "nice", 17: "num_threads",
    19: "starttime", 21: "rss", 23: "startcode", 24: "endcode", 25: "startstack", 36: "processor",
    42: "start_data", 43: "end_data", 44: "start_brk",
}  # fmt: skip
"""Places in FIELDS of the numbers that are used, by the names of proc(5)."""
WHOLE = Stat(
    Identity(7, 119), "a b", "S", ppid=101, flags=106, threads=117, rss=121, cpu=136, ticks=111 + 112,
    program=(123, 125, 124, 142, 143, 144), faults=107 + 109, nice=116,
)  # fmt: skip


@given(st.integers(0, len(FIELDS) - 1), st.sampled_from([b"x", b"1.5", b"0x1", b"--1", b"\xff", b"9" * 5000]))
def test_a_damaged_number_of_stat_is_a_parse_error_if_it_is_used(place: int, damage: bytes) -> None:
    assert parse_stat(stat_line(FIELDS)) == WHOLE
    line = stat_line([*FIELDS[:place], damage, *FIELDS[place + 1 :]])
    if place in NUMBERS:
        with pytest.raises(ParseError):
            parse_stat(line)
    else:
        assert parse_stat(line) == replace(WHOLE, state=WHOLE.state if place else damage.decode("ascii", "replace"))


@given(st.integers(0, len(stat_line(FIELDS))))
def test_of_a_stat_that_is_cut_off_there_is_the_beginning_or_a_parse_error(length: int) -> None:
    fields = stat_line(FIELDS)[:length].partition(b") ")[2].split()
    if len(fields) <= 21:
        with pytest.raises(ParseError):
            parse_stat(stat_line(FIELDS)[:length])
    else:
        found = parse_stat(stat_line(FIELDS)[:length])
        assert found.identity == WHOLE.identity
        assert replace(found, rss=121, cpu=136, program=WHOLE.program) == WHOLE


@given(st.binary(max_size=300))
def test_any_bytes_give_a_stat_or_a_parse_error_of_one_line(raw: bytes) -> None:
    for text in (raw, b"7 (" + raw, raw + b") " + b" ".join(FIELDS), b"7 (" + raw + b") " + b" ".join(FIELDS)):
        told = ""
        try:
            stat = parse_stat(text)
        except ParseError as exc:
            told = str(exc)
        else:
            assert b"(" + stat.comm.encode("utf-8", "surrogateescape") + b")" in text
        assert told.isprintable()


@given(st.binary(max_size=300).filter(lambda raw: b"\nUid:" not in raw))
def test_status_is_read_whatever_else_is_in_it(raw: bytes) -> None:
    assert set(parse_status(raw)) <= {"Uid", "VmSwap", "Cpus_allowed_list", "Mems_allowed_list"}
    assert parse_status(b"Uid:\t5\t6 \n" + raw)["Uid"] == "5\t6"
    both = parse_status(raw + b"\nUid:\t5\t6\nVmSwap:\t  8 kB\nMems_allowed_list:\t0-1")
    assert (both["Uid"], both["VmSwap"], both["Mems_allowed_list"]) == ("5\t6", "8 kB", "0-1")


@given(st.binary(max_size=60).filter(lambda name: b"\0" not in name))
def test_any_name_survives_stat(name: bytes) -> None:
    line = b"7 (" + name + b") S 1 1 1 0 -1 0 0 0 0 0 5 6 0 0 20 0 1 0 99 0 11 " + b"0 " * 13 + b"17 1 0\n"
    stat = parse_stat(line)
    assert stat.identity == Identity(7, 99)
    assert stat.comm.encode("utf-8", "surrogateescape") == name


def test_hidepid_is_named_as_the_reason(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="hidepid"):
        read_stat(refusing(tmp_path, errno.ENOENT, ["4242", "self"]), 42)


def test_the_cgroup_is_the_one_that_memory_is_charged_to(tmp_path: Path) -> None:
    files = process_files(7, b"x")
    mixed = b"12:pids:/other\n5:cpu,memory:/charged\n0::/unified\n"
    files = {path: mixed if path.endswith("/cgroup") else data for path, data in files.items()}
    assert read_process(RecordedKernel(write(tmp_path, files)), 7).cgroup == "/charged"
    plain = {path: b"0::/unified\n" if path.endswith("/cgroup") else data for path, data in files.items()}
    assert read_process(RecordedKernel(write(tmp_path / "v2", plain)), 7).cgroup == "/unified"


@pytest.mark.parametrize("changed", [23, 24, 25, 42, 43, 44])
def test_another_program_is_told_by_each_address_that_exec_changes(changed: int) -> None:
    """Without address randomisation, code and stack of two programs may begin at the same addresses."""
    fields = [*FIELDS[:changed], b"4096", *FIELDS[changed + 1 :]]
    assert parse_stat(stat_line(fields)).program != WHOLE.program
    assert parse_stat(stat_line([*FIELDS[:25], b"0", *FIELDS[26:]])).program == UNTOLD
