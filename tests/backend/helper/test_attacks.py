"""Whoever may call the helper gets what its rules say, and nothing else, whatever he sends."""

from __future__ import annotations

import base64
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.agent.connection import Connection, ConnectionLost
from backend.agent.pages import ask_move_pages
from backend.errors import Busy, NotPermitted, NumatuiError
from backend.helper.caller import Caller
from backend.helper.guard import Guard
from backend.helper.open_files import Budget
from backend.helper.rules import parse_rules
from backend.helper.subject import Facts, Subject
from backend.state.machine_lock import ProcessLocks
from tests.backend.helper.served import CALLER, OTHER, RULES, STRANGER, Served
from tests.schemas import check

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be a helper")
MOVE, MOVE_ALL = 2, 4
LOCKS = Path("/run/numatui")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    one = Served(tmp_path)
    yield one
    one.end()


@pytest.fixture(scope="module")
def helper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """One for what changes nothing."""
    one = Served(tmp_path_factory.mktemp("helper"))
    yield one.call(OTHER)
    one.end()


class Processes:
    """Of any user."""

    def __init__(self) -> None:
        self._begun: dict[int, subprocess.Popen[bytes]] = {}

    def __call__(self, uid: int, *command: str) -> int:
        """The pid of a new one. It has called exec."""
        words = command or ("/usr/bin/sleep", "600")
        one = subprocess.Popen(words, stdin=subprocess.PIPE, user=uid, group=uid, extra_groups=[], cwd="/")
        self._begun[one.pid] = one
        return one.pid

    def tell(self, pid: int) -> None:
        """A line on its input."""
        stdin = self._begun[pid].stdin
        assert stdin is not None
        stdin.write(b"go\n")
        stdin.flush()

    def end(self, pid: int) -> None:
        one = self._begun.pop(pid)
        one.kill()
        one.wait()

    def end_all(self) -> None:
        for pid in list(self._begun):
            self.end(pid)


@pytest.fixture
def process() -> Iterator[Processes]:
    one = Processes()
    yield one
    one.end_all()


def wait_for(true: Callable[[], bool]) -> None:
    """Until it is; the test is killed by its runner if that never comes."""
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def refused(call: Callable[..., Any], *arguments: Any, **more: Any) -> str:
    with pytest.raises((OSError, NumatuiError)) as caught:
        call(*arguments, **more)
    exc = caught.value
    return errno.errorcode[exc.errno or 0] if isinstance(exc, OSError) else str(exc)


def address(pid: int) -> int:
    """Of a page of it."""
    return int(Path(f"/proc/{pid}/maps").read_text().split("-")[0], 16)


def move(helper: Connection, pid: int, node: int = 0, flags: int = MOVE) -> int:
    """One page: its status."""
    status = array("i", [-1])
    pages = array("Q", [address(pid) if pid not in (1, os.getpid()) else 0])
    ask_move_pages(helper.call, pid, pages, array("i", [node]), status, flags)
    return status[0]


