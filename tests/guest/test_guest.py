"""Every test that runs in a guest, as a test out here: boots each machine once and passes on what was said in it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.guest.guests import GUESTS, Boot, names, unavailable

pytestmark = pytest.mark.guest
REQUIRED = bool(os.environ.get("CI") or os.environ.get("NUMATUI_REQUIRE_GUEST"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One case for each test in a guest, unless guests are not asked for."""
    if "not guest" in (metafunc.config.getoption("markexpr") or ""):
        cases = []
    else:
        cases = [(which, name) for which in GUESTS for name in names(which)]
    metafunc.parametrize(("which", "name"), cases, ids=[f"{which}-{name}" for which, name in cases])


def test_in_guest(guest: Callable[[str], Boot], which: str, name: str) -> None:
    if why := unavailable(GUESTS[which].kernel):
        if REQUIRED:
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    booted = guest(which)
    if booted.trouble:
        pytest.fail(booted.trouble, pytrace=False)
    inner = booted.tests.get(name)
    if inner is None:
        pytest.fail(f"{name} did not run in the guest:\n{booted.output[-3000:]}", pytrace=False)
    if inner.outcome == "failed":
        pytest.fail(inner.text, pytrace=False)
    if REQUIRED and "is not installed" in inner.text:
        pytest.fail(inner.text, pytrace=False)
    if inner.outcome == "skipped":
        pytest.skip(inner.text)
