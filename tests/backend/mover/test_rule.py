"""Rules that a process cannot choose to fit: by its file, its user, and the unit of the system's manager."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.emulator.scenario.open import open_scenario
from backend.errors import ParseError, UsageError
from backend.kernel import Kernel
from backend.live.kernel import LiveKernel
from backend.mover.policy import Policy, parse_policy
from backend.mover.rule import Rule
from backend.process.process import Process, read_process
from backend.selection.selection import Selection, select
from tests.backend.mover.test_policy import KERNEL, PROCESS
from tests.kernels.around import Around

SLEEP = shutil.which("sleep") or ""


@pytest.fixture(scope="module")
def live() -> Kernel:
    return LiveKernel()


@contextmanager
def running(live: Kernel, *command: str, executable: str | None = None) -> Iterator[Process]:
    child = subprocess.Popen(["/bin/sh", "-c", 'echo; exec "$@"', "sh", *command], stdout=subprocess.PIPE)
    try:
        wanted = command[0] if executable is None else executable
        assert child.stdout is not None
        while not live.read(f"/proc/{child.pid}/cmdline").startswith(wanted.encode() + b"\0"):
            assert child.poll() is None
        yield read_process(live, child.pid)
    finally:
        child.kill()
        child.communicate()


def test_the_file_decides_and_not_the_name(live: Kernel, tmp_path: Path) -> None:
    program, link, other = tmp_path / "postgres", tmp_path / "link", tmp_path / "other" / "postgres"
    other.parent.mkdir()
    shutil.copy(SLEEP, program)
    shutil.copy(SLEEP, other)
    link.symlink_to(program)
    with running(live, str(program), "600") as process:
        assert Rule(Selection(), str(program)).fits(live, process)
        assert Rule(Selection(), str(link)).fits(live, process)
        assert Rule(Selection(match=("postgres",)), str(program)).fits(live, process)
        assert not Rule(Selection(match=("mysqld",)), str(program)).fits(live, process)
        assert not Rule(Selection(), str(other)).fits(live, process)
        assert not Rule(Selection(), str(tmp_path / "nowhere")).fits(live, process)


def test_a_file_is_known_as_stat_knows_it(live: Kernel, tmp_path: Path) -> None:
    """Asked in a way that a filesystem of the process's own is not waited for."""
    (tmp_path / "link").symlink_to(SLEEP)
    for path in (SLEEP, str(tmp_path / "link"), "/proc/self/exe", "/proc/version"):
        facts = os.stat(path)
        assert live.file_id(path) == (facts.st_dev, facts.st_ino)
    for path, number in ((str(tmp_path / "none"), errno.ENOENT), (SLEEP + "/x", errno.ENOTDIR)):
        with pytest.raises(OSError) as caught:
            live.file_id(path)
        assert caught.value.errno == number


def test_a_mount_of_a_users_own_does_not_forge_it(live: Kernel, tmp_path: Path) -> None:
    """It has the path of the rule where it is, and the kernel shows that path."""
    program, there = tmp_path / "bin" / "postgres", tmp_path / "bin"
    there.mkdir()
    shutil.copy(SLEEP, program)
    forged = f"mount -t tmpfs none {there} && cp {SLEEP} {program} && exec {program} 600"
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", there], capture_output=True).returncode:
        pytest.skip("no namespaces here")
    with running(live, "unshare", "-rm", "sh", "-c", forged, executable=str(program)) as process:
        assert Path(f"/proc/{process.pid}/exe").readlink() == program
        assert not Rule(Selection(), str(program)).fits(live, process)


def test_what_the_kernel_does_not_tell_is_taken_against_the_process() -> None:
    hidden: Any = Around(KERNEL, {"file_id": errno.EACCES})
    rule = Rule(Selection(user=("postgres",)), "/usr/bin/postgres")
    assert not Policy(allow=(rule,)).may_move(hidden, PROCESS)
    assert not Policy(deny=(rule,)).may_move(hidden, PROCESS)
    assert Policy(deny=(replace(rule, selection=Selection(user=("root",))),)).may_move(hidden, PROCESS)


@pytest.mark.parametrize(
    ("cgroup", "fits"),
    [
        ("/system.slice/postgresql.service", True),
        ("/system.slice/system-pg.slice/postgresql.service/worker", True),
        ("/postgresql.service", True),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/postgresql.service", False),
        ("/system.slice/docker-1.scope/system.slice/postgresql.service", False),
        ("/mine/postgresql.service", False),
    ],
)
def test_units_are_those_of_the_systems_manager(cgroup: str, fits: bool) -> None:
    assert Rule(Selection(unit=("postgresql",))).fits(KERNEL, replace(PROCESS, cgroup=cgroup)) == fits


def test_a_slice_and_a_user_are_units_too() -> None:
    process = replace(PROCESS, cgroup="/user.slice/user-1000.slice/user@1000.service/app.slice/x.service")
    for unit in ("user.slice", "user-1000.slice", "user@1000", "user@*.service"):
        assert Rule(Selection(unit=(unit,))).fits(KERNEL, process)


def test_it_is_written_in_a_policy() -> None:
    (rule,) = parse_policy("allow: [{exe: /usr/bin/post gres, user: postgres}]").allow
    assert (rule.exe, rule.selection) == ("/usr/bin/post gres", Selection(user=("postgres",)))
    assert rule.text == "--user postgres --exe '/usr/bin/post gres'"
    with pytest.raises(ParseError, match="needs a path from the root"):
        parse_policy("allow: [{exe: postgres}]")
    with pytest.raises(UsageError):
        Rule(Selection(), "postgres")


def test_an_emulated_program_is_known_by_its_name() -> None:
    demo = open_scenario()
    rule = Rule(Selection(), "/usr/sbin/mysqld")
    found = [process.comm for process in select(demo, Selection()) if rule.fits(demo, process)]
    assert set(found) == {"mysqld"}