class TestWho:
    def test_a_stranger_is_told_that_no_rule_names_him(self, served: Served) -> None:
        with pytest.raises(NotPermitted, match=f"no rule of the helper is about {STRANGER}"):
            served.call(STRANGER).hello()

    def test_root_is_no_exception(self, served: Served) -> None:
        assert "no rule" in refused(served.call(0).hello)

    def test_nobody_is_believed_who_he_says_he_is(self, served: Served) -> None:
        one = served.connect(STRANGER)
        one.sendall(b'{"uid":0,"op":"hello","id":1}\n' * 3)
        assert b"refused" in one.makefile("rb").readline()

    def test_without_a_socket_and_without_sudo(self, served: Served) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "numatui", "helper", "--serve", "--config", served.config],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env={**os.environ, "XDG_STATE_HOME": str(served.state), "SUDO_UID": ""},
        )  # fmt: skip
        assert done.returncode == 3
        assert "who has called sudo" in done.stderr

    def test_under_sudo_a_socket_says_nothing(self, served: Served) -> None:
        """Whoever calls sudo chooses what is at the other end of its input."""
        here, there = socket.socketpair()
        with here, there:
            done = subprocess.Popen(
                [sys.executable, "-m", "numatui", "helper", "--serve", "--config", served.config],
                stdin=there.fileno(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**os.environ, "XDG_STATE_HOME": str(served.state), "SUDO_UID": "65534"},
            )  # fmt: skip
            out, err = done.communicate(timeout=60)
        assert b"no rule of the helper is about nobody" in err
        assert b"refused" in out

    def test_a_configuration_that_others_can_change(self, served: Served) -> None:
        served.config.chmod(0o666)
        assert "can be changed by other users" in refused(served.call().hello)

    def test_a_configuration_with_a_fault_allows_nothing(self, served: Served) -> None:
        served.config.write_text("rules: [{users: [4001], processes: [everything]}]")
        said = refused(served.call().hello)
        assert "its configuration cannot be read" in said
        assert "everything" not in said, "it is not for everybody"
        served.processes[-1].wait(60)
        assert "says nothing about processes" in served.log.read_text()

    def test_a_program_that_others_could_change(self, served: Served, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        copy.mkdir()
        repository = Path(__file__).parents[3]
        subprocess.run(["cp", "-r", repository / "backend", repository / "numatui", copy], check=True)
        (copy / "backend").chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-m", "numatui", "helper", "--serve", "--config", served.config],
            input=b"", capture_output=True, cwd=copy,
            env={**os.environ, "XDG_STATE_HOME": str(served.state), "SUDO_UID": "0", "PYTHONPATH": str(copy)},
        )  # fmt: skip
        assert b"can be changed by other users" in done.stderr


