"""Boots each guest once, whoever asks; keeps pytest out here away from what can only run in there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

import pytest

from tests.guest.guests import INSIDE, OUTSIDE_TOO, Boot, boot, read_boot

if not os.environ.get("NUMATUI_IN_GUEST"):
    collect_ignore = [str(file) for file in INSIDE.rglob("test_*.py") if file.name not in OUTSIDE_TOO]


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Boot]:
    """Boots a guest once, however many workers of pytest-xdist ask; one guest at a time."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    known: dict[str, Boot] = {}

    def booted(which: str) -> Boot:
        if which not in known:
            out = shared / f"guest-{which}"
            with open(shared / "guest.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if out.exists():
                    known[which] = read_boot(out)
                else:
                    out.mkdir()
                    known[which] = boot(which, out)
        return known[which]

    return booted
