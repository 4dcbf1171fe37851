"""Moving and taking back with fewer rights than root's: frames are hidden then, the kernel is asked page by page."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.guest.inside import rig
from tests.guest.inside.rig import PAGE, USER, MakeVictim, numatui

MOVE = ("--from", "0-1", "--to", "1-2", "--yes", "--json")
CLONE_NEWUSER = 0x10000000


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder of the user's own that it can reach."""
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    own = tmp_path / "state"
    own.mkdir()
    os.chown(own, USER, USER)
    tmp_path.chmod(0o755)
    return own


@pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
def test_a_user_moves_its_own_process_and_takes_it_back(victim: MakeVictim, state: Path, method: str) -> None:
    one = victim({0: 300, 1: 200, 2: 10}, uid=USER)
    before = one.where()
    done = numatui("migrate", one.pid, *MOVE, "--method", method, uid=USER, state=state)
    assert done.code == 0, done
    assert done.json["outcomes"][0]["moved"] == 500 * PAGE
    assert one.pages() == {1: 300, 2: 210}
    back = numatui("undo", "--yes", "--json", uid=USER, state=state)
    assert back.code == 0, back
    assert back.json["outcome"]["moved"] == 500 * PAGE
    assert one.where() == before
    one.verify()


def test_a_user_is_refused_anothers_process_and_its_job(victim: MakeVictim, state: Path) -> None:
    own, other = victim({0: 50}, uid=USER), victim({0: 50}, uid=rig.OTHER)
    numatui("migrate", other.pid, *MOVE, uid=USER, state=state).refused(3, "another user")
    done = numatui("migrate", own.pid, *MOVE, uid=USER, state=state)
    assert done.code == 0
    numatui("undo", "--yes", uid=rig.OTHER, state=state).refused(3, "belongs to another user")
    assert own.pages() == {1: 50}
    assert other.pages() == {0: 50}


def enter_user_namespace() -> None:
    """Root of a namespace of its own, nobody in the others."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(rig.PR_SET_DUMPABLE, 1, 0, 0, 0)
    assert libc.unshare(CLONE_NEWUSER) == 0, os.strerror(ctypes.get_errno())
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {USER} 1")
    Path("/proc/self/gid_map").write_text(f"0 {USER} 1")
    assert os.geteuid() == 0


@pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
def test_root_of_a_user_namespace_is_a_user_in_there(victim: MakeVictim, state: Path, method: str) -> None:
    outside, one = victim({0: 50}, uid=USER), victim({0: 300}, uid=USER, before=enter_user_namespace)
    before = one.where()

    def join() -> None:
        with open(f"/proc/{one.pid}/ns/user") as namespace:
            assert ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWUSER) == 0
        assert os.geteuid() == 0

    inside: dict[str, Any] = {"uid": USER, "state": state, "before": join}
    numatui("migrate", outside.pid, *MOVE, **inside).refused(3, str(outside.pid))
    numatui("migrate", one.pid, *MOVE, "--all", **inside).refused(3, "CAP_SYS_NICE")
    assert one.where() == before
    done = numatui("migrate", one.pid, *MOVE, "--method", method, **inside)
    assert done.code == 0, done
    assert one.pages() == {1: 300}
    back = numatui("undo", "--yes", "--json", **inside)
    assert back.code == 0, back
    assert one.where() == before
    one.verify()


@pytest.fixture
def hidepid() -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,hidepid=2", "/proc"], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,hidepid=0", "/proc"], check=True)


def test_where_proc_hides_others_processes(victim: MakeVictim, state: Path, hidepid: None) -> None:
    one = victim({0: 300}, uid=USER)
    done = numatui("migrate", one.pid, *MOVE, uid=USER, state=state)
    assert done.code == 0, done
    assert numatui("undo", "--yes", uid=USER, state=state).code == 0
    assert one.pages() == {0: 300}
    one.end()
    numatui("migrate", one.pid, *MOVE, uid=USER, state=state).refused(4, "hidepid")
