"""numatui watch: dry by default, its log, its signals."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from backend.emulator.scenario.open import open_scenario
from backend.errors import NumatuiError
from backend.kernel import Kernel
from backend.mover import audit
from backend.mover.audit import AuditLog, event
from backend.mover.mover import Mover
from backend.mover.policy import KEYS, Policy, parse_policy
from backend.state.local import LOCAL
from numatui.cli.printing.watching import ticks
from tests import ROOT
from tests.cli.running import Cli, one_line
from tests.schemas import check

QUICK = "{interval: 2s, settle: 4s, readings: 2, cooldown: 30s, min_size: 4M, max_rate: 0}"
DOCS = ROOT / "docs"


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.yaml"
    path.write_text(QUICK)
    path.chmod(0o600)
    return str(path)


def lines(out: str) -> list[dict]:
    return [check({"schema": "numatui/watch/1", **json.loads(line)}) for line in out.splitlines()]


def test_an_empty_policy_is_the_defaults_and_moves_the_demo(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    path.chmod(0o600)
    assert parse_policy("") == parse_policy("# nothing\n") == Policy()
    code, out, _ = cli("--demo", "watch", "--policy", str(path), "--rounds", "8", "--apply", "--json")
    assert code == 0
    assert "moved" in {one["event"] for one in lines(out)}


def test_what_the_one_that_runs_is_doing(cli: Cli, tmp_path: Path, private_state: Path) -> None:
    assert "no numatui watch has run here" in cli("watch", "--status")[1]
    assert cli.json("watch", "--status")["running"] is False
    folder = LOCAL.jobs_dir().parent
    LOCAL.make_private(folder)
    log = AuditLog(folder, folder)
    log.write(event("started", policy="/etc/numatui/watch.yaml", dry=True))
    log.write(event("trouble", text="the policy stays as it was"))
    _, out, _ = cli("watch", "--status")
    assert "numatui watch only says" in out
    assert "/etc/numatui/watch.yaml" in out
    assert "the policy stays as it was" in out
    log.close()
    assert "numatui watch not running" in cli("watch", "--status")[1]
    code, _, err = cli("watch")
    assert (code, "there is no policy" in err) == (2, True)


def test_a_check_is_one_document(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("interval: 5s\nallow: [{user: nosuchuser}, {user: postgres}]\n")
    path.chmod(0o600)
    document = cli.json("--demo", "watch", "--policy", str(path), "--check")
    assert document["schema"] == "numatui/watch-check/1"
    assert set(KEYS) - {"stop"} <= set(document["settings"])
    assert document["settings"]["interval"] == "5.0 s"
    assert document["unmatched"] == [{"list": "allow", "rule": "--user nosuchuser"}]


def test_dry_by_default_and_moves_when_told(cli: Cli, policy: str) -> None:
    code, out, err = cli("--demo", "watch", "--policy", policy, "--rounds", "10", "--json")
    assert (code, err) == (0, "")
    events = [one["event"] for one in lines(out)]
    assert (events[0], events[-1]) == ("started", "ended")
    assert "would-move" in events
    assert "moved" not in events
    code, out, _ = cli("--demo", "watch", "--policy", policy, "--rounds", "10", "--json", "--apply", "-v")
    assert code == 0
    told = lines(out)
    assert {"started", "held", "moved", "ended"} <= {one["event"] for one in told}
    for one in told:
        if one["event"] == "moved":
            assert one["moved"] == one["bytes"]
            assert one["job"]
    plain = cli("--demo", "watch", "--policy", policy, "--rounds", "6")[1]
    assert re.search(r"^\d\d:\d\d:\d\d  would move \d+ .* gain \d\.\d\dx$", plain, re.MULTILINE)


def test_a_move_is_on_disk_before_it_is_made(cli: Cli, policy: str) -> None:
    _, out, _ = cli("--demo", "watch", "--policy", policy, "--rounds", "10", "--json", "--apply")
    told = [one for one in lines(out) if one["event"] in ("moving", "moved", "failed")]
    begun: list[tuple[int, list[int]]] = []
    for one in told:
        if one["event"] == "moving":
            begun.append((one["pid"], one["to"]))
        else:
            begun.remove((one["pid"], one["to"]))
    assert told
    assert not begun


def test_what_cannot_be_recorded_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full: no part of a line, and no move."""
    log = AuditLog(tmp_path, tmp_path)
    log.write(event("started"))
    whole = log.path.read_bytes()
    real = os.write

    def full(fd: int, data: Any) -> int:
        if len(data) > 10:
            return real(fd, bytes(data)[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NumatuiError, match="nothing is moved without it"):
        log.write(event("moving", text="x" * 15))
    assert log.path.read_bytes() == whole
    log.close()

    kernel = open_scenario()

    def refuse(*_: Any) -> None:
        raise NumatuiError("the audit log cannot be written")

    monkeypatch.undo()
    policy = parse_policy(QUICK)
    mover = Mover(kernel, policy, dry=False, journal_dir=tmp_path / "jobs", announce=refuse)
    before = kernel.read("/proc/vmstat")
    refused = 0
    for _ in range(10):
        try:
            mover.round(0.0)
        except NumatuiError:
            refused += 1
        kernel.pause(2_000_000_000)
    assert refused
    moved = [line for line in kernel.read("/proc/vmstat").splitlines() if line.startswith(b"pgmigrate_success")]
    assert moved == [line for line in before.splitlines() if line.startswith(b"pgmigrate_success")]


@pytest.mark.parametrize("name", ["/notify", "@notify"])
def test_a_service_manager_is_told(
    cli: Cli, policy: str, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = str(tmp_path) + name if name[0] == "/" else f"{name}{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + where[1:] if where[0] == "@" else where)
        monkeypatch.setenv("NOTIFY_SOCKET", where)
        cli("--demo", "watch", "--policy", policy, "--rounds", "3")
        manager.setblocking(False)
        told: list[bytes] = []
        with suppress(BlockingIOError):
            while True:
                told.append(manager.recv(100))
    assert told[0] == b"READY=1"
    assert told.count(b"WATCHDOG=1") == 3
    assert told[-1] == b"STOPPING=1"


def test_a_long_interval_is_not_taken_for_a_hang() -> None:
    """The unit's watchdog waits two minutes."""
    minutes = 60 * 10**9
    silent: list[int] = [0]

    class Clock:
        def __init__(self) -> None:
            self.now = 0

        def clock(self) -> int:
            return self.now

        def pause(self, nanoseconds: int) -> None:
            self.now += nanoseconds
            silent[-1] += nanoseconds

    for _ in ticks(cast(Kernel, Clock()), 10 * minutes, 3, threading.Event(), lambda: silent.append(0)):
        pass
    assert len(silent) > 20
    assert max(silent) <= minutes


def test_a_rule_that_matches_nobody_is_told(cli: Cli, policy: str) -> None:
    Path(policy).write_text("allow: [{user: oracle}, {user: orcale}, {exe: /bin/nothing}]\ndeny: [{match: 'x*'}]\n")
    code, _, err = cli("--demo", "watch", "--policy", policy, "--check")
    assert code == 0
    assert err.splitlines() == [
        "allow: no process matches --user orcale now",
        "allow: no process matches --exe /bin/nothing now",
        "deny: no process matches --match 'x*' now",
    ]


def test_a_policy_is_checked(cli: Cli, policy: str, tmp_path: Path) -> None:
    code, out, _ = cli("watch", "--policy", policy, "--check")
    assert code == 0
    assert re.search(r"interval +2.0 s", out)
    assert re.search(r"allow +everybody", out)
    assert "4M" in out
    rules = tmp_path / "rules.yaml"
    rules.write_text("allow: [{user: oracle, min: 5M}, {unit: 'a b'}]\ndeny: [{match: 'x*'}]\n")
    rules.chmod(0o600)
    code, out, _ = cli("watch", "--policy", str(rules), "--check")
    assert code == 0
    assert re.search(r"allow +--user oracle --min 5242880; --unit 'a b'\n", out)
    assert re.search(r"deny +--match 'x\*'\n", out)
    for text, says in (("x: 1", "unknown key"), ("interval: 1\nx", "not YAML")):
        Path(policy).write_text(text)
        code, out, err = cli("--demo", "watch", "--policy", policy)
        assert code != 0
        assert one_line(err)
        assert says in err
    code, _, err = cli("--demo", "watch", "--policy", str(tmp_path / "none.yaml"))
    assert code == 4
    assert one_line(err)


def test_recordings_and_machines_without_the_calls_are_refused(cli: Cli, policy: str, tmp_path: Path) -> None:
    path = str(tmp_path / "r.tar")
    cli.json("--demo", "record", path, "--for", "once")
    code, _, err = cli("--replay", path, "watch", "--policy", policy)
    assert code == 5
    assert one_line(err)


def test_on_one_node_there_is_nothing_to_do(cli: Cli, policy: str, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("machine: {nodes: [{id: 0, memory: 64MiB, cpus: 0-1}]}")
    code, _, err = cli("--demo", str(path), "watch", "--policy", policy, "--apply")
    assert code == 5
    assert one_line(err)
    code, out, err = cli("--demo", str(path), "watch", "--policy", policy, "--rounds", "1")
    assert code == 0
    assert "nothing to move" in out
    assert "nowhere to move" in err


def test_the_end_says_what_became_of_it(cli: Cli, policy: str) -> None:
    out = cli("--demo", "watch", "--policy", policy, "--rounds", "10")[1]
    assert re.search(r"ended: \d+ would move", out.splitlines()[-1])
    Path(policy).write_text(QUICK[:-1] + ", quiet: ['00:00-12:00', '12:00-23:59', '23:59-00:00']}")
    out = cli("--demo", "watch", "--policy", policy, "--rounds", "10")[1]
    assert re.search(r"ended: held back: \d+ quiet", out.splitlines()[-1])


def test_the_log_is_private_and_one_mover_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    log = audit.AuditLog(folder, tmp_path)
    log.write(audit.event("started", dry=True))
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with pytest.raises(audit.NumatuiError, match="another numatui watch"):
        audit.AuditLog(folder, tmp_path)
    log.close()
    audit.AuditLog(folder, tmp_path).close()
    check(json.loads(log.path.read_text()))


def test_the_log_is_no_link_and_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, victim = tmp_path / "state", tmp_path / "victim"
    folder.mkdir()
    victim.write_text("mine")
    (folder / "watch.jsonl").symlink_to(victim)
    with pytest.raises(audit.NumatuiError, match="cannot be written"):
        audit.AuditLog(folder, tmp_path)
    assert victim.read_text() == "mine"
    (folder / "watch.jsonl").unlink()
    monkeypatch.setattr(audit, "MAX_BYTES", 2000)
    log = audit.AuditLog(folder, tmp_path)
    for number in range(200):
        log.write(audit.event("trouble", text=str(number)))
    log.close()
    assert sorted(one.name for one in folder.iterdir()) == ["watch.jsonl", "watch.jsonl.1"]
    assert sum(one.stat().st_size for one in folder.iterdir()) < 5000
    assert json.loads((folder / "watch.jsonl").read_text().splitlines()[-1])["text"] == "199"


def test_hup_loads_again_and_term_ends_it(policy: str, tmp_path: Path) -> None:
    Path(policy).write_text("interval: 100ms")
    child = subprocess.Popen(
        [sys.executable, "-m", "numatui", "--live", "watch", "--policy", policy, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONUNBUFFERED": "1"},
    )
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["event"] == "started"
    child.send_signal(signal.SIGHUP)
    assert json.loads(child.stdout.readline())["event"] == "loaded"
    Path(policy).write_text("interval: never")
    child.send_signal(signal.SIGHUP)
    trouble = json.loads(child.stdout.readline())
    assert trouble["event"] == "trouble"
    assert "stays as it was" in trouble["text"]
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["event"] == "ended"
    log = tmp_path / "state/numatui/watch.jsonl"
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == [
        "started", "loaded", "trouble", "ended",
    ]  # fmt: skip


def test_the_documentation_has_the_usual_policy() -> None:
    text = (DOCS / "watch.md").read_text()
    example = text.partition("```yaml")[2].partition("```")[0]
    policy = parse_policy(example)
    assert policy.quiet
    assert policy.allow
    assert policy.deny
    usual = Policy(quiet=policy.quiet, allow=policy.allow, deny=policy.deny, after_move=policy.after_move)
    assert policy == usual
    assert all(re.search(rf"^{key}:", example, re.MULTILINE) for key in KEYS)


def test_the_unit_starts_a_command_that_there_is(cli: Cli, policy: str) -> None:
    unit = (DOCS / "numatui-watch.service").read_text()
    command = unit.partition("ExecStart=")[2].splitlines()[0].split()
    assert command[0].endswith("/numatui")
    arguments = [policy if word.startswith("/etc") else word for word in command[1:] if word != "--live"]
    code, _, _ = cli("--demo", *arguments, "--rounds", "1")
    assert code == 0


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with sudo that keeps HOME: whoever owns the folder could have root write elsewhere."""
    folder = tmp_path / "state"
    folder.mkdir()
    real = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: real + 1)
    with pytest.raises(audit.NumatuiError, match="not a folder of yours"):
        audit.AuditLog(folder, tmp_path)
    assert not list(folder.iterdir())
