"""This Linux through an agent answers as this Linux itself, in few round trips."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import threading
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.agent.connection import ConnectionLost
from backend.errors import Busy, NotFound, NumatuiError
from backend.kernel import read_ahead
from backend.live.host import Host
from backend.live.kernel import LiveKernel
from backend.machine.topology import FILES, read_topology
from backend.placement.survey import STATS, Surveyor
from backend.process.process import Identity, read_stat, still_the_same
from backend.remote.ahead import Ahead
from backend.remote.kernel import RemoteKernel
from tests.backend.remote.far import far_kernel, linked

HERE = LiveKernel()


@pytest.fixture
def far(private_state: Path) -> Iterator[RemoteKernel]:
    with far_kernel() as kernel:
        yield kernel


class TestAnswers:
    def test_it_says_who_it_is(self, far: RemoteKernel) -> None:
        assert (far.name, far.page_size, far.credentials()) == (HERE.name, HERE.page_size, HERE.credentials())
        assert far.capabilities() == HERE.capabilities()
        assert far.username(os.geteuid()) == HERE.username(os.geteuid())
        assert far.username(12345678) == "12345678"
        assert (far.source, far.traits.keeps_jobs, far.traits.is_host) == ("remote", True, False)

    def test_files(self, far: RemoteKernel) -> None:
        for path in ("/proc/version", "/proc/sys/kernel/osrelease", "/proc/cmdline"):
            assert far.read(path) == HERE.read(path)
            assert far.read(path, 3, 5) == HERE.read(path, 3, 5)
        assert sorted(far.listdir("/sys/devices/system/node")) == sorted(HERE.listdir("/sys/devices/system/node"))
        assert far.file_id("/bin/sh") == HERE.file_id("/bin/sh")
        assert read_topology(far).ids == read_topology(HERE).ids

    def test_a_file_without_an_end_is_not_kept(self, tmp_path: Path) -> None:
        (tmp_path / "large").write_bytes(bytes(300_000))
        host = Host(most=200_000)
        with pytest.raises(OSError) as caught:
            host.read(str(tmp_path / "large"))
        assert caught.value.errno == errno.EFBIG
        assert len(host.read(str(tmp_path / "large"), 0, 250_000)) == 250_000

    @pytest.mark.parametrize(
        ("path", "number"),
        [
            ("/proc/nowhere", errno.ENOENT),
            ("/proc", errno.EISDIR),
            ("/proc/self/exe", errno.ELOOP),
            ("/a" * 40_000, 36),
        ],
    )
    def test_refusals_are_those_of_the_kernel(self, far: RemoteKernel, path: str, number: int) -> None:
        with pytest.raises(OSError) as caught:
            far.read(path)
        assert caught.value.errno == number

    def test_names_that_are_no_text(self, far: RemoteKernel, tmp_path: Path) -> None:
        odd = os.fsdecode(os.fsencode(tmp_path) + b'/\xff\n"x')
        Path(odd).write_bytes(b"\0\xff")
        assert far.read(odd) == b"\0\xff"
        assert odd.rpartition("/")[2] in far.listdir(str(tmp_path))
        far.write(odd, b"new")
        assert Path(odd).read_bytes()[:3] == b"new"

    def test_pages_are_asked_for_and_their_statuses_come_back(self, far: RemoteKernel) -> None:
        held = bytearray(64 << 12)
        for at in range(0, len(held), 4096):
            held[at] = 1
        address = (array("Q", [0]).buffer_info()[0] >> 12) << 12
        pages = array("Q", [address, 1 << 46, address])
        statuses = []
        for kernel in (HERE, far):
            status = array("i", [99, 99, 99])
            assert kernel.move_pages(os.getpid(), pages, None, status, 0) == 0
            statuses.append([*status])
        assert statuses[0] == statuses[1]
        assert statuses[1][0] == statuses[1][2] >= 0

    def test_a_call_that_fails_leaves_the_statuses(self, far: RemoteKernel) -> None:
        status = array("i", [99, 98])
        with pytest.raises(OSError) as caught:
            far.move_pages(1 << 22, array("Q", [4096, 8192]), array("i", [0, 0]), status, 2)
        assert caught.value.errno == errno.ESRCH
        assert [*status] == [99, 98]

    def test_no_pages_at_all(self, far: RemoteKernel) -> None:
        assert far.move_pages(os.getpid(), array("Q"), None, array("i"), 0) == 0

    def test_a_process_is_held_and_told_of(self, far: RemoteKernel) -> None:
        child = subprocess.Popen(["sleep", "600"])
        try:
            fd = far.pidfd_open(child.pid)
            assert far.pidfd_alive(fd)
            identity = read_stat(far, child.pid).identity
            assert still_the_same(far, identity).identity == identity
            far.pidfd_send_signal(fd, signal.SIGKILL)
            child.wait()
            assert not far.pidfd_alive(fd)
            with pytest.raises(NotFound):
                still_the_same(far, identity)
            far.pidfd_close(fd)
            with pytest.raises(OSError, match="Bad file"):
                far.pidfd_alive(fd)
        finally:
            child.kill()
            child.wait()

    def test_a_recycled_pid_is_another_process(self, far: RemoteKernel) -> None:
        with pytest.raises(NotFound, match="another has its number now"):
            still_the_same(far, Identity(os.getpid(), 1))

    def test_descriptors_of_others_are_none(self, far: RemoteKernel) -> None:
        for call in (far.pidfd_alive, far.pidfd_close, far.files.size, lambda fd: far.files.pread(fd, 1, 0)):
            with pytest.raises(OSError, match="Bad file"):
                call(1)


class TestState:
    def test_a_job_there_is_a_job_here(self, far: RemoteKernel) -> None:
        jobs = far.files.jobs_dir()
        assert jobs == HERE.files.jobs_dir()
        number, fd = far.files.begin(jobs, ".job", b"first")
        far.files.append(fd, b" second", sync=False)
        assert (far.files.size(fd), far.files.pread(fd, 6, 6)) == (12, b"second")
        path = jobs / f"{number}.job"
        assert path.read_bytes() == b"first second"
        assert path.stat().st_mode & 0o777 == 0o600
        assert HERE.files.open(path)[3], "it is locked"
        far.files.close(fd)
        assert not HERE.files.open(path)[3]
        assert far.files.names(jobs).count(path.name) == 1
        assert far.files.stat(path) == (12, True)
        far.files.unlink(path)
        assert not path.exists()

    def test_measurements(self, far: RemoteKernel) -> None:
        path = far.files.jobs_dir().parent / "rates.json"
        far.files.make_private(far.files.jobs_dir())
        far.files.replace(path, "ü")
        assert far.files.read(path) == "ü".encode()
        far.files.rename(path, path.with_name("other"))
        with pytest.raises(FileNotFoundError):
            far.files.read(path)

    @pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "x\0", "x" * 200, "x\n"])
    def test_no_other_file_can_be_named(self, far: RemoteKernel, name: str) -> None:
        for operation in ("state_open", "state_unlink", "state_replace", "state_stat", "state_read", "state_open_log"):
            with pytest.raises(NumatuiError, match="no name in the state directory"):
                far.connection.call(operation, ["jobs", name], False, payload=b"")

    def test_one_lock_whoever_asks(self, far: RemoteKernel) -> None:
        folder = far.files.jobs_dir()
        with far_kernel() as other:
            held = far.files.lock_processes(folder, [4242, 4243])
            for kernel in (other, far):
                with pytest.raises(Busy, match="4243 is being moved already"):
                    kernel.files.lock_processes(folder, [4243])
            held.close()
            other.files.lock_processes(folder, [4243]).close()
            name = far.files.lock_name(folder, "watch.lock")
            with pytest.raises(BlockingIOError):
                other.files.lock_name(folder, "watch.lock")
            name.close()
            other.files.lock_name(folder, "watch.lock").close()

    def test_locks_end_with_the_agent(self, far: RemoteKernel) -> None:
        folder = far.files.jobs_dir()
        with linked() as link:
            RemoteKernel(link.connection, "db7").files.lock_processes(folder, [77])
            link.process.kill()
            link.process.wait()
            far.files.lock_processes(folder, [77]).close()

    def test_without_a_home_there_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
        with far_kernel() as kernel, pytest.raises(NotFound, match="no home folder"):
            kernel.files.jobs_dir()


class TestAhead:
    def test_what_was_read_ahead_is_answered_without_asking(self, far: RemoteKernel) -> None:
        near = read_ahead(far, "x", ["/proc/sys/kernel/os*", "/sys/devices/system/node/"])
        asked = far.connection.requests
        assert near.read("/proc/sys/kernel/osrelease") == HERE.read("/proc/sys/kernel/osrelease")
        assert near.read("/proc/sys/kernel/osrelease", 1, 2) == HERE.read("/proc/sys/kernel/osrelease", 1, 2)
        assert sorted(near.listdir("/sys/devices/system/node")) == sorted(HERE.listdir("/sys/devices/system/node"))
        with pytest.raises(FileNotFoundError):
            near.read("/proc/sys/kernel/osnone")
        assert far.connection.requests == asked
        assert read_ahead(near, "y", ["/proc/sys/kernel/os*"]) is near

    def test_what_was_missing_is_read_ahead_the_next_time(self, far: RemoteKernel) -> None:
        for round_trips in (2, 1, 1):
            asked = far.connection.requests
            near = read_ahead(far, "x", ["/proc/version"])
            near.read("/proc/version")
            near.read("/proc/loadavg")
            assert far.connection.requests - asked == round_trips
        for _ in range(2):
            near = read_ahead(far, "x", ["/proc/version"])
        asked = far.connection.requests
        near.read("/proc/loadavg")
        assert far.connection.requests - asked == 1, "nobody had asked for it any longer"

    def test_what_holds_a_process_up_is_read_when_it_is_asked_for(self, far: RemoteKernel) -> None:
        for _ in range(3):
            asked = far.connection.requests
            read_ahead(far, "x", ["/proc/version"]).read(f"/proc/{os.getpid()}/numa_maps")
            assert far.connection.requests - asked == 2

    def test_a_star_reaches_over_no_slash(self, far: RemoteKernel) -> None:
        near = read_ahead(far, "x", ["/proc/*/stat"])
        assert near.read(f"/proc/{os.getpid()}/task/{os.getpid()}/stat")

    def test_everything_else_passes(self) -> None:
        near = Ahead(HERE, {}, ())
        assert near.name == HERE.name
        assert near.read("/proc/version") == HERE.read("/proc/version")


class TestTogether:
    """Several threads read ahead under one name; an answer may be lost."""

    def test_nobody_gets_what_is_not_there(self, far: RemoteKernel, tmp_path: Path) -> None:
        path, stop, wrong = tmp_path / "x", threading.Event(), list[bytes]()
        path.write_bytes(b"0" * 400)

        def read() -> None:
            for _ in range(100):
                data = read_ahead(far, "x", [str(path)]).read(str(path))
                if len(data) != 400 or len(set(data)) != 1:
                    wrong.append(data)

        def write() -> None:
            other, number = tmp_path / "y", 0
            while not stop.is_set():
                number += 1
                other.write_bytes(b"%d" % (number % 10) * 400)
                other.rename(path)

        writer = threading.Thread(target=write)
        writer.start()
        readers = [threading.Thread(target=read) for _ in range(4)]
        for one in readers:
            one.start()
        for one in readers:
            one.join()
        stop.set()
        writer.join()
        assert wrong == []
        assert not far.connection.lost

    def test_an_answer_that_was_not_taken_is_asked_for_again(
        self, far: RemoteKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"one")
        assert read_ahead(far, "x", [str(path)]).read(str(path)) == b"one"
        path.write_bytes(b"two")
        real = far.connection.call

        def interrupted(operation: str, *arguments: Any, payload: bytes | None = None) -> tuple[Any, bytes]:
            real(operation, *arguments, payload=payload)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(far.connection, "call", interrupted)
            with pytest.raises(KeyboardInterrupt):
                read_ahead(far, "x", [str(path)])
        assert read_ahead(far, "x", [str(path)]).read(str(path)) == b"two"


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    """300 processes that do nothing."""
    made = [subprocess.Popen(["sleep", "600"]) for _ in range(300)]
    yield made
    for one in made:
        one.kill()
    for one in made:
        one.wait()


class Counted:
    """Round trips that have nothing to do with other programs of this machine: those may start threads meanwhile, and
    users may come whose names are asked for."""

    def __init__(self, far: RemoteKernel, mine: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real, theirs = far.connection.call, re.compile(r"/proc/(\d+)/")

        def call(operation: str, *arguments: Any, payload: bytes | None = None) -> tuple[Any, bytes]:
            found = theirs.match(str(arguments[0])) if arguments else None
            self.count += operation != "username" and (not found or int(found[1]) in mine)
            return real(operation, *arguments, payload=payload)

        monkeypatch.setattr(far.connection, "call", call)

    def since(self) -> int:
        """Since the last time."""
        count, self.count = self.count, 0
        return count


class TestBudget:
    """Round trips and bytes, counted: over 20 ms and 100 Mbit/s the first table takes at most 3 s, a refresh 0.5 s."""

    def test_of_a_survey_of_300_processes(
        self, far: RemoteKernel, children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mine = {one.pid for one in children}
        wire, trips = far.connection, Counted(far, mine, monkeypatch)
        surveyor = Surveyor(far, read_topology(far))
        rows = surveyor.read(lambda one: one.pid in mine)
        assert {row.process.pid for row in rows} == mine
        assert all(row.by_node for row in rows)
        assert trips.since() == 3
        assert wire.received < 600_000
        assert wire.sent < 40_000
        surveyor.read(lambda one: one.pid in mine)
        trips.since()
        for _ in range(3):
            there, back = wire.sent, wire.received
            surveyor.read(lambda one: one.pid in mine)
            assert trips.since() == 2
            assert wire.received - back < 200_000
            assert wire.sent - there < 20_000

    def test_of_a_refresh_of_the_screen(self, far: RemoteKernel, monkeypatch: pytest.MonkeyPatch) -> None:
        trips = Counted(far, set(), monkeypatch)
        surveyor = Surveyor(far, read_topology(far))
        for _ in range(3):
            trips.since()
            near = read_ahead(far, "refresh", (*FILES, *STATS))
            surveyor.topology = read_topology(near)
            surveyor.read(lambda _: False, near)
        assert trips.since() == 2


def test_a_connection_that_ends_is_told_to_all_who_wait() -> None:
    with linked() as link:
        kernel = RemoteKernel(link.connection, "db7")
        link.process.kill()
        for _ in range(2):
            with pytest.raises(ConnectionLost, match="the connection to db7 is lost"):
                kernel.read("/proc/version")
        kernel.files.close(3)


def test_entries_of_a_file_in_one_go(far: RemoteKernel, tmp_path: Path) -> None:
    path = tmp_path / "entries"
    path.write_bytes(array("Q", range(100, 200)).tobytes())
    asked = far.connection.requests
    assert [*far.read_entries(str(path), [3, 99, 0, 100, 1 << 62])] == [103, 199, 100, 0, 0]
    assert far.connection.requests - asked == 1
    assert far.read_resting(str(path), 8, 16, 1000) == array("Q", [101, 102]).tobytes()
