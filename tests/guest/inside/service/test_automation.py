"""What-if, recordings and the automatic mover beside a real kernel with four nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.recording.as_scenario import task_name
from tests.guest.inside.rig import MakeVictim, MiB, numatui

LAYOUT = {0: 1536, 1: 768}
"""6 and 3 MiB."""


def by_node(nodes: dict[str, int]) -> dict[int, float]:
    """MiB."""
    return {int(node): amount / MiB for node, amount in nodes.items()}


def moved(before: dict[str, int], after: dict[str, int]) -> list[float]:
    return [by_node(after).get(node, 0) - by_node(before).get(node, 0) for node in range(4)]


def test_plan_what_if_and_the_real_outcome_agree_on_placement(victim: MakeVictim) -> None:
    one = victim(LAYOUT)
    comm = Path(f"/proc/{one.pid}/comm").read_text().strip()
    step = f"migrate_pages: {{task: {task_name(comm, one.pid)}, from: 0-1, to: 2-3}}"
    foreseen = numatui("emulate", "--from-live", "--try", step, "--json")
    assert foreseen.code == 0, foreseen
    (tried,) = [row for row in foreseen.json["processes"] if row["pid"] == one.pid]
    done = numatui("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--yes", "--json")
    assert done.code == 0, done
    plan, outcome = done.json["plan"]["processes"][0], done.json["outcomes"][0]
    real = moved(outcome["before"], outcome["after"])
    assert real == pytest.approx([-6, -3, 6, 3], abs=0.1)
    assert moved(plan["before"], plan["after"]) == pytest.approx(real, abs=0.1)
    assert moved(tried["before"], tried["after"]) == pytest.approx(real, abs=0.1)
    one.verify()


def test_a_recording_says_what_was_there(victim: MakeVictim, tmp_path: Path) -> None:
    one = victim(LAYOUT)
    path = tmp_path / "guest.tar.gz"
    done = numatui("record", path, "--for", "1s", "--interval", "1s", "--json")
    assert done.code == 0, done
    assert done.json["samples"] == 2
    there = numatui("ps", one.pid, "--exact", "--json").json["processes"][0]
    replayed = numatui("--replay", path, "ps", one.pid, "--json").json["processes"][0]
    for key in ("policy", "cpu", "user", "command", "start_time"):
        assert replayed[key] == there[key], key
    # On node 3 it runs, and may have mapped more of its program meanwhile.
    assert [replayed["nodes"].get(node) for node in "012"] == [there["nodes"].get(node) for node in "012"]
    nodes, recorded = (numatui(*words, "nodes", "--json").json for words in ((), ("--replay", path)))
    for live, old in zip(nodes["nodes"], recorded["nodes"], strict=True):
        assert (live["id"], live["cpus"], live["total"], live["distances"]) == (
            old["id"], old["cpus"], old["total"], old["distances"],
        )  # fmt: skip
    hidden = tmp_path / "hidden.tar"
    assert numatui("record", hidden, "--for", "once", "--anonymise").code == 0
    assert b"victim" not in hidden.read_bytes()


def test_the_mover_brings_memory_to_who_uses_it_and_undo_takes_it_back(victim: MakeVictim, tmp_path: Path) -> None:
    one = victim(LAYOUT)
    one.ask("churn", 1)
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "{interval: 1s, settle: 2s, readings: 2, min_size: 1M, cooldown: 1h, allow: [{command: '*victim*'}], "
        "confidence: low}"
    )
    policy.chmod(0o600)
    state = tmp_path / "state"
    dry = numatui("watch", "--policy", policy, "--rounds", "6", state=state)
    assert dry.code == 0, dry
    assert f"would move {one.pid} " in dry.out, dry
    assert one.pages() == LAYOUT
    done = numatui("watch", "--policy", policy, "--rounds", "8", "--apply", state=state)
    assert done.code == 0, done
    assert f"moved {one.pid} " in done.out, done
    assert one.pages() == {3: sum(LAYOUT.values())}
    one.ask("calm")
    one.verify()
    back = numatui("undo", "--yes", state=state)
    assert back.code == 0, back
    assert one.pages() == LAYOUT
    assert (state / "numatui/watch.jsonl").stat().st_mode & 0o777 == 0o600
