"""How busy this host is: psutil's numbers, and none for a machine that is not this host."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.live.kernel import LiveKernel
from backend.machine.load import Load, read_load
from tests.emulator.machines import machine


@pytest.mark.skipif(sys.platform != "linux", reason="the live kernel is Linux")
def test_this_host_says_what_proc_says() -> None:
    before = float(Path("/proc/uptime").read_text().split()[0])
    load = read_load(LiveKernel())
    after = float(Path("/proc/uptime").read_text().split()[0])
    assert load is not None
    assert 0 <= load.cpu <= 1
    assert load.average >= 0
    # btime in /proc/stat is in whole seconds, and wall clocks are set.
    assert before - 2 <= load.uptime <= after + 2 or abs(time.time() - psutil.boot_time() - load.uptime) < 2


def test_another_machine_has_none() -> None:
    assert read_load(EmulatedKernel(machine("linux-6"))) is None


def test_a_host_that_does_not_tell_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden() -> float:
        raise PermissionError(13, "no")

    monkeypatch.setattr(psutil, "boot_time", hidden)
    assert read_load(LiveKernel()) is None
    monkeypatch.setattr(psutil, "boot_time", lambda: time.time() + 50)
    assert isinstance(read_load(LiveKernel()), Load)
