"""Boots kernels with several nodes in QEMU, runs pytest in them, and reads what it said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import pytest

HERE = Path(__file__).resolve().parent
INSIDE = HERE / "inside"
REPOSITORY = HERE.parent.parent
SCRIPT = HERE / "guest.sh"
OUTSIDE_TOO = (
    "test_contract.py",
    "test_contract_cpusets.py",
    "test_contract_files.py",
    "test_contract_memory.py",
    "test_contract_signals.py",
    "test_container.py",
)
"""Tests that run on this machine as well: on the emulator, or with what every Linux has."""
OWN_TOPOLOGY: dict[str, str] = {
    **dict.fromkeys(("test_uneven.py", "test_chaos.py", "test_systemd.py"), "uneven"),
    "test_tiers.py": "tiers",
}
"""Tests of another machine than the one with four nodes."""
CORE = (
    "test_contract.py", "test_contract_cpusets.py", "test_contract_memory.py", "test_engine.py", "test_moving.py",
    "test_truth.py", "test_kernels.py", "test_doctor.py", "test_pages.py", "test_reading.py", "test_sequences.py",
    "test_damon.py",
)  # fmt: skip
"""What other kernels than the stable one are asked in every run; `scripts/guests` asks all of them everything."""
ALL = bool(os.environ.get("NUMATUI_ALL_GUESTS"))
_NOT_UP, _WENT_DOWN = 97, 99
"""Exit codes of guest.sh."""
_BOOTS = 3
"""How often a guest is started that does not come up: 7.2 panics at some boots under TCG."""


@dataclass(frozen=True, slots=True)
class Guest:
    """`topology`, `kernel`: as guest.sh has them. `cpu`: the one on which pytest runs: what it reads is then cached on
    the last node with one, away from the nodes that the tests measure."""

    topology: str
    kernel: str
    cpu: int


GUESTS = {
    "four": Guest("four", "stable", 3),
    "uneven": Guest("uneven", "stable", 2),
    "four-newer": Guest("four", "newer", 3),
    "four-sid": Guest("four", "sid", 3),
    **({"uneven-newer": Guest("uneven", "newer", 2), "uneven-sid": Guest("uneven", "sid", 2)} if ALL else {}),
    "tiers-newer": Guest("tiers", "newer", 1),
    "tiers-sid": Guest("tiers", "sid", 1),
}
"""By the names that they have among the tests."""

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Inner:
    """How one test in a guest ended. `text`: why, for what did not pass."""

    outcome: Outcome
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Boot:
    """What one guest left: its tests by `file::name`, the whole of its output, and why there may be none."""

    tests: dict[str, Inner]
    output: str
    trouble: str


def files(guest: str) -> list[str]:
    """The test files that run in a guest, relative to the repository. By name, whatever room they are in: those that
    look at a machine nobody has worked on (cgroups, doctor) come before those that move gigabytes."""
    topology, kernel = GUESTS[guest].topology, GUESTS[guest].kernel
    found = [file for file in INSIDE.rglob("test_*.py") if OWN_TOPOLOGY.get(file.name, "four") == topology]
    if kernel != "stable" and topology == "four" and not ALL:
        found = [file for file in found if file.name in CORE]
    return [str(file.relative_to(REPOSITORY)) for file in sorted(found, key=lambda file: file.name)]


def inner_pytest(guest: str, *options: str) -> list[str]:
    """The command line of pytest over a guest's tests, the same for asking their names and for running them."""
    return [
        sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(REPOSITORY), "-p", "no:cacheprovider",
        *options, *files(guest),
    ]  # fmt: skip


def inner_environment(guest: str) -> dict[str, str]:
    """The variables that pytest gets in a guest. Compiled modules come from outside: the guest compiles slowly."""
    return {
        "NUMATUI_IN_GUEST": GUESTS[guest].topology,
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONPYCACHEPREFIX": str(guest_dir() / "pycache"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **({"NUMATUI_ALL_GUESTS": "1"} if ALL else {}),
    }


def guest_dir() -> Path:
    """Where guest.sh keeps the kernel."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("NUMATUI_GUEST_DIR") or f"{cache}/numatui-guest")


@cache
def names(guest: str) -> tuple[str, ...]:
    """The tests that a guest will run, as `file::name`. Raises UsageError with pytest's words when that fails."""
    if not files(guest):
        return ()
    done = subprocess.run(
        inner_pytest(guest, "--collect-only"),
        cwd=REPOSITORY, capture_output=True, text=True,
        env={**os.environ, **inner_environment(guest), "PYTHONDONTWRITEBYTECODE": ""},
    )  # fmt: skip
    if done.returncode != 0:
        raise pytest.UsageError(f"the tests of the guest cannot be collected:\n{done.stdout}{done.stderr}")
    return tuple(line.rpartition("/")[2] for line in done.stdout.splitlines() if "::" in line)


@cache
def unavailable(kernel: str) -> str:
    """Why no guest with a kernel can be started here, or nothing. Fetches it when it is not there yet."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "the guest needs Linux on x86-64"
    for step in ("check", "build"):
        done = subprocess.run(
            [SCRIPT, step], capture_output=True, text=True, timeout=600, env={**os.environ, "KERNEL": kernel}
        )
        if done.returncode:
            return f"no guest here: {done.stderr.strip() or step}"
    return ""


def boot(guest: str, out: Path) -> Boot:
    """Start a guest, run its tests, read what they said."""
    one, environment = GUESTS[guest], {**inner_environment(guest), "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["taskset", "-c", str(one.cpu), *inner_pytest(guest, "--tb=short", "--durations=10")]
    for _ in range(_BOOTS):
        with open(out / "log", "w") as log:
            done = subprocess.run(
                [SCRIPT, "run", one.topology, out, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env={
                    "LIMIT": "2400",
                    **os.environ,
                    **environment,
                    "KERNEL": one.kernel,
                    "GUEST_ENV": " ".join(environment),
                    "GUEST_KEEP": f"{sys.prefix} {sys.base_prefix}",
                },
            )
        if done.returncode not in (_NOT_UP, _WENT_DOWN) or (out / "report").exists():
            break
    return read_boot(out)


def read_boot(out: Path) -> Boot:
    """What a guest left in its folder."""
    output = (out / "log").read_text(errors="replace")
    report = out / "report"
    tests = read_report(report.read_text()) if report.exists() else {}
    return Boot(tests, output, "" if tests else f"no test ran in the guest:\n{output[-6000:]}")


def read_report(text: str) -> dict[str, Inner]:
    """The lines that the tests in a guest write as they end. Of several phases of one test the worst counts."""
    out: dict[str, Inner] = {}
    for line in text.splitlines():
        said = json.loads(line)
        one = Inner(said["outcome"], said["text"], said["seconds"])
        known = out.setdefault(said["name"], one)
        if one.outcome == "failed" and known.outcome != "failed":
            out[said["name"]] = one
    return out
