"""The shipped scenarios show what they say, `--compare` counts the benefits, `--trace` follows a page."""

from __future__ import annotations

from typing import Any

import pytest

from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.run import run_scenario
from backend.emulator.scenario.shipped import load, names
from backend.emulator.study.compare import benefits
from backend.errors import UsageError


def run(name: str, trace: str = "") -> dict[str, Any]:
    return run_scenario(load(name), trace=trace)


def outcome(report: dict[str, Any], number: int) -> Any:
    step = report["steps"][number]
    return step["errno"] or step["result"]


def region(report: dict[str, Any], task: str, name: str) -> dict[str, int]:
    return next(vma["nodes"] for vma in report["tasks"][task]["vmas"] if vma["name"] == name)


@pytest.mark.parametrize("name", names())
def test_every_shipped_scenario_runs_and_loses_nothing(name: str) -> None:
    report = run(name)
    assert report["damaged_pages"] == 0
    assert not [task for task in report["tasks"].values() if task["exited"] not in (None, "exited")]


def test_there_are_at_least_ten() -> None:
    assert len(names()) >= 10


def test_benefits_1_2_and_5_moved_where_asked_faster_and_with_the_layout_kept() -> None:
    direct, swap = (benefits(load("direct-vs-swap", profile)) for profile in ("direct-v8", "swap-2.6.15"))
    assert direct["pages_arrived"] == direct["pages_asked"] == 3072
    assert swap["pages_asked"] == 3072
    assert swap["pages_arrived"] < 3072
    assert direct["seconds"] * 10 < swap["seconds"]
    assert (direct["groups_kept"], swap["groups_kept"], direct["groups"]) == (2, 0, 2)
    assert (direct["slots_used_after"], swap["slots_used_after"]) == (0, 3072)


def test_benefit_3_with_fewer_slots_than_pages_direct_migration_moves_all() -> None:
    direct, swap = (benefits(load("swap-full", profile)) for profile in ("direct-v8", "swap-2.6.15"))
    assert (direct["pages_arrived"], direct["pages_not_moved"], direct["slots_used_after"]) == (2048, 0, 0)
    assert (swap["pages_not_moved"], swap["slots_used_after"]) == (2048 - 300, 300)


def test_without_any_slot_only_pages_of_files_move_until_linux_6() -> None:
    arrived = {
        profile: benefits(load("no-free-slot", profile))["pages_arrived"]
        for profile in ("direct-v8", "swap-2.6.15", "linux-6")
    }
    assert arrived == {"direct-v8": 1024, "swap-2.6.15": 0, "linux-6": 1280}


def test_benefit_4_ext3_writes_nothing_nfs_every_page() -> None:
    report = run("dirty-files")
    assert [outcome(report, number) for number in range(2)] == [0, 0]
    assert report["counters"]["nr_written"] == 512
    ext3, nfs = report["files"]
    assert (ext3["nodes"], ext3["dirty"], nfs["nodes"], nfs["dirty"]) == ({"1": 512}, 512, {"1": 512}, 0)
    assert report["steps"][1]["seconds"] > 20 * report["steps"][0]["seconds"]


def test_overlapping_sets_are_emptied_in_the_right_order() -> None:
    report = run("overlapping-sets")
    assert region(report, "shift", "data") == {"1": 512, "2": 512}
    assert region(report, "same", "data") == {"0": 512, "1": 512}
    assert region(report, "fold", "data") == {"0": 253, "1": 515}
    direct = run_scenario(load("overlapping-sets", "direct-v8"))
    assert region(direct, "fold", "data") == {"0": 262 + 253, "1": 253}


def test_a_pinned_page_keeps_a_node_from_going_offline_until_it_is_let_go() -> None:
    report = run("node-removal")
    assert [outcome(report, number) for number in (1, 2, 3)] == ["EBUSY", 0, 0]
    assert region(report, "vm", "guest") == {"0": 4096}


