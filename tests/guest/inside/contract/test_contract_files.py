"""Pages of mapped files: the same on a real kernel and on the emulated machine."""

from __future__ import annotations

import errno

import pytest

from tests.guest.inside.contract.boxes import Box, FilesystemName, lines, migrate_pages, move
from tests.guest.inside.rig import PAGE, region_pages

FILESYSTEMS: tuple[FilesystemName, ...] = ("ext4", "tmpfs")


@pytest.mark.parametrize("filesystem", FILESYSTEMS)
def test_dirty_pages_move_without_a_write(box: Box, filesystem: FilesystemName) -> None:
    one = box.victim({0: 24, 1: 8}, kind="file", filesystem=filesystem, dirty=True)
    (line,) = lines(box, one)
    assert (line.pages, line.counts["dirty"]) == ({0: 24, 1: 8}, 32)
    before = box.counter("nr_written")
    done = box.numatui("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--yes", "--json")
    assert done.code == 0, done
    assert done.json["outcomes"][0]["moved"] == 32 * PAGE
    (line,) = lines(box, one)
    assert (line.pages, line.counts["dirty"]) == ({2: 24, 3: 8}, 32)
    assert box.counter("nr_written") == before
    one.verify()
    one.sync()
    assert one.pages() == {2: 24, 3: 8}
    if filesystem == "tmpfs":
        assert box.counter("nr_written") == before
        return
    assert box.counter("nr_written") >= before + 32
    assert "dirty" not in lines(box, one)[0].counts
    one.forget()
    one.verify()
    assert one.pages() == {3: 32}, "read from the device, on the node where the process runs"


@pytest.mark.parametrize("filesystem", FILESYSTEMS)
def test_a_private_mapping_gets_copies_after_its_pages_have_moved(box: Box, filesystem: FilesystemName) -> None:
    one = box.victim({0: 16}, kind="file", filesystem=filesystem, private=True)
    assert migrate_pages(box, one.pid, [0], [1]) == 0
    (line,) = lines(box, one)
    assert (line.pages, line.counts.get("anon", 0)) == ({1: 16}, 0)
    one.verify()
    one.touch()
    (line,) = lines(box, one)
    assert (line.pages, line.counts["anon"]) == ({3: 16}, 16)
    assert move(box, one.pid, list(one.addresses()), 0) == [0] * 16
    one.verify()


@pytest.mark.parametrize("filesystem", FILESYSTEMS)
def test_a_file_without_a_name_that_two_processes_map(box: Box, filesystem: FilesystemName) -> None:
    one = box.victim({0: 16}, kind="file", filesystem=filesystem, dirty=True, unlinked=True)
    (line,) = lines(box, one)
    assert line.file.endswith(" (deleted)")
    assert migrate_pages(box, one.pid, [0], [1]) == 0
    child = one.fork()
    assert move(box, one.pid, list(one.addresses()), 2) == [-errno.EACCES] * 16
    assert one.pages() == {1: 16}
    assert move(box, one.pid, list(one.addresses()), 2, flags=4) == [2] * 16
    for pid in (one.pid, child):
        assert region_pages(box.kernel, pid, one.addresses()) == {2: 16}
    one.verify()
