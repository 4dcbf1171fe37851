"""Small tarballs that would take all memory, or never end: each is refused, with one line and little memory. What
tarfile writes is read as tarfile reads it."""

from __future__ import annotations

import bz2
import gzip
import io
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.recording.tar_reader import members
from tests import ROOT

MIB = 1 << 20


def header(name: str, size: int, kind: bytes = b"0") -> bytes:
    """A header with any size that has room there; a negative one is of the GNU form."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT)[:512])
    if size < 0:
        block[124:136] = (size & (1 << 96) - 1).to_bytes(12, "big")
    else:
        block[124:136] = b"%011o\0" % size
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def long_name(name: bytes) -> bytes:
    return header("././@LongLink", len(name), b"L") + name.ljust(-(-len(name) // 512) * 512, b"\0")


def pax(**records: str) -> bytes:
    data = b""
    for key, value in records.items():
        record = f" {key.replace('_', '.')}={value}\n".encode()
        length = len(record) + len(str(len(record) + 3))
        data += str(length).encode() + record
    return header("pax", len(data), b"x") + data.ljust(-(-len(data) // 512) * 512, b"\0")


def many_names() -> Iterator[bytes]:
    """Each in sixty folders of its own."""
    for number in range(12_000):
        yield long_name(f"proc/{number}/{'/'.join(['x' * 60] * 60)}".encode()) + header("x", 0)


ATTACKS: dict[str, tuple[bytes | Iterator[bytes], str]] = {
    "a deep name": (long_name(b"a/" * 4000) + header("x", 0), "names of 4096 bytes"),
    "a long name": (long_name(b"a" * 15_000) + header("x", 0), "names of 4096 bytes"),
    "a header of 1.5 GiB": (header("pax", 3 << 29, b"x"), "too large"),
    "a long name of 1.5 GiB": (header("././@LongLink", 3 << 29, b"L"), "too large"),
    "headers without end": (pax(path="proc/x") * 2000, "too large"),
    "records without end": (
        (header("pax", 4000, b"x") + b"5 a=\n" * 800 + bytes(96) + header("proc/1/stat", 0)) * 1300,
        "300000 records",
    ),
    "names by headers": (((pax(path="proc/1/stat") + header("x", 0)) * 1000 for _ in range(151)), "300000 headers"),
    "a sparse file": (header("proc/1/stat", 1 << 30, b"S"), "too large"),
    "a small sparse file": (header("proc/1/stat", 512, b"S"), "sparse"),
    "a sparse file by pax": (pax(GNU_sparse_major="1") + header("proc/1/stat", 0), "sparse"),
    "a size by pax": (pax(size="1") + header("proc/1/stat", 0), "very large"),
    "a size below zero": (header("proc/1/stat", -512), "too large"),
    "a header's size below zero": (header("pax", -512, b"x"), "too large"),
    "too many members": ((header("proc/1/stat", 0) * 1000 for _ in range(251)), "250000 files"),
    "too many bytes": ((header("proc/1/stat", 60 * MIB) + bytes(60 * MIB) for _ in range(9)), "384 MiB, unpacked"),
    "too many folders": (many_names(), "48 MiB of names"),
}


def packed(parts: bytes | Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, wbits=31)
    for part in [parts] if isinstance(parts, bytes) else parts:
        yield packer.compress(part)
    yield packer.flush()


OPEN = """
import resource, sys
from backend.errors import ParseError
from backend.recording.kernel import RecordedKernel
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    RecordedKernel(sys.argv[1])
except ParseError as exc:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, exc)
"""


def opened(path: Path) -> tuple[int, str]:
    """KiB that it took, and what it was refused with."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert not done.stderr
    used, _, said = done.stdout.strip().partition(" ")
    return int(used), said


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused_with_little_memory(tmp_path: Path, name: str) -> None:
    parts, why = ATTACKS[name]
    path = tmp_path / "r.tar.gz"
    with path.open("wb") as file:
        file.writelines(packed(parts))
    used, said = opened(path)
    assert used < 100 << 10
    assert why in said
    assert "\n" not in said


def test_a_bzip2_file_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.tar.bz2"
    path.write_bytes(bz2.compress(b"".join(header("proc/1/stat", 60 * MIB) + bytes(60 * MIB) for _ in range(2))))
    used, said = opened(path)
    assert used < 100 << 10
    assert "64 MiB, unpacked" in said


@pytest.mark.parametrize("tail", [b"", b"\0" * 512, b"garbage"])
def test_gzip_files_that_follow_each_other_are_not_unpacked(tmp_path: Path, tail: bytes) -> None:
    """A hundred thousand empty ones took minutes."""
    path = tmp_path / "r.tar.gz"
    first = gzip.compress(header("r/proc/version", 0) + bytes(1024))
    path.write_bytes(first + gzip.compress(b"") * 100_000 + tail)
    with path.open("rb") as file:
        assert [one.name for one in members(file, "r", keep=True)] == ["r/proc/version"]


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n"), min_size=1, max_size=40)
ANY = st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=8), st.binary(max_size=1500)), max_size=12)


@settings(max_examples=300)
@given(ANY, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), st.sampled_from(["w", "w:gz", "w:bz2"]))
def test_what_tarfile_writes_is_read_as_tarfile_reads_it(
    files: list[tuple[list[str], bytes]], form: int, mode: str
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=form) as tar:  # type: ignore[call-overload]
        for number, (parts, data) in enumerate(files):
            info = tarfile.TarInfo("/".join(parts))
            info.size = len(data)
            info.type = [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE][number % 3]
            info.linkname = parts[0] * 5 if info.issym() else ""
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    out.seek(0)
    mine = [(one.name.rstrip("/"), one.kind, one.link, one.data) for one in members(out, "x", keep=True)]
    out.seek(0)
    kinds = {tarfile.REGTYPE: "file", tarfile.SYMTYPE: "link", tarfile.DIRTYPE: "folder"}
    theirs: list[tuple[str, str, str, bytes]] = []
    with tarfile.open(fileobj=out) as tar:
        for one in tar:
            handle = tar.extractfile(one) if one.isreg() else None
            theirs.append((one.name.rstrip("/"), kinds[one.type], one.linkname, handle.read() if handle else b""))
    # tarfile takes sizes of folders and links as they are: their data does not follow.
    assert mine == theirs
