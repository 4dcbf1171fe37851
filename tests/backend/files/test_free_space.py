"""Free space below a file that is not there yet; what is written refuses a full disk before it begins."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.errors import NumatuiError
from backend.files.free_space import free_space
from backend.journal.journal import Journal
from backend.recording.sinks import open_sink
from tests.emulator.machines import machine


def test_a_path_that_is_not_there_yet_is_measured_where_it_will_be(tmp_path: Path) -> None:
    facts = os.statvfs(tmp_path)
    all_of_it = facts.f_blocks * facts.f_frsize
    assert 0 < free_space(tmp_path / "a" / "b.tar") <= all_of_it


def test_a_disk_that_cannot_be_asked_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "statvfs", refused)
    with pytest.raises(NumatuiError, match="EACCES"):
        free_space(tmp_path)


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=100, f_frsize=1))
    with pytest.raises(NumatuiError, match="the disk is full"):
        Journal(tmp_path / "jobs", {"pid": 1, "start_time": 1})
    assert not [*(tmp_path / "jobs").glob("*.jsonl")]
    for name in ("r.tar", "r.tar.gz", "folder"):
        with pytest.raises(NumatuiError, match="100B"):
            open_sink(tmp_path / name, "r")
        assert not (tmp_path / name).exists()


def test_a_demo_can_be_recorded_where_there_is_room(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "r.tar", "r")
    sink.put("/proc/x", EmulatedKernel(machine("linux-6")).read("/proc/uptime"))
    sink.close()
    assert (tmp_path / "r.tar").stat().st_size
