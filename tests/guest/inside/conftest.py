"""Fixtures of the tests that run in the guest, and of those among them that also run on the emulator."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from numatui.cli.app import run
from tests.guest.inside import rig
from tests.guest.inside.cgroups import Groups, version2

if TYPE_CHECKING:
    from tests.guest.inside.contract.boxes import Box

IN_GUEST = os.environ.get("NUMATUI_IN_GUEST", "")
"""The topology of the guest that this is, or nothing outside."""


def pytest_collection_finish() -> None:
    """Import what the commands import while they run: once instead of in every child, and once out here, where the
    compiled modules are kept that the guest then finds.
    """
    if IN_GUEST:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            run(["plan", "--nodes", "0-3", "--from", "0", "--to", "1", "--json"])
            run(["plan", str(os.getpid()), "--from", "0", "--to", "0"])
            run(["nodes"])
            run(["doctor"])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell the outside at once how a test ended, one JSON line a phase: a guest that hangs later loses nothing."""
    if IN_GUEST and (report.when == "call" or report.outcome != "passed"):
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            text = str(report.longrepr[2])
        else:
            text = report.longreprtext
        name = report.nodeid.rpartition("/")[2]
        line = json.dumps({"name": name, "outcome": report.outcome, "text": text, "seconds": report.duration})
        with open("/mnt/out/report", "a") as file:
            file.write(line + "\n")


@pytest.fixture
def v2() -> Iterator[Groups]:
    with version2() as groups:
        yield groups


@pytest.fixture(scope="session", autouse=True)
def machine() -> None:
    """The guest as the tests want it: nothing is moved behind their back, and other users reach the interpreter."""
    if not IN_GUEST:
        return
    Path("/proc/sys/kernel/numa_balancing").write_text("0")
    if IN_GUEST == "uneven":
        rig.set_online(3, True)
    for needed in (sys.executable, os.path.realpath(sys.executable), rig.VICTIM):
        for folder in Path(needed).parents:
            with contextlib.suppress(OSError):
                folder.chmod(folder.stat().st_mode | 0o055)


@pytest.fixture(params=["linux"] if IN_GUEST else ["linux-6", "linux-7"])
def box(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Box]:
    """The machine of the contract's tests: this guest, outside the emulated one."""
    from tests.guest.inside.contract.boxes import make_box

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = make_box(request.param, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def victim() -> Iterator[rig.MakeVictim]:
    """A factory of victims: `victim({0: 100, 1: 50})`, or with `layout=` for several regions or other kinds."""
    made: list[rig.LinuxVictim] = []

    def make(on: dict[int, int] | None = None, /, **how: Any) -> rig.LinuxVictim:
        kind = {key: how.pop(key) for key in ("kind", "policy") if key in how}
        layout = how.pop("layout", None) or {"memory": {"on": on or {}, **kind}}
        made.append(rig.LinuxVictim(layout, **how))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture(scope="module")
def still() -> Iterator[rig.LinuxVictim]:
    """One root process for all tests of a module in which nothing may move: 16 pages on node 0."""
    one = rig.LinuxVictim({"memory": {"on": {0: 16}}}, home=max(rig.memory_nodes()))
    yield one
    one.end()
