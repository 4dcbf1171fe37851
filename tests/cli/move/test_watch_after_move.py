"""numatui watch: what its policy has run after each move."""

from __future__ import annotations

import json
from pathlib import Path

from tests.backend.mover.test_after_move import script
from tests.cli.running import Cli


def test_the_mover_runs_it_after_each_move(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = script(tmp_path, f"cat >> {out}; exit 5")
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "{interval: 2s, settle: 4s, readings: 2, min_size: 4M, max_rate: 0, after_move: [" + program + ", x y]}"
    )
    policy.chmod(0o600)
    arguments = ("--demo", "watch", "--policy", str(policy), "--rounds", "8", "--json")
    assert cli(*arguments)[0] == 0
    assert not out.exists(), "nothing was moved"
    code, told, _ = cli(*arguments, "--apply")
    assert code == 0
    records = [json.loads(line) for line in told.splitlines()]
    moved = [one["job"] for one in records if one["event"] == "moved"]
    assert moved
    assert [json.loads(line)["job"] for line in out.read_text().splitlines()] == moved
    assert sum("exit code 5" in one.get("text", "") for one in records if one["event"] == "trouble") == len(moved)
    code, shown, _ = cli("--demo", "watch", "--policy", str(policy), "--check")
    assert f"after_move      {program} 'x y'" in shown
