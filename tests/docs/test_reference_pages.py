"""The reference pages have every command with its options, every key, reason, warning and schema."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any, get_args

import pytest

from backend.emulator.profile import PROFILES
from backend.emulator.scenario.shipped import names as scenarios
from backend.job.outcome import Reason
from backend.plan.plan import Code
from numatui.cli.app import command_line
from numatui.cli.printing.layout import Layout, Quiet
from numatui.cli.selecting import SelectOptions
from numatui.cli.shell.schema import COMMON
from numatui.cli.shell.schema import names as schemas
from numatui.tui.key_table import all_keys
from tests import ROOT


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def section(text: str, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found, heading
    return found[1]


def first_column(text: str) -> set[str]:
    """The names in backticks in the first column of a section's tables."""
    return {
        name
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([^`]+)`", line.split("|")[1])
    }


def commands() -> dict[str, Any]:
    """Click's command objects by what is typed."""
    out: dict[str, Any] = {}
    for name, command in command_line().commands.items():
        inner = getattr(command, "commands", {})
        out |= {f"{name} {sub}": one for sub, one in inner.items()} if inner else {name: command}
    return out


@pytest.mark.parametrize("name", commands())
def test_every_command_has_a_section_with_all_its_options_and_no_other(name: str) -> None:
    options = {
        option
        for parameter in commands()[name].params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--") and option != "--help"
    }
    told = re.sub(r"^```.*?^```", "", section(page("commands.md"), f"`{name}`"), flags=re.M | re.S)
    for group, where in ((SelectOptions, "Selecting processes"), (Layout, "Tables"), (Quiet, "Tables")):
        names = {one.name for one in fields(group)}
        mine = [parameter for parameter in commands()[name].params if parameter.name in names]
        if len(mine) == len(names):
            shared = {option for one in mine for option in one.opts if option.startswith("--")}
            assert all(f"`{option}" in section(page("commands.md"), where) for option in shared)
            options -= shared
    documented = {
        option for span in re.findall(r"`([^`]+)`", told) for option in re.findall(r"(?<!\S)--[a-z][a-z-]+", span)
    }
    assert options <= documented
    own = {
        option
        for line in told.splitlines()
        if line.startswith("| `-")
        for option in re.findall(r"--[a-z][a-z-]+", line.split("|")[1])
    }
    assert own <= options


def test_options_before_the_command_are_all_there() -> None:
    told = section(page("commands.md"), "Which machine")
    for parameter in command_line().params:
        for option in parameter.opts:
            assert f"`{option}" in told


def test_every_key_is_named() -> None:
    text = page("keys.md")
    assert {name for name, _, _ in all_keys() if f"`{name}`" not in text} == set()


def test_every_reason_and_warning_is_explained_and_no_other() -> None:
    documents = page("documents.md")
    assert first_column(section(documents, "Reasons")) == set(get_args(Reason))
    assert first_column(section(documents, "Warnings")) == set(get_args(Code))
    assert first_column(section(page("how-it-moves.md"), "Why pages stay")) == set(get_args(Reason))


def test_every_schema_is_listed_and_no_other() -> None:
    assert first_column(section(page("documents.md"), "Schemas")) == set(schemas()) - {COMMON}


def test_profiles_and_shipped_scenarios_are_all_listed() -> None:
    text = page("emulator.md")
    assert first_column(section(text, "Profiles")) == set(PROFILES)
    assert first_column(section(text, "Shipped scenarios")) == set(scenarios())