def test_a_target_that_is_too_small_stops_linux_6_in_the_middle_and_makes_v8_fall_back() -> None:
    report = run("target-too-small")
    assert outcome(report, 0) == "ENOMEM"
    placed = region(report, "big", "data")
    assert placed["0"] + placed["1"] == 8192
    direct = run_scenario(load("target-too-small", "direct-v8"))
    assert outcome(direct, 0) == 0
    assert region(direct, "big", "data").keys() == {"1", "2"}


def test_the_fault_race_loses_a_write_without_patch_1() -> None:
    from pathlib import Path

    import backend.emulator.scenarios as shipped

    text = (Path(shipped.__file__).parent / "fault-race.yaml").read_text()
    with_patch = run_scenario(parse_description(text))
    without = run_scenario(
        parse_description(text.replace("recheck: on, ", "").replace("swapcache_recheck: on", "swapcache_recheck: off"))
    )
    assert (with_patch["damaged_pages"], without["damaged_pages"]) == (0, 1)
    assert with_patch["counters"]["swapcache_rechecks"] > 0


def test_tiers_bring_the_cold_pages_down_and_the_hot_ones_up() -> None:
    report = run("tiers")
    assert region(report, "store", "archive") == {"2": 6144}
    assert region(report, "reader", "index") == {"1": 2048}


def test_huge_and_merged_pages_move_with_everything_else() -> None:
    report = run("huge-pages")
    assert [outcome(report, number) for number in range(1, 4)] == [255, 0, 0]
    for name, pages in (("guest", 4096), ("dpdk", 2048), ("zeros", 256)):
        assert region(report, "vm", name) == {"1": pages}
    assert report["counters"]["thp_migration_success"] == 8


def test_a_trace_shows_a_page_leave_its_frame_by_way_of_a_slot() -> None:
    report = run("direct-vs-swap", trace="solver:matrix:7")
    rows = [row for row in report["trace"] if row["who"].startswith("migrate_pages")]
    steps = [row["step"] for row in rows]
    assert steps[:7] == ["isolate", "lock", "add_to_swap", "unmap", "switch", "copy", "remap"]
    named = rows[steps.index("add_to_swap")]
    assert (named["slot"][1], "swapcache" in named["frame"]["flags"]) == (1, True)
    gone = rows[steps.index("unmap")]
    assert gone["pte"].startswith("swap")
    assert (gone["frame"]["mapcount"], gone["slot"][1]) == (0, 2)
    switched = rows[steps.index("switch")]
    assert (switched["frame"]["node"], switched["old"]["node"]) == (2, 0)
    end = rows[steps.index("remap")]
    assert (end["slot"], end["frame"]["mapcount"]) == (None, 1)
    assert end["pte"].startswith("present")


def test_a_trace_of_linux_6_shows_both_frames_while_the_entry_names_the_old_one() -> None:
    report = run("overlapping-sets", trace="shift:data:0")
    rows = [row for row in report["trace"] if row["who"].startswith("migrate_pages")]
    (switched,) = [row for row in rows if row["step"] == "switch"]
    assert switched["pte"].startswith("migration")
    assert (switched["frame"]["node"], switched["old"]["node"]) == (1, 0)


def test_a_trace_says_who_waits_for_the_page() -> None:
    report = run("fault-race", trace="worker:ring:0")
    assert any("touch worker: locked" in row["waiting"] for row in report["trace"])


@pytest.mark.parametrize(
    "page", ["nobody:x:0", "solver:none:0", "solver:matrix:99999", "solver:0xzz", "solver:0x10", "1"]
)
def test_a_page_that_cannot_be_traced_is_one_clear_error(page: str) -> None:
    with pytest.raises(UsageError):
        run("direct-vs-swap", trace=page)


def test_a_frame_can_be_traced_by_its_number() -> None:
    first = run("direct-vs-swap", trace="solver:matrix:0")["trace"][0]["frame"]["pfn"]
    again = run("direct-vs-swap", trace=str(first))
    assert again["trace"][0]["frame"]["pfn"] == first
