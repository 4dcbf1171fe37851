"""Many hosts: what they say in one table, those that do not answer, the same move on all of them, and back."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.errors import Interrupted
from backend.fleet.reach import Answer
from backend.fleet.record import Record, find
from backend.mover.audit import AuditLog, event
from backend.placement.numa_maps import read_placement
from backend.remote.served import ServedState
from tests.backend.fleet.emulated_hosts import EmulatedHosts
from tests.cli.running import Cli

NAMES = ["db1", "db2", "db3"]
FLEET = ("fleet", "--hosts", "db[1-3]")
MYSQL = ("--match", "mysqld")


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private_state: Path) -> Iterator[EmulatedHosts]:
    """Machines of this test's own."""
    one = EmulatedHosts(tmp_path, NAMES)
    monkeypatch.setenv("NUMATUI_SSH", str(one.ssh))
    yield one
    one.end()


@pytest.fixture(scope="module")
def all_tests_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedHosts]:
    one = EmulatedHosts(tmp_path_factory.mktemp("hosts"), NAMES)
    yield one
    one.end()


@pytest.fixture
def looked_at(all_tests_hosts: EmulatedHosts, monkeypatch: pytest.MonkeyPatch, private_state: Path) -> EmulatedHosts:
    """Machines on which nothing is moved."""
    monkeypatch.setenv("NUMATUI_SSH", str(all_tests_hosts.ssh))
    return all_tests_hosts


def mysql(hosts: EmulatedHosts) -> dict[str, dict[int, int]]:
    """By host, where the memory of its process 11 lies."""
    return {name: read_placement(kernel, 11).bytes_by_node for name, kernel in hosts.kernels.items()}


class TestLooking:
    def test_nodes(self, cli: Cli, looked_at: EmulatedHosts) -> None:
        code, out, err = cli(*FLEET, "nodes")
        assert (code, err) == (0, "")
        assert [line.split()[0] for line in out.splitlines()] == ["HOSTS", "db[1-3]"]
        assert out.splitlines()[1].split()[1:3] == ["4", "16G"]

    def test_ps_has_those_of_all_hosts_the_farthest_first(self, cli: Cli, looked_at: EmulatedHosts) -> None:
        code, out, _ = cli(*FLEET, "ps", "--far", "100M", "--limit", "4")
        assert code == 0
        assert len(out.splitlines()) == 5
        assert {line.split()[0] for line in out.splitlines()[1:]} <= set(NAMES)
        every = cli.json(*FLEET, "ps", "mysqld")["hosts"]
        assert [(one["host"], [p["pid"] for p in one["document"]["processes"]]) for one in every] == [
            (name, [11]) for name in NAMES
        ]

    def test_what_hosts_say_alike_stands_once(self, cli: Cli, looked_at: EmulatedHosts) -> None:
        code, out, _ = cli(*FLEET, "doctor", "--all")
        assert code == 0
        assert all("db[1-3]" in line for line in out.splitlines()[1:])

    def test_all_nodes_of_a_host_count(self, cli: Cli, looked_at: EmulatedHosts) -> None:
        out = cli(*FLEET, "nodes", "--limit", "1")[1]
        assert out.splitlines()[1].split()[:3] == ["db[1-3]", "4", "16G"]

    def test_advise(self, cli: Cli, looked_at: EmulatedHosts) -> None:
        for kernel in looked_at.kernels.values():
            kernel.start()
        try:
            code, out, _ = cli(*FLEET, "advise", "--observe", "2s")
        finally:
            for kernel in looked_at.kernels.values():
                kernel.stop()
        assert code == 0
        assert {line.split()[0] for line in out.splitlines()[1:]} <= set(NAMES) or "nothing is worth" in out

    def test_watch_status(self, cli: Cli, looked_at: EmulatedHosts) -> None:
        code, out, err = cli(*FLEET, "watch-status")
        assert (code, err) == (0, "")
        assert out.splitlines()[1].split()[:2] == ["db[1-3]", "never"]
        folder = looked_at.state("db2")
        log = AuditLog(folder, folder)
        try:
            log.write(event("started", policy="/etc/w.yaml", dry=False))
            rows = [line.split()[:3] for line in cli(*FLEET, "watch-status")[1].splitlines()[1:]]
            assert ["db2", "runs", "/etc/w.yaml"] in rows
            assert "db[1,3]" in [row[0] for row in rows]
            one = cli.json(*FLEET, "watch-status")["hosts"][1]["document"]
            assert (one["schema"], one["running"]) == ("numatui/watch-status/1", True)
        finally:
            log.close()

    def test_csv_has_the_host(self, cli: Cli, looked_at: EmulatedHosts) -> None:
        for command in (["nodes"], ["ps"], ["jobs"], ["advise", "--observe", "1s"], ["watch-status"]):
            _, out, _ = cli(*FLEET, *command, "--csv")
            assert out.splitlines()[0].startswith("host,")

    def test_a_list_of_hosts(self, cli: Cli, looked_at: EmulatedHosts, tmp_path: Path) -> None:
        (tmp_path / "list").write_text("# ours\ndb[1-2]\n\ndb3,!db2 # not that one\n")
        (tmp_path / "list").write_text("# ours\ndb[1-2]\n\ndb3 # the new one\n")
        _, out, _ = cli("fleet", "--hosts-file", str(tmp_path / "list"), "nodes")
        assert out.splitlines()[1].startswith("db[1-3] ")


