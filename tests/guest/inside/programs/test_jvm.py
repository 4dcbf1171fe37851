"""A Java program that checks its own objects while collectors move them: heap, compressed classes, threads of the
collector."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.inside.programs.program import PATIENCE, Program, need, running, there_and_back
from tests.guest.inside.rig import wait_until

SOURCE = Path(__file__).with_name("Checked.java")


@pytest.fixture(params=["parallel", "g1"])
def jvm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Program]:
    need("javac")
    collector = {"parallel": "-XX:+UseParallelGC", "g1": "-XX:+UseG1GC"}[request.param]
    options = ["-Xmx160m", "-Xms160m", collector, "-XX:TieredStopAtLevel=1"]
    with running([need("java"), *options, SOURCE], tmp_path) as one:
        wait_until(lambda: "filled" in one.log.read_text(), "the program has filled its memory", PATIENCE)
        yield one


def rounds(one: Program) -> int:
    """Rounds in which every object was what it must be."""
    text = one.log.read_text()
    assert one.process.poll() is None, text[-2000:]
    assert "wrong" not in text
    return len(re.findall("checked", text))


def test_its_objects_are_whole_while_it_works(jvm: Program) -> None:
    there_and_back(jvm)
    before = rounds(jvm)
    wait_until(lambda: rounds(jvm) > before + 2, "all objects were checked once more", PATIENCE)
