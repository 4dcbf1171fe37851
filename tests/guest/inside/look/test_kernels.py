"""What docs/kernels.md says of this kernel is what it does."""

from __future__ import annotations

import json

import pytest

from tests.guest.guests import REPOSITORY
from tests.guest.inside.kernel_facts import FACTS, release

TABLE = json.loads((REPOSITORY / "tests/data/kernels.json").read_text())


@pytest.mark.skipif(release() not in TABLE["hole"], reason="this kernel was not measured")
@pytest.mark.parametrize("name", FACTS)
def test_the_table_tells_this_kernel(name: str) -> None:
    assert FACTS[name][1]() == TABLE[name][release()]