class TestHostsThatDoNotAnswer:
    def test_they_are_named_once_with_the_reason(self, cli: Cli, looked_at: EmulatedHosts) -> None:
        code, out, err = cli("fleet", "--hosts", "db[1-3],off[1-4]", "nodes")
        assert code == 6
        assert "db[1-3]" in out
        assert len(err.splitlines()) == 1
        assert err.startswith("numatui: off[1-4]: off1 cannot be reached: ssh: connect to host off1")

    def test_none_of_them(self, cli: Cli, looked_at: EmulatedHosts) -> None:
        code, out, _ = cli("fleet", "--hosts", "off[1-4]", "nodes")
        assert (code, out) == (1, "")
        document = json.loads(cli("fleet", "--hosts", "off1", "nodes", "--json")[1])
        assert "cannot be reached" in document["hosts"][0]["error"]

    def test_one_that_hangs_holds_nobody_up(self, cli: Cli, looked_at: EmulatedHosts) -> None:
        def silent(one: socket.socket) -> None:
            time.sleep(600)

        looked_at.serve("db9", silent)
        code, out, err = cli("fleet", "--hosts", "db9,db[1-3]", "--timeout", "3", "nodes")
        assert code == 6
        assert "db[1-3]" in out
        assert "db9" in err
        assert "within 3 seconds" in err

    def test_one_that_answers_nonsense(self, cli: Cli, looked_at: EmulatedHosts) -> None:
        def noise(one: socket.socket) -> None:
            one.sendall(b'{"numatui-agent": 1, "hello": {"name": "\\u001b[2J"}}\n')

        looked_at.serve("db8", noise)
        code, _, err = cli("fleet", "--hosts", "db8,db1", "ps")
        assert code == 6
        assert "does not say who it is" in err
        assert "\x1b" not in err


