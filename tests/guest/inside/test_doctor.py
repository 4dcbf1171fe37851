"""What the doctor says on a real kernel with four nodes: to root, to a user, with what is switched on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from tests.guest.inside import rig
from tests.guest.inside.rig import numatui


def said(uid: int = 0, before: Callable[[], None] = lambda: None) -> dict[str, list[str]]:
    """Check → its states and texts."""
    done = numatui("doctor", "--json", uid=uid, before=before)
    assert done.code == 0, done
    out: dict[str, list[str]] = {}
    for check in done.json["checks"]:
        out.setdefault(check["name"], []).append(f"{check['state']}: {check['text']}")
    return out


def test_root_lacks_nothing() -> None:
    found = said()
    assert found["nodes"] == ["ok: 4 nodes with memory: 0-3"]
    for name in (
        "permission",
        "move_pages",
        "migrate_pages",
        "move_all",
        "pidfd",
        "capabilities",
        "frames",
        "balancing",
    ):
        assert [text.split(":")[0] for text in found[name]] == ["ok"], found[name]
    assert "Linux 6.7" in found["pagemap_scan"][0]
    assert "run numatui bench" not in found["bench"][0]
    assert not {"seccomp", "namespace"} & found.keys()


def test_a_user_learns_what_is_lacking() -> None:
    found = said(uid=rig.USER)
    assert found["permission"][0].startswith("note: uid")
    assert len(found["capabilities"]) == 3
    assert found["frames"][0].startswith("note")
    assert found["move_all"][0].startswith("note")


def test_balancing_and_hidden_processes_are_told() -> None:
    with rig.setting("/proc/sys/kernel/numa_balancing", 1):
        assert found_state(said(), "balancing") == "note"
    subprocess.run(["mount", "-o", "remount,hidepid=2", "/proc"], check=True)
    try:
        assert "hidepid" in said(uid=rig.USER)["processes"][0]
        assert found_state(said(), "processes") == "ok"
    finally:
        subprocess.run(["mount", "-o", "remount,hidepid=0", "/proc"], check=True)


def found_state(found: dict[str, list[str]], name: str) -> str:
    (text,) = found[name]
    return text.split(":")[0]
