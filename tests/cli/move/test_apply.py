"""Plan, then apply: what still holds is done, what has drifted is refused with what differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.emulator.scenario.open import open_scenario
from backend.emulator.tasks.life import do_exit, spawn
from backend.errors import ParseError
from backend.job.saved_plan import parse_plan
from numatui.cli.source import KernelChoice
from tests.cli.running import Cli, one_line
from tests.emulator.machines import region

pytestmark = pytest.mark.usefixtures("private_state")


class Box:
    """Commands on one demo machine that goes on between them."""

    def __init__(self, cli: Cli, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.cli, self.kernel, self.file = cli, open_scenario("default"), folder / "plan.json"
        self.name = self.kernel.name
        monkeypatch.setattr(KernelChoice, "open", lambda _: self.kernel)

    def save(self, *arguments: str) -> dict[str, Any]:
        document = self.cli.json(*arguments)
        self.write(document)
        return document

    def write(self, document: Any) -> None:
        self.file.write_text(json.dumps(document))

    def apply(self, *options: str, code: int = 0) -> dict[str, Any]:
        return self.cli.json("apply", str(self.file), "--yes", *options, code=code)


@pytest.fixture
def box(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Box:
    return Box(cli, monkeypatch, tmp_path)


PLAN = ("plan", "19", "22", "--from", "1", "--to", "3")


def test_a_plan_that_holds_is_carried_out_as_one_job(box: Box) -> None:
    plan = box.save(*PLAN, "--max-rate", "1GiB", "--method", "move_pages")
    done = box.apply()
    assert {one["pid"] for one in done["outcomes"]} == {19, 22}
    assert sum(one["moved"] for one in done["outcomes"]) == plan["bytes"]
    assert (done["plan"]["method"], done["plan"]["max_rate"]) == ("move_pages", 1 << 30)
    again = box.apply(code=7)
    assert "planned were" in again["what"]


def test_advice_is_applied_in_the_same_way(box: Box) -> None:
    advice = box.save("advise", "--observe", "2s")
    sure = [one for one in advice["processes"] if one["advice"]["confidence"] in ("medium", "high")]
    done = box.apply()
    assert {one["pid"] for one in done["outcomes"]} == {one["pid"] for one in sure}
    assert len({one["job"] for one in done["outcomes"]}) == 1


def test_a_dry_run_does_nothing(box: Box) -> None:
    box.save(*PLAN)
    before = box.kernel.read("/proc/19/numa_maps")
    assert box.apply("--dry-run")["schema"] == "numatui/plan/1"
    assert box.kernel.read("/proc/19/numa_maps") == before


def _older(plan: dict[str, Any]) -> None:
    plan["machine"]["boot"] = "another"


def _elsewhere(plan: dict[str, Any]) -> None:
    plan["machine"]["host"] = "\x1b[2Jdb9"


def _other_nodes(plan: dict[str, Any]) -> None:
    plan["machine"]["nodes"] = [0, 1]


def _other_process(plan: dict[str, Any]) -> None:
    plan["processes"][0]["start_time"] += 1


def _other_amount(plan: dict[str, Any]) -> None:
    plan["processes"][0]["moves"][0]["bytes"] *= 2


def _other_target(plan: dict[str, Any]) -> None:
    plan["to"] = [2]


def _more_pids(plan: dict[str, Any]) -> None:
    plan["processes"].append({**plan["processes"][0], "pid": 4_000_000})


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_older, "was started again"), (_elsewhere, "it was made on"), (_other_nodes, "the nodes were 0-1 and are 0-3"),
        (_other_process, "another has its number"), (_other_amount, "planned were"), (_other_target, "from 1 to 2"),
        (_more_pids, "no process 4000000"),
    ],
)  # fmt: skip
def test_what_differs_is_refused_and_named(box: Box, edit: Callable[[dict[str, Any]], None], words: str) -> None:
    plan = box.save(*PLAN)
    edit(plan)
    box.write(plan)
    before = box.kernel.read("/proc/19/numa_maps")
    error = box.apply(code=7)
    assert error["schema"] == "numatui/error/1"
    assert words in error["what"], error
    assert error["what"].isprintable()
    assert box.kernel.read("/proc/19/numa_maps") == before


def test_a_process_that_has_ended_or_grown_since_is_named(box: Box) -> None:
    box.save(*PLAN)
    machine = box.kernel.machine
    region(machine, machine.tasks[22], {1: 10_000})
    assert "process 22" in box.apply(code=7)["what"]
    box.apply("--tolerance", "1000%", "--dry-run")
    do_exit(machine, machine.tasks[19])
    assert "no process 19" in box.apply(code=7)["what"]


def test_thousands_of_processes(box: Box) -> None:
    machine = box.kernel.machine
    for number in range(2000):
        region(machine, spawn(machine, f"p{number}", cpu=0, pid=10_000 + number), {1: 1})
    pids = [str(10_000 + number) for number in range(2000)]
    box.save("plan", *pids, "--from", "1", "--to", "3")
    done = box.apply()
    assert len(done["outcomes"]) == 2000
    assert all(one["left"] == {} for one in done["outcomes"])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"schema": "numatui/ps/1"}', '{"schema": "numatui/plan/1"}', "[" * 100_000, "\x00", "1e999"],
)
def test_files_that_are_no_plans(box: Box, text: str) -> None:
    box.file.write_text(text)
    assert box.apply(code=2)["what"].startswith("this is not a saved plan")


def test_files_that_cannot_be_read(box: Box, tmp_path: Path) -> None:
    for name, code in (("nope.json", 4), (str(tmp_path), 2), ("a\0b", 4), ("/dev/zero", 2)):
        got, _, err = box.cli("apply", name, "--yes")
        assert got == code, err
        assert one_line(err)


@pytest.mark.parametrize("share", ["", "x", "-1%", "nan", "2000%"])
def test_tolerances_that_are_none(box: Box, share: str) -> None:
    box.save(*PLAN)
    assert box.cli("apply", str(box.file), "--yes", f"--tolerance={share}")[0] == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_no_edit_of_a_plan_is_a_crash(data: st.DataObject) -> None:
    record = json.loads(PLAIN)
    place: Any = record
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = inner
    with suppress(ParseError):
        parse_plan(json.dumps(record).encode(), ["high"])


@given(st.binary(max_size=200))
def test_no_bytes_are_a_crash(raw: bytes) -> None:
    with pytest.raises(ParseError):
        parse_plan(raw, ["high"])


PLAIN = json.dumps(
    {
        "schema": "numatui/plan/1", "from": [0], "to": [1], "rule": "linux-6", "method": "auto", "move_all": False,
        "max_rate": 0, "within": [4096, 8192], "cpusets": [],
        "machine": {"host": "h", "boot": "b", "nodes": [0, 1], "page_size": 4096},
        "processes": [
            {"pid": 5, "start_time": 7, "confined": False, "moves": [{"from": 0, "to": 1, "pages": 1, "bytes": 4096}]},
            {"pid": 6, "start_time": 7, "confined": True, "moves": []},
        ],
    }
)  # fmt: skip


def test_the_plain_one_is_read() -> None:
    saved = parse_plan(PLAIN.encode(), ["high"])
    (request,) = saved.requests
    assert (request.selection.pids, request.sources, request.targets, request.mapping) == ((5,), "0", "1", "1000")
    assert saved.confined == {6}


def test_a_plan_by_heat_is_about_the_same_stretches(box: Box) -> None:
    plan = box.save("plan", "6", "--from", "0", "--to", "1", "--hot", "--max", "64MiB")
    assert 0 < plan["bytes"] <= 64 << 20
    done = box.apply()
    assert sum(one["moved"] for one in done["outcomes"]) == plan["bytes"]
    assert done["plan"]["processes"][0]["only"] == plan["processes"][0]["only"]


@pytest.mark.parametrize(
    "only",
    [
        [["0", "1"], ["0", "2"]], [["2", "1"]], [["x", "y"]], [[1, 2]], [["1"]], "all", [["1", "2", "3"]],
        [["1" * 17, "2"]], {}, 7,
    ],
)  # fmt: skip
def test_hostile_stretches_are_one_line(box: Box, only: Any) -> None:
    plan = box.save("plan", "6", "--from", "0", "--to", "1", "--hot", "--max", "1MiB")
    plan["processes"][0]["only"] = only
    box.write(plan)
    code, _, err = box.cli("apply", str(box.file), "--yes")
    assert code in (2, 7)
    assert one_line(err)