class TestMoving:
    def test_there_and_back_on_all_of_them(self, cli: Cli, hosts: EmulatedHosts) -> None:
        before = mysql(hosts)
        code, out, _ = cli(*FLEET, "migrate", *MYSQL, "--from", "0-1", "--to", "2-3", "--yes", "--rolling", "2")
        assert code == 0
        after = mysql(hosts)
        assert all(not one.get(0) and not one.get(1) for one in after.values())
        assert "numatui fleet undo 1 takes all of it back" in out
        assert {line.split(":")[0] for line in out.splitlines() if ": done" in line} == set(NAMES)
        jobs = cli.json(*FLEET, "jobs")["hosts"]
        assert [len(one["document"]["jobs"]) for one in jobs] == [1, 1, 1]
        assert "knows its hosts" in cli(*FLEET, "undo", "--yes")[2]
        assert cli("fleet", "undo", "--yes")[0] == 0
        assert mysql(hosts) == before
        code, _, err = cli("fleet", "undo", "--yes")
        assert code == 4
        assert "no fleet job to take back" in err
        assert "was taken back already" in cli("fleet", "undo", "1", "--yes")[2]
        assert "no fleet job 9" in cli("fleet", "undo", "9", "--yes")[2]

    def test_only_said(self, cli: Cli, hosts: EmulatedHosts) -> None:
        before = mysql(hosts)
        code, out, _ = cli(*FLEET, "migrate", *MYSQL, "--from", "0", "--to", "2", "--dry-run")
        assert code == 0
        assert [line.split()[:2] for line in out.splitlines()[1:]] == [[name, "1"] for name in NAMES]
        assert mysql(hosts) == before
        assert cli(*FLEET, "migrate", *MYSQL, "--from", "0", "--to", "2")[0] == 2, "nobody is there to confirm"
        assert mysql(hosts) == before

    def test_hosts_without_such_a_process_are_left_alone(self, cli: Cli, hosts: EmulatedHosts) -> None:
        code, _, err = cli(*FLEET, "migrate", "--match", "no-such-*", "--from", "0", "--to", "2", "--yes")
        assert code == 4
        assert "no host has a process that matches --match 'no-such-*'" in err

    def test_a_node_that_hosts_do_not_have_is_said(self, cli: Cli, hosts: EmulatedHosts) -> None:
        code, _, err = cli(*FLEET, "migrate", *MYSQL, "--from", "0", "--to", "7", "--yes")
        assert code != 0
        assert err.count("\n") == 1
        assert "db[1-3]: there is no node 7" in err

    def test_nothing_of_it_would_move(self, cli: Cli, hosts: EmulatedHosts) -> None:
        code, _, err = cli(*FLEET, "migrate", "--match", "*redis*", "--from", "0", "--to", "2", "--yes")
        assert code == 0
        assert "db[1-3]: nothing of it would move there" in err

    def test_a_process_that_another_job_has_was_not_touched(self, cli: Cli, hosts: EmulatedHosts) -> None:
        """Refused as busy, it is known what was done there: nothing."""
        state = ServedState(hosts.state("db1"))
        held = state.lock_processes(state.jobs_dir(), [11])
        try:
            code, _, err = cli(*FLEET, "migrate", *MYSQL, "--from", "0-1", "--to", "2-3", "--yes", "--rolling", "2")
        finally:
            held.close()
        assert code == 6
        assert "db1: process 11 is being moved already" in err
        assert "numatui --host db1 jobs" in err
        found = find(None)
        assert (set(found.jobs), found.unknown) == ({"db2"}, [])

    def test_a_disk_that_gets_full_between_two_hosts(
        self, cli: Cli, hosts: EmulatedHosts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begins = Record.begins

        def full(self: Record, some: list[str]) -> None:
            if "db2" in some:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            begins(self, some)

        monkeypatch.setattr(Record, "begins", full)
        code, out, err = cli(*FLEET, "migrate", *MYSQL, "--from", "0-1", "--to", "2-3", "--yes")
        assert code == 6
        assert "cannot be recorded" in err
        assert "db1: done" in out
        assert "numatui fleet undo 1 takes all of it back" in out
        assert "db[2-3]: nothing was done there" in err

    def test_it_stops_at_the_first_surprise(self, cli: Cli, hosts: EmulatedHosts, monkeypatch: Any) -> None:
        """On db2 pages are pinned that nobody announced; db3 is not touched."""
        before = mysql(hosts)
        inner = hosts.kernels["db2"]

        class Refusing:
            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            def move_pages(self, pid: int, pages: Any, nodes: Any, status: Any, flags: int) -> int:
                if nodes is None:
                    return inner.move_pages(pid, pages, nodes, status, flags)
                status[:] = type(status)("i", [-16] * len(status))
                return 0

        hosts.kernels["db2"] = Refusing()
        code, _, err = cli(*FLEET, "migrate", *MYSQL, "--from", "0", "--to", "2", "--yes")
        assert code == 6
        assert "db3: nothing was done there" in err
        hosts.kernels["db2"] = inner
        assert mysql(hosts)["db3"] == before["db3"]
        assert mysql(hosts)["db1"] != before["db1"]
        assert cli("fleet", "undo", "--yes")[0] == 0
        assert mysql(hosts) == before

    def test_a_partial_undo_is_none_yet(self, cli: Cli, hosts: EmulatedHosts) -> None:
        """Of three hosts one is down: the others go back, and it later."""
        before = mysql(hosts)
        assert cli(*FLEET, "migrate", *MYSQL, "--from", "0", "--to", "2", "--yes", "--rolling", "3")[0] == 0
        (hosts.folder / "db2").rename(hosts.folder / "away")
        assert cli("fleet", "undo", "--yes")[0] == 6
        (hosts.folder / "away").rename(hosts.folder / "db2")
        assert mysql(hosts)["db2"] != before["db2"]
        assert cli("fleet", "undo", "--yes")[0] == 0
        assert mysql(hosts) == before
        assert "no fleet job to take back" in cli("fleet", "undo", "--yes")[2]

    def test_interrupted_while_it_plans(self, cli: Cli, hosts: EmulatedHosts, monkeypatch: pytest.MonkeyPatch) -> None:
        import numatui.cli.fleet.chosen as module

        real, before = module.ask_all, mysql(hosts)

        def interrupted(names: Any, ask: Any, *more: Any) -> Any:
            answers = real(names, ask, *more)
            return [*answers[:-1], Answer(answers[-1].host, error=Interrupted("interrupted", ""))]

        monkeypatch.setattr(module, "ask_all", interrupted)
        assert cli(*FLEET, "migrate", *MYSQL, "--from", "0", "--to", "2", "--yes")[0] == 130
        assert mysql(hosts) == before

    def test_a_plan_that_has_grown_is_another_one(self, cli: Cli, hosts: EmulatedHosts, monkeypatch: Any) -> None:
        import numatui.cli.fleet.move as module
        from backend.fleet.move import Announced, announced

        monkeypatch.setattr(module, "announced", lambda plan: Announced(1 << 20, announced(plan).processes))
        before = mysql(hosts)
        code, _, err = cli(*FLEET, "migrate", *MYSQL, "--from", "0", "--to", "2", "--yes")
        assert code == 6
        assert "were announced" in err
        assert mysql(hosts) == before
        monkeypatch.setattr(module, "announced", lambda plan: Announced(plan.bytes, frozenset()))
        assert "was not announced" in cli(*FLEET, "migrate", *MYSQL, "--from", "0", "--to", "2", "--yes")[2]
        assert mysql(hosts) == before

    def test_a_host_that_is_gone_in_mid_job(self, cli: Cli, hosts: EmulatedHosts) -> None:
        """It stops there; what was done is in its journal, and the others go back."""
        inner, before = hosts.kernels["db2"], mysql(hosts)
        moved: list[int] = []

        class Gone:
            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            def move_pages(self, pid: int, pages: Any, nodes: Any, status: Any, flags: int) -> int:
                if nodes is not None:
                    moved.append(len(pages))
                    if len(moved) == 2:
                        hosts.cut("db2")
                return inner.move_pages(pid, pages, nodes, status, flags)

        hosts.kernels["db2"] = Gone()
        code, _, err = cli(*FLEET, "migrate", *MYSQL, "--from", "0", "--to", "2", "--yes")
        assert code == 6
        assert "db2" in err
        hosts.kernels["db2"] = inner
        code, _, err = cli("fleet", "undo", "--yes")
        assert "db2: job 1 is still running" in err, "its agent here is a thread, which does not end with the line"
        assert mysql(hosts)["db1"] == before["db1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nodes",), "no hosts are named"),
        (("--hosts", "a", "--hosts-file", "b", "nodes"), "hosts are named twice"),
        (("--hosts", "a[1-", "nodes"), "is no set of hosts"),
        (("--hosts", "a[1-99999999]", "nodes"), "too large"),
        (("--hosts", "a[1-20000]", "nodes"), "are too many"),
        (("--hosts", "-oProxyCommand=x", "nodes"), "is not a host"),
        (("--hosts", "a;b", "nodes"), "is not a host"),
        (("--hosts", "$(x)", "nodes"), "is not a host"),
        (("--hosts", "a!a", "nodes"), "names no host"),
        (("--hosts", "@nowhere", "nodes"), "names no host"),
        (("--hosts-file", "/no/where", "nodes"), "cannot be read"),
        (("undo",), "no fleet job"),
        (("--hosts", "a", "migrate", "--from", "0", "--to", "1"), "no process is named"),
    ],
)
def test_what_makes_no_sense(cli: Cli, private_state: Path, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = cli("fleet", *arguments)
    assert code != 0
    assert out == ""
    assert len(err.splitlines()) == 1
    assert said in err


def test_another_machine_is_no_fleet(cli: Cli) -> None:
    assert "leave it out" in cli("--demo", "fleet", "--hosts", "a", "nodes")[2]
