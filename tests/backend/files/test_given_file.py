"""Files that a user names: only regular ones, never waited for, never more than a limit."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from backend.files.given_file import open_given, read_all, read_given


@pytest.fixture(params=["fifo", "socket", "folder", "/dev/zero", "/dev/tty", "link to a fifo"])
def no_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "x"
    if request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "link to a fifo":
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo")
    else:
        return Path(request.param)
    return path


def test_what_is_no_file_is_refused_at_once(no_file: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        read_given(no_file)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * 3_000_000)
    assert read_given(path, 3_000_000) == b"a" * 3_000_000
    with pytest.raises(OSError) as caught:
        read_given(path, 2_999_999)
    assert caught.value.errno == errno.EFBIG
    assert read_given(tmp_path / "x", 1 << 40) == path.read_bytes()


def test_a_sparse_file_costs_no_memory_beyond_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="it is larger than 1 MiB"):
        read_given(path)


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "/nope"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(OSError):
        open_given(name)


def test_a_pipe_on_standard_input_may_be_read(tmp_path: Path) -> None:
    ends = os.pipe()
    os.write(ends[1], b"x" * 100)
    os.close(ends[1])
    assert read_all(ends[0], 1000) == b"x" * 100
    os.close(ends[0])
