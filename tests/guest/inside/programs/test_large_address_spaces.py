"""Processes whose address spaces are large: a hundred thousand mappings, and hundreds of gigabytes that are empty."""

from __future__ import annotations

import os
from pathlib import Path

from tests.guest.inside.rig import PAGE, MakeVictim, numatui, setting

MAPPINGS = 100_000 if os.environ.get("NUMATUI_ALL_GUESTS") else 10_000
"""The guest is twenty times slower than its host, so CI asks for fewer."""
SPAN, TOUCHED = 200 << 30, 500
"""Bytes of a mapping, and how many pages of it there are."""


def test_a_hundred_thousand_mappings_move_and_come_back(victim: MakeVictim, tmp_path: Path) -> None:
    one = victim(layout={"memory": {"on": {0: MAPPINGS // 4}, "untouched": MAPPINGS * 3 // 4}})
    with setting("/proc/sys/vm/max_map_count", 2 * MAPPINGS):
        one.ask("shatter", "memory")
        assert Path(f"/proc/{one.pid}/maps").read_text().count("\n") > MAPPINGS
        there = numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json", state=tmp_path)
        assert there.code == 0, there
        assert there.json["outcomes"][0]["moved"] == MAPPINGS // 4 * PAGE
        assert one.pages() == {2: MAPPINGS // 4}
        back = numatui("undo", "--yes", "--json", state=tmp_path)
        assert back.code == 0, back
        assert one.pages() == {0: MAPPINGS // 4}
        one.ask("verify")


def test_two_hundred_gigabytes_of_holes_move_and_come_back(victim: MakeVictim, tmp_path: Path) -> None:
    one = victim(layout={})
    start = one.ask("sparse", SPAN, TOUCHED, 0)
    one.regions = {
        f"page {number}": (start + SPAN // TOUCHED * number // PAGE * PAGE, PAGE) for number in range(TOUCHED)
    }
    for command, node in (
        (("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json"), 2),
        (("undo", "--yes", "--json"), 0),
    ):
        done = numatui(*command, state=tmp_path)
        assert done.code == 0, done
        assert {where for nodes in one.where().values() for where in nodes} == {node}
    one.verify()
