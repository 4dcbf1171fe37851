"""docs/scenarios.md names every key that the parser knows and no other, and its examples run."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from backend.emulator.costs import Costs
from backend.emulator.machine import Patches
from backend.emulator.profile import PROFILES
from backend.emulator.scenario.describe_processes import KINDS
from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.run import run_scenario
from backend.emulator.scenario.step import optional_keys, required_keys
from backend.emulator.scenario.steps import STEPS
from backend.errors import ParseError
from tests import ROOT

TEXT = (ROOT / "docs" / "scenarios.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S)
MACHINE = "machine: {nodes: [{id: 0, memory: 8MiB, cpus: 0}]}\n"
UNKNOWN = {
    "Top level": MACHINE + "surely: 1\n",
    "`machine`": "machine: {surely: 1}\n",
    "`machine.nodes`": "machine: {nodes: [{surely: 1}]}\n",
    "`machine.costs`": MACHINE.replace("{nodes", "{costs: {surely: 1}, nodes"),
    "`machine.patches`": MACHINE.replace("{nodes", "{patches: {surely: 1}, nodes"),
    "`filesystems`": MACHINE + "filesystems: [{surely: 1}]\n",
    "`processes`": MACHINE + "processes: [{surely: 1}]\n",
    "`processes[].memory`": MACHINE + "processes: [{name: a, memory: [{surely: 1}]}]\n",
    "`processes[].memory[].access`": MACHINE + "processes: [{name: a, memory: [{size: 1, access: {surely: 1}}]}]\n",
    "`cpusets`": MACHINE + "cpusets: [{surely: 1}]\n",
}  # fmt: skip
"""For each section a text whose unknown key makes the parser say which keys it knows there."""


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", TEXT, re.M | re.S)
    assert found, title
    return re.sub(r"^```yaml\n.*?^```", "", found[1], flags=re.M | re.S)


def rows(text: str) -> list[list[str]]:
    """The cells of its tables."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [line.strip("| ").split(" | ") for line in lines]


def names(cell: str) -> list[str]:
    return re.findall(r"`([a-z_]+)(?::[^`]*)?`", cell)


def known(text: str) -> set[str]:
    with pytest.raises(ParseError) as caught:
        parse_description(text)
    return set(str(caught.value).partition("known here: ")[2].split(", "))


@pytest.mark.parametrize("title", UNKNOWN)
def test_a_section_names_the_keys_that_the_parser_knows_and_no_other(title: str) -> None:
    documented = [name for row in rows(section(title)) for name in names(row[0])]
    assert len(set(documented)) == len(documented)
    assert set(documented) == known(UNKNOWN[title])


def test_keys_of_files_are_named() -> None:
    assert known(MACHINE + "filesystems: [{name: d, type: ext3, files: [{surely: 1}]}]\n") == {"name", "size"}
    (row,) = [row for row in rows(section("`filesystems`")) if names(row[0]) == ["files"]]
    assert names(row[1]) == ["name", "size"]


def test_every_step_is_named_with_all_its_arguments_and_no_other() -> None:
    documented = {
        step: tuple(set(names(part)) for part in (row[1].partition(";")[0], row[1].partition(";")[2]))
        for row in rows(section("`steps`"))
        for step in names(row[0])
    }
    expected = {
        name: ({*(["task"] if kind.of_task else []), *required_keys(kind)}, set(optional_keys(kind)))
        for name, kind in STEPS.items()
    }
    assert documented == expected


def test_defaults_of_costs_are_right() -> None:
    units = {"us": 1e-6, "ns": 1e-9}
    for row in rows(section("`machine.costs`")):
        keys, values = names(row[0]), row[2].split(", ")
        for key, value in zip(keys, values, strict=True):
            match = re.fullmatch(r"(\d+)(us|ns)", value)
            assert match, value
            assert getattr(Costs(), key) == pytest.approx(int(match[1]) * units[match[2]]), key


def test_profiles_kinds_and_filesystem_types_are_named() -> None:
    assert set(PROFILES) <= set(re.findall(r"`([^`]+)`", section("`machine`")))
    assert set(KINDS) <= set(names(section("`processes[].memory`")))
    types = {name for profile in PROFILES.values() for name in profile.filesystem_types}
    assert types <= set(re.findall(r"`(\w+)`", section("`filesystems`")))


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_runs_without_a_refusal(text: str) -> None:
    report = run_scenario(parse_description(text))
    assert [step for step in report["steps"] if step["errno"]] == []
    assert report["damaged_pages"] == 0


def test_the_examples_use_every_key_and_every_step() -> None:
    used = set(re.findall(r"\b([a-z_]+):", "\n".join(EXAMPLES)))
    keys = {name for title in UNKNOWN for row in rows(section(title)) for name in names(row[0])}
    arguments = {name for kind in STEPS.values() for name in (*required_keys(kind), *optional_keys(kind))}
    assert keys | arguments | set(STEPS) <= used


def test_there_are_as_many_costs_and_patches_as_tables_say() -> None:
    """The parser's list comes from the same classes: were it to come from elsewhere, this would notice."""
    assert known(UNKNOWN["`machine.costs`"]) == {one.name for one in fields(Costs)}
    assert known(UNKNOWN["`machine.patches`"]) == {one.name for one in fields(Patches)}
