"""A virtual machine, whose guest checks its own memory: the memory of QEMU, its page tables and its JIT code move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import pack

import pytest

from tests.guest.inside.programs.program import PATIENCE, Program, need, running, there_and_back
from tests.guest.inside.rig import MiB, wait_until

LOAD, START, END = 1 * MiB, 2 * MiB, 50 * MiB
"""Addresses in the guest: where its program lies, and the memory that it fills and checks."""
CHECKED, WRONG = b".", b"!"


def program() -> bytes:
    """A multiboot image: 32-bit code that writes its address to each word of its memory, then reads all again and again
    and says to port 0xe9 after each round whether they are what was written."""
    code = b"".join(
        (
            b"\xbf" + pack("<I", START),  # mov edi, START
            b"\x89\x3f\x83\xc7\x04\x81\xff" + pack("<I", END) + b"\x72\xf3",  # 1: mov [edi], edi; add edi, 4; jb 1
            b"\xbf" + pack("<I", START),  # 2: mov edi, START
            b"\xb0" + CHECKED,  # mov al, '.'
            b"\x39\x3f\x74\x02\xb0" + WRONG,  # 3: cmp [edi], edi; je 4; mov al, '!'
            b"\x83\xc7\x04\x81\xff" + pack("<I", END) + b"\x72\xef",  # 4: add edi, 4; cmp edi, END; jb 3
            b"\xe6\xe9\xeb\xe4",  # out 0xe9, al; jmp 2
        )
    )
    magic, flags = 0x1BADB002, 1 << 16  # the header says where the image goes (Multiboot Specification, 3.1)
    head = 32
    addresses = (LOAD, LOAD, LOAD + head + len(code), 0, LOAD + head)
    return pack("<8I", magic, flags, -(magic + flags) & 0xFFFFFFFF, *addresses) + code


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Program]:
    emulator = need("qemu-system-x86_64")
    image = tmp_path / "image"
    image.write_bytes(program())
    options = ["-accel", "tcg", "-m", "64", "-display", "none", "-nodefaults", "-no-reboot"]
    with running([emulator, *options, "-kernel", image, "-debugcon", f"file:{tmp_path}/said"], tmp_path) as one:
        wait_until(lambda: rounds(one, tmp_path) > 0, "the guest has checked its memory", PATIENCE)
        yield one


def rounds(one: Program, folder: Path) -> int:
    """Rounds after which the guest said that its memory is whole."""
    assert one.process.poll() is None, one.log.read_text()
    said = (folder / "said").read_bytes() if (folder / "said").exists() else b""
    # The firmware says something, too, before the program starts.
    assert WRONG not in said.rpartition(b"\n")[2]
    return said.rpartition(b"\n")[2].count(CHECKED)


def test_its_guest_finds_its_memory_as_it_was(machine: Program, tmp_path: Path) -> None:
    there_and_back(machine)
    before = rounds(machine, tmp_path)
    wait_until(lambda: rounds(machine, tmp_path) > before + 1, "the guest has checked all once more", PATIENCE)
