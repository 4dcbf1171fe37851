"""Recordings: folders and tarballs, also hostile ones."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from backend.errors import NotFound, NumatuiError, ParseError
from backend.kernel import Kernel
from backend.machine.topology import read_topology
from backend.recording.kernel import RecordedKernel
from tests.trees import two_nodes, write


def tarball(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def member(name: str, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    if link:
        info.type, info.linkname = tarfile.SYMTYPE, link
    return info


def test_a_recording_is_a_kernel_that_cannot_be_changed(tmp_path: Path) -> None:
    kernel: Kernel = RecordedKernel(two_nodes(tmp_path))
    can = kernel.capabilities()
    assert can["read"].available
    assert not can["move_pages"].available
    assert "recording" in can["move_pages"].why
    with pytest.raises(OSError, match="Function not implemented"):
        kernel.migrate_pages(7, 65, b"", b"")
    with pytest.raises(OSError, match="Read-only"):
        kernel.write("/sys/x", b"1")


def test_a_tree_one_folder_down_is_found(tmp_path: Path) -> None:
    two_nodes(tmp_path / "db7")
    kernel = RecordedKernel(tmp_path)
    assert str(read_topology(kernel).ids) == "0-1"


def test_links_do_not_lead_out_of_a_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    tree = two_nodes(tmp_path / "tree")
    (tree / "proc/leak").symlink_to(secret)
    kernel = RecordedKernel(tree)
    for path in ("/proc/leak", "/../secret", "/proc/../../secret"):
        with pytest.raises(OSError, match="No such file"):
            kernel.read(path)


def test_links_in_a_circle_are_files_that_cannot_be_read(tmp_path: Path) -> None:
    tree = two_nodes(tmp_path)
    (tree / "proc/a").symlink_to("b")
    (tree / "proc/b").symlink_to("a")
    kernel = RecordedKernel(tree)
    for read in (kernel.read, kernel.listdir):
        with pytest.raises(OSError, match="symbolic links"):
            read("/proc/a")


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    tree = two_nodes(tmp_path)
    os.mkfifo(tree / "proc/fifo")
    with pytest.raises(OSError, match="No such file"):
        RecordedKernel(tree).read("/proc/fifo")


def test_nothing_in_a_tarball_leads_out_of_it(tmp_path: Path) -> None:
    path = tarball(
        tmp_path / "x.tar.gz",
        [
            (member("../../etc/passwd"), b"out"),
            (member("/etc/shadow"), b"out"),
            (member("proc/version"), b"Linux version 6.1\n"),
            (member("proc/link", "/etc/hostname"), b""),
            (member("proc/loop", "loop"), b""),
        ],
    )
    kernel = RecordedKernel(path)
    assert kernel.read("/proc/version").startswith(b"Linux")
    with pytest.raises(OSError, match="No such file"):
        kernel.read("/proc/link")
    assert kernel.read("/proc/version", offset=6, size=7) == b"version"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("contents", [b"", b"not a tarball", b"\x1f\x8b\x08garbage", b"BZh9garbage"])
def test_what_is_no_recording_is_one_line(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(contents)
    with pytest.raises(NumatuiError) as caught:
        RecordedKernel(path)
    assert "\n" not in str(caught.value)


def test_missing_and_empty(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        RecordedKernel(tmp_path / "none")
    with pytest.raises(ParseError):
        RecordedKernel(write(tmp_path / "empty", {"x": ""}))
