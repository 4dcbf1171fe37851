"""Parsers with what nobody wrote; tests/backend/fuzz.py does more of it, for longer."""

from __future__ import annotations

import pytest

from tests.backend.fuzz import PARSERS, fuzz

INPUTS = 250


@pytest.mark.parametrize("name", list(PARSERS))
def test_anything_is_read_or_refused(name: str) -> None:
    parse, example = PARSERS[name]
    parse(example)
    tried, refused = fuzz(name, 1, lambda count: count < INPUTS)
    assert tried == INPUTS
    assert refused < INPUTS
