"""Whose folders and links lead to a file: nobody else's may decide where something is written, or what is read."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.errors import NotPermitted, NumatuiError, UsageError
from backend.files.given_file import read_trusted
from backend.files.new_file import NewFolder, open_new
from backend.files.walk import Untrusted, opened_parent
from backend.journal.past_jobs import find_job, list_jobs
from backend.mover.policy import load_policy
from backend.recording.sinks import open_sink
from backend.state.jobs_dir import check_private, make_private
from backend.state.machine_lock import open_lock
from backend.state.private_file import read_private, replace_private

SOMEBODY = 4242
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of other users need root")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of another user."""
    folder = tmp_path / "home"
    folder.mkdir()
    os.chown(folder, SOMEBODY, SOMEBODY)
    return folder


def test_links_of_root_and_the_user_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("x")
    (tmp_path / "link").symlink_to("a/b")
    (tmp_path / "absolute").symlink_to(tmp_path / "a/../link")
    (tmp_path / "last").symlink_to("absolute/file")
    for name in ("a/b/file", "link/file", "absolute/file", "last"):
        assert read_trusted(tmp_path / name) == b"x"
    with opened_parent(Path("/")) as (_, name):
        assert name == "."


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError) as caught, opened_parent(tmp_path / "a/x"):
        pass
    assert caught.value.errno == errno.ELOOP


def test_a_link_of_another_user_leads_nowhere(tmp_path: Path, theirs: Path) -> None:
    """What they wanted: a file of root's, with a name that root gave, in a folder that they may not write."""
    secret = tmp_path / "secret"
    secret.mkdir()
    link = theirs / "out"
    link.symlink_to(secret)
    os.lchown(link, SOMEBODY, SOMEBODY)
    for write in (lambda path: open_new(path), lambda path: NewFolder(path), lambda path: open_sink(path, "r")):
        with pytest.raises(Untrusted, match="link of another user"):
            write(theirs / "out/r")
    assert not any(secret.iterdir())


def test_root_may_write_a_new_file_in_a_users_folder(theirs: Path) -> None:
    """`sudo numatui record` in one's own home."""
    os.close(open_new(theirs / "r.tar"))
    sink = open_sink(theirs / "folder", "r")
    sink.put("/proc/version", b"Linux")
    sink.close()
    assert (theirs / "folder/proc/version").read_bytes() == b"Linux"
    assert (theirs / "folder").stat().st_uid == 0


def test_an_empty_folder_of_another_user_is_not_recorded_into(tmp_path: Path, theirs: Path) -> None:
    with pytest.raises(UsageError, match="another user"):
        open_sink(theirs, "r")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o707])
def test_a_folder_in_which_others_may_put_links_is_not_recorded_into(tmp_path: Path, mode: int) -> None:
    """It is not closed to them either: `record /tmp` by root did that."""
    own = tmp_path / "own"
    own.mkdir()
    own.chmod(mode)
    with pytest.raises(NotPermitted, match="can be changed by other users"):
        NewFolder(own)
    assert own.stat().st_mode & 0o7777 == mode


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    own.chmod(0o755)
    (own / "something").touch()
    with pytest.raises(UsageError, match="is not empty"):
        NewFolder(own)
    (own / "something").unlink()
    NewFolder(own).close()
    assert own.stat().st_mode & 0o7777 == 0o755


def put_in_place_of(folder: Path, elsewhere: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(elsewhere)


def test_a_folder_that_is_replaced_meanwhile_is_not_written_into(tmp_path: Path, theirs: Path) -> None:
    sink = open_sink(theirs / "r", "r")
    sink.put("/proc/1/stat", b"1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    put_in_place_of(theirs / "r", elsewhere)
    sink.put("/proc/2/stat", b"2")
    sink.close()
    assert not any(elsewhere.iterdir())
    assert (theirs / "moved/proc/2/stat").read_bytes() == b"2"


STATE: dict[str, Callable[[Path], Any]] = {
    "journals": lambda home: make_private(home / "state/numatui/jobs"),
    "locks": lambda home: open_lock(home / "state/numatui/jobs", "pids.lock"),
    "finding a job": lambda home: find_job(home, None),
    "whether it may be read": lambda home: check_private(home),
    "a policy": lambda home: load_policy(home / "policy.yaml"),
}


@pytest.mark.parametrize("what", STATE)
def test_nothing_of_ones_own_lies_below_a_folder_of_another_user(theirs: Path, what: str) -> None:
    """Root with the HOME of somebody else."""
    (theirs / "policy.yaml").write_text("interval: 10s\n")
    with pytest.raises(Untrusted, match="belongs to another user"):
        STATE[what](theirs)
    assert not (theirs / "state").exists()


def test_what_lies_there_is_not_read(theirs: Path) -> None:
    (theirs / "rates.json").write_text("{}")
    with pytest.raises(OSError, match="another user"):
        read_private(theirs / "rates.json")
    jobs, problems = list_jobs(theirs)
    assert (jobs, len(problems)) == ([], 1)


@pytest.mark.parametrize(("mode", "trusted"), [(0o777, False), (0o770, False), (0o1777, True), (0o755, True)])
def test_folders_that_others_may_change_are_trusted_only_if_they_are_sticky(
    tmp_path: Path, mode: int, trusted: bool
) -> None:
    above = tmp_path / "above"
    above.mkdir()
    os.chown(above, 0, SOMEBODY)
    above.chmod(mode)
    if trusted:
        make_private(above / "mine/jobs")
        check_private(above / "mine/jobs")
        replace_private(above / "mine/jobs/x", "x")
        assert read_private(above / "mine/jobs/x") == b"x"
    else:
        with pytest.raises(NumatuiError, match="can be changed by other users"):
            make_private(above / "mine/jobs")


def test_a_policy_is_trusted_with_every_folder_above_it(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    path = folder / "policy.yaml"
    path.write_text("interval: 10s\n")
    path.chmod(0o644)
    assert load_policy(path).interval == 10
    folder.chmod(0o777)
    with pytest.raises(Untrusted, match="can be changed"):
        load_policy(path)
    folder.chmod(0o755)
    path.chmod(0o666)
    with pytest.raises(Untrusted, match="can be changed"):
        load_policy(path)