class TestWhatItBecomes:
    def test_it_is_nobody_with_one_capability(self, served: Served) -> None:
        helper = served.call()
        helper.hello()
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{served.processes[-1].pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert set(status["Uid"].split()) == {"65534"}
        assert set(status["Gid"].split()) == {"65534"}
        assert status["Groups"].strip() == ""
        assert {status[one].strip() for one in ("CapEff", "CapPrm", "CapBnd")} == {f"{1 << 19:016x}"}
        assert {status[one].strip() for one in ("CapInh", "CapAmb")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"
        owner = os.stat(f"/proc/{served.processes[-1].pid}/maps").st_uid
        assert owner == 0, "others of its number may not look into it"

    def test_more_capabilities_are_kept_where_a_rule_needs_them(self, tmp_path: Path) -> None:
        rules = f"rules: [{{users: [{CALLER}], processes: [own], move: true, shared: true, frames: true}}]"
        one = Served(tmp_path, rules)
        try:
            assert one.call().hello()["can"] == {"frames": True, "shared": True}
            status = Path(f"/proc/{one.processes[-1].pid}/status").read_text()
            bits = 1 << 2 | 1 << 19 | 1 << 21 | 1 << 23
            assert f"CapEff:\t{bits:016x}" in status
        finally:
            one.end()


class TestFiles:
    @pytest.mark.parametrize(
        "path",
        [
            "/etc/shadow", "/etc/passwd", "/proc/self/maps", "/proc/1/environ", "/proc/1/mem",
            "/proc/1/root/etc/shadow",
            "/proc/1/fd/0", "/proc/1/maps/../environ", "/proc//1/maps", "/proc/01/maps", "/proc/1/task/1/maps",
            "/proc/1/maps\n", "/proc/-1/maps", "/proc/99999999999/maps", "/proc/kcore", "/proc/kpageflags",
            "/proc/kpagecount", "/sys/kernel/mm/numa/demotion_enabled", "", "proc/1/maps", "/proc/1/stack",
        ],
    )  # fmt: skip
    def test_other_files(self, helper: Connection, path: str) -> None:
        assert refused(helper.call, "read", path, 0, -1) == "EACCES"

    @pytest.mark.parametrize("name", ["numa_maps", "maps", "smaps", "smaps_rollup"])
    def test_of_whom_it_may_look_at_and_of_others(self, served: Served, process: Processes, name: str) -> None:
        helper = served.call()
        own, theirs = process(CALLER), process(OTHER)
        for pid in (own, theirs):
            assert helper.call("read", f"/proc/{pid}/{name}", 0, -1)[1]
        assert refused(served.call(OTHER).call, "read", f"/proc/{own}/{name}", 0, -1) == "EACCES"
        for pid in (process(STRANGER), process(0), 1, os.getpid(), served.processes[-1].pid):
            assert refused(helper.call, "read", f"/proc/{pid}/{name}", 0, -1) == "EACCES"
        assert refused(helper.call, "read", f"/proc/{4_000_000}/{name}", 0, -1) == "ESRCH"

    def test_pagemap_needs_a_rule_of_its_own(self, served: Served, process: Processes) -> None:
        pid = process(CALLER)
        assert refused(served.call().call, "read", f"/proc/{pid}/pagemap", 0, 8) == "EACCES"
        assert refused(served.call().call, "read_resting", f"/proc/{pid}/pagemap", 0, 8, 0) == "EACCES"

    def test_frames_of_those_processes_only(self, tmp_path: Path, process: Processes) -> None:
        """It has the capability then, for both."""
        rules = (
            f"rules: [{{users: [{CALLER}], processes: [own], frames: true}}, "
            f"{{users: [{CALLER}], processes: ['user:{OTHER}'], move: true}}]"
        )
        one = Served(tmp_path, rules)
        try:
            helper = one.call()
            assert len(helper.call("read", f"/proc/{process(CALLER)}/pagemap", 0, 8)[1]) == 8
            assert refused(helper.call, "read", f"/proc/{process(OTHER)}/pagemap", 0, 8) == "EACCES"
        finally:
            one.end()

    def test_of_a_process_that_hides_its_memory(self, served: Served, process: Processes) -> None:
        """As ssh-agent does: not even its user looks into it (PR_SET_DUMPABLE). The helper itself is one."""
        helper = served.call()
        pid = served.processes[-1].pid  # the helper itself hides, and is nobody's
        wait_for(lambda: "Uid:\t65534" in Path(f"/proc/{pid}/status").read_text())
        with Subject(pid) as subject:
            assert subject.facts().uid == -1
        assert helper.hello()

    def test_of_a_process_that_becomes_another_users_while_it_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        uids = iter([CALLER, 0])

        class Elevated(Subject):
            def facts(self) -> Facts:
                return Facts(next(uids), "/", 1)

        monkeypatch.setattr("backend.helper.guard.Subject", Elevated)
        unused: Any = None
        caller = Caller(CALLER, frozenset(), "caller")
        guard = Guard(caller, parse_rules(RULES).of(CALLER, ()), unused, unused, unused)
        assert refused(guard.read, f"/proc/{os.getpid()}/maps") == "EACCES"
        assert list(uids) == []

    def test_which_program_it_runs(self, served: Served, process: Processes) -> None:
        helper = served.call()
        facts = os.stat("/proc/self/exe")
        pid = process(OTHER, "/usr/bin/sleep", "600")
        facts = os.stat(f"/proc/{pid}/exe")
        assert helper.call("file_id", f"/proc/{pid}/exe")[0] == [facts.st_dev, facts.st_ino]
        assert refused(helper.call, "file_id", "/etc/shadow") == "EACCES"
        assert refused(helper.call, "file_id", "/proc/1/exe") == "EACCES"

    def test_of_a_process_that_has_become_another_users(self, served: Served, process: Processes) -> None:
        """A program with the set-user-ID bit, begun by the caller; it was locked before."""
        folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
        try:
            folder.chmod(0o755)
            program = folder / "sleep"
            shutil.copy("/usr/bin/sleep", program)
            program.chmod(0o4755)
            begun = process(CALLER, "/bin/sh", "-c", f"read line; exec {program} 600")
            helper = served.call()
            assert helper.call("read", f"/proc/{begun}/maps", 0, -1)[1]
            helper.call("state_lock", [begun])
            assert move(helper, begun) == 0
            process.tell(begun)
            wait_for(lambda: Path(f"/proc/{begun}/comm").read_text() == "sleep\n")
            assert refused(helper.call, "read", f"/proc/{begun}/maps", 0, -1) == "EACCES"
            assert "does not move" in refused(move, helper, begun)
        finally:
            shutil.rmtree(folder)


class TestOperations:
    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("write", ["/sys/kernel/mm/numa/demotion_enabled"]), ("migrate_pages", [1, 2, 8]), ("listdir", ["/root"]),
            ("batch", ["x", True]), ("username", [0]), ("pidfd_open", [1]), ("pidfd_send_signal", [0, 9]),
            ("setpriority", [1, 19]), ("pagemap_scan", [1, 0, 4096, 1]), ("state_begin", ["jobs", ".x"]),
            ("state_open", [["jobs", "1.job"], True]), ("state_read", [["state", "helper.jsonl"], 100]),
            ("state_unlink", [["state", "helper.jsonl"]]), ("state_replace", [["state", "helper.jsonl"]]),
            ("state_rename", [["state", "helper.jsonl"], ["state", "x"]]), ("state_names", ["state"]),
            ("state_open_log", [["state", "helper.jsonl"]]), ("hello", []), ("find", []), ("__init__", []), ("", []),
        ],
    )  # fmt: skip
    def test_others_are_not_there(self, helper: Connection, name: str, arguments: list[Any]) -> None:
        assert refused(helper.call, name, *arguments, payload=b"1") == "ENOSYS"

    def test_a_lock_with_a_name(self, helper: Connection) -> None:
        assert "locks processes only" in refused(helper.call, "state_lock", "watch.lock")

    @pytest.mark.parametrize(
        "arguments",
        [["read"], ["read", 7, 0, 0], ["read", "/proc/1/maps", "a", {}], ["read", None, None, None], ["move_pages"],
         ["move_pages", "1", 1, True, 2], ["move_pages", 1, 1 << 40, True, 2], ["move_pages", -1, 0, False, 0],
         ["state_lock", [True]], ["state_lock", [-1]], ["state_lock", [1 << 70]], ["state_lock", ["1"]],
         ["state_lock", {}], ["state_unlock", "x"], ["state_unlock", [1]]],
    )  # fmt: skip
    def test_arguments_that_make_no_sense(self, helper: Connection, arguments: list[Any]) -> None:
        with suppress(OSError, NumatuiError):
            helper.call(*arguments)
        helper.call("state_unlock", 1)


