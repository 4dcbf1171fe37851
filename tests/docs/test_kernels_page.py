"""docs/kernels.md has the table of what kernels answered."""

from __future__ import annotations

import runpy

from tests.guest.guests import REPOSITORY


def test_the_table_is_what_was_measured() -> None:
    made = runpy.run_path(str(REPOSITORY / "scripts/kernels.py"))["page"]()
    assert (REPOSITORY / "docs/kernels.md").read_text() == made, "run scripts/kernels.py"