class TestMoving:
    def test_what_is_allowed(self, served: Served, process: Processes) -> None:
        helper = served.call()
        for pid in (process(CALLER), process(OTHER)):
            number = helper.call("state_lock", [pid])[0]
            assert move(helper, pid) == 0
            helper.call("state_unlock", number)
        records = [check(json.loads(line)) for line in served.audit()]
        assert [one["event"] for one in records] == ["moving", "moved"] * 2
        assert {one["uid"] for one in records} == {CALLER}
        assert records[1]["arrived"] == {"0": 1}
        assert records[1]["command"] == "sleep"

    def test_what_is_not(self, served: Served, process: Processes) -> None:
        helper = served.call()
        own, theirs = process(CALLER), process(STRANGER)
        assert "has not locked it" in refused(move, helper, own)
        helper.call("state_lock", [own, theirs, 1, os.getpid()])
        assert "(to nodes 1)" in refused(move, helper, own, node=1)
        assert "with pages that others map" in refused(move, helper, own, flags=MOVE_ALL)
        for flags in (0, MOVE | MOVE_ALL, 8, -1, 1 << 40):
            assert "has not locked it" in refused(move, helper, own, flags=flags)
        for node in (-1, 1 << 20):
            assert refused(move, helper, own, node=node)
        for pid in (theirs, 1, os.getpid()):
            assert "has not locked it" in refused(move, helper, pid)
        look = served.call(OTHER)
        mine = process(OTHER)
        look.call("state_lock", [mine])
        assert "has not locked it" in refused(move, look, mine), "it may only look"
        assert served.audit() == []

    def test_asking_where_pages_are(self, served: Served, process: Processes) -> None:
        helper = served.call()
        own, theirs = process(CALLER), process(STRANGER)

        def ask(pid: int) -> int:
            status = array("i", [-1])
            ask_move_pages(helper.call, pid, array("Q", [address(pid)]), None, status, 0)
            return status[0]

        assert ask(own) == 0
        assert refused(ask, theirs) == "EACCES"

    def test_a_pid_that_is_used_again(self, served: Served, process: Processes) -> None:
        """The locked process ends, and another one of the same user gets its pid before the call."""
        helper = served.call()
        last = Path("/proc/sys/kernel/ns_last_pid")
        for _ in range(100):  # others get pids too
            short = process(CALLER)
            helper.call("state_lock", [short])
            process.end(short)
            last.write_text(str(short - 1))
            if process(CALLER) == short:
                break
        else:
            pytest.skip("others got the pid each time")
        assert refused(move, helper, short) in ("ESRCH", "ENOENT")
        assert served.audit() == []

    def test_a_thread_is_no_process(self, served: Served, process: Processes) -> None:
        """Its number opens a folder in /proc, and would be another lock on the same process."""
        code = "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()"
        pid = process(CALLER, "/usr/bin/python3", "-c", code)
        wait_for(lambda: len(os.listdir(f"/proc/{pid}/task")) == 2)
        tid = max(map(int, os.listdir(f"/proc/{pid}/task")))
        helper = served.call()
        helper.call("state_lock", [tid])
        assert refused(move, helper, tid)
        assert refused(helper.call, "read", f"/proc/{tid}/maps", 0, -1) == "ESRCH"

    def test_a_lock_that_is_given_back_in_mid_call(self, monkeypatch: pytest.MonkeyPatch, process: Processes) -> None:
        """The call keeps it until it has ended, and no other one begins."""
        pid, begun, go_on = process(CALLER), threading.Event(), threading.Event()
        released: list[int] = []
        unused: Any = None
        locks: Any = SimpleNamespace(take=lambda _: None, release=released.append)
        written: list[str] = []
        audit: Any = SimpleNamespace(write=lambda event, **_: written.append(event))

        def call(*_: Any) -> int:
            begun.set()
            assert go_on.wait(60)
            assert not released
            return 0

        monkeypatch.setattr("backend.helper.guard._call", call)
        guard = Guard(Caller(CALLER, frozenset(), "x"), parse_rules(RULES).of(CALLER, ()), locks, audit, unused)
        guard.lock([pid])
        arguments = array("Q", [0]), array("i", [0]), array("i", [0]), MOVE
        moving = threading.Thread(target=lambda: guard.move_pages(pid, *arguments))
        moving.start()
        assert begun.wait(60)
        guard.unlock([pid])
        guard.end()
        assert (released, written) == ([], ["moving"])
        assert "has not locked it" in refused(guard.move_pages, pid, *arguments)
        go_on.set()
        moving.join(60)
        assert (released, written) == ([pid], ["moving", "moved"])

    def test_who_asks_for_too_much_owes_nothing_and_gets_nothing(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        budget = Budget(CALLER, tmp_path)
        assert budget.spend(1000, 10, 300) == 0
        assert 99 < (budget.spend(3000, 10, 300) or 0) <= 100
        for _ in range(5):
            assert budget.spend(1 << 40, 10, 300) is None
        assert budget.spend(1, 10, 300) is None, "400 s are owed still"

    def test_one_lock_with_roots_jobs_and_with_others(self, served: Served, process: Processes) -> None:
        pid = process(OTHER)
        first, second = served.call(), served.call()
        number = first.call("state_lock", [pid])[0]
        assert "another job" in refused(second.call, "state_lock", [pid])
        assert "another job" in refused(first.call, "state_lock", [pid])
        with pytest.raises(Busy):
            ProcessLocks(LOCKS, [pid])
        first.call("state_unlock", number)
        roots = ProcessLocks(LOCKS, [pid])
        assert "another job" in refused(second.call, "state_lock", [pid])
        roots.close()
        second.call("state_lock", [pid])
        served.processes[-1].kill()
        served.processes[-1].wait()
        ProcessLocks(LOCKS, [pid]).close()

    def test_when_the_caller_is_gone_in_mid_job_its_locks_are_too(self, served: Served, process: Processes) -> None:
        pid = process(OTHER)
        helper = served.call()
        helper.call("state_lock", [pid])
        move(helper, pid)
        helper.close()
        assert served.processes[-1].wait(30) == 0
        ProcessLocks(LOCKS, [pid]).close()
        assert [json.loads(line)["event"] for line in served.audit()] == ["moving", "moved"]

    def test_killed_in_mid_job(self, served: Served, process: Processes) -> None:
        pid = process(OTHER)
        helper = served.call()
        helper.call("state_lock", [pid])
        move(helper, pid)
        served.processes[-1].kill()
        with pytest.raises(ConnectionLost):
            move(helper, pid)
        assert [json.loads(line)["event"] for line in served.audit()] == ["moving"]

    def test_nothing_moves_that_cannot_be_logged(self, served: Served, process: Processes) -> None:
        (served.state / "numatui").mkdir(mode=0o700)
        (served.state / "numatui/helper.jsonl").symlink_to("/dev/full")
        assert "audit log" in refused(served.call().hello)

    def test_a_rate_is_kept_over_all_connections(self, tmp_path: Path, process: Processes) -> None:
        """One page of unknown size counts as 2 MiB: at 2 MiB an hour the second one has to wait too long."""
        rules = f"rules: [{{users: [{CALLER}], processes: [own], move: true, rate: 600}}]"
        one = Served(tmp_path, rules)
        (LOCKS / f"helper-{CALLER}.rate").unlink(missing_ok=True)
        try:
            pid = process(CALLER)
            first, second = one.call(), one.call()
            number = first.call("state_lock", [pid])[0]
            assert move(first, pid) == 0
            first.call("state_unlock", number)
            second.call("state_lock", [pid])
            assert refused(move, second, pid) == "EBUSY"
        finally:
            one.end()
            (LOCKS / f"helper-{CALLER}.rate").unlink(missing_ok=True)


def closed(one: socket.socket) -> bool:
    """Whether the helper has ended the connection; what it said before is dropped."""
    one.settimeout(60)
    try:
        while one.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def frame(header: dict[str, Any], *lines: bytes) -> bytes:
    return json.dumps(header).encode() + b"\n" + b"".join(line + b"\n" for line in lines)


class TestFrames:
    @pytest.mark.parametrize(
        "sent",
        [
            b"x" * 70_000,
            b"GET / HTTP/1.1\r\n\r\n",
            b"[]\n",
            b'{"lines": 99999999}\n',
            b'{"lines": -1}\n',
            b"[" * 60_000 + b"\n",
            frame({"lines": 1, "z": 1 << 40}, b""),
            frame({"lines": 1, "z": 4 << 20}, base64.b64encode(zlib.compress(bytes(64 << 20)))[:60_000]),
            frame({"lines": 1}, b"%%%"),
            b'{"id": 1, "op": "read", "args": ["/proc/1/maps"',
        ],
        ids=lambda one: str(one[:20]),
    )
    def test_what_is_no_frame_ends_the_connection(self, served: Served, sent: bytes) -> None:
        one = served.connect()
        one.sendall(sent)
        one.shutdown(socket.SHUT_WR)
        assert closed(one)
        assert served.processes[-1].wait(60) == 0

    def test_a_payload_beyond_its_size_is_not_kept(self, served: Served) -> None:
        one = served.connect()
        line = base64.b64encode(bytes(48_000))
        header = {"id": 1, "op": "move_pages", "args": [1, 1, True, 2], "lines": 180}
        try:
            one.sendall(frame(header, *[line] * 180))
        except OSError:
            return  # it was closed before all was sent
        assert closed(one)

    def test_a_flood_of_requests_ends_the_connection(self, served: Served, process: Processes) -> None:
        pid = process(CALLER)
        one = served.connect()
        request = frame({"id": 1, "op": "read", "args": [f"/proc/{pid}/smaps", 0, -1]})
        one.settimeout(60)
        try:
            for _ in range(2000):
                one.sendall(request)
        except OSError:
            pass
        assert closed(one)
        assert served.processes[-1].wait(60) is not None

    def test_whoever_reads_no_answers_is_left_by_the_helper(self, served: Served, process: Processes) -> None:
        """It ends when it has heard nothing for its time of silence; meanwhile others are served."""
        pid = process(CALLER)
        mute = served.connect()
        for _ in range(200):
            mute.sendall(frame({"id": 1, "op": "read", "args": [f"/proc/{pid}/smaps", 0, -1]}))
        other = served.call()
        assert other.call("read", f"/proc/{pid}/numa_maps", 0, -1)[1]

    def test_a_user_has_few_connections_and_takes_none_from_others(self, served: Served) -> None:
        held = [served.call() for _ in range(8)]
        for one in held:
            one.hello()
        assert "8 connections" in refused(served.call().hello)
        assert served.call(OTHER).hello()
        held[3].close()
        assert served.processes[3].wait(60) == 0
        assert served.call().hello()
