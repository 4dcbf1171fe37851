"""The mover and the helper as services of a real systemd, with all that their units take away from them."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guest.guests import REPOSITORY
from tests.guest.inside import rig
from tests.guest.inside.rig import OTHER, USER, MakeVictim

SYSTEMD = Path("/lib/systemd/systemd")
UNITS = Path("/etc/systemd/system")
STATE = Path("/var/lib/numatui")
CLONE_NEWPID = 0x20000000
LAYOUT = {0: 1536}
LONG = 240.0
"""systemd takes its time in a guest."""

POLICY = (
    "{interval: 1s, settle: 2s, readings: 2, min_size: 1M, cooldown: 1h, allow: [{command: '*victim*'}], "
    "confidence: low}"
)
RULES = f"rules: [{{users: [{USER}], processes: ['user:{OTHER}'], move: true}}]"
SAID = Path("/mnt/out/service")
OF_THE_TEST = f"""[Service]
TimeoutStartSec={LONG:.0f}s
StandardOutput=append:{SAID}
StandardError=append:{SAID}
ProtectHome=tmpfs
BindReadOnlyPaths={REPOSITORY} {sys.prefix} {sys.base_prefix}
Environment=PYTHONPATH={REPOSITORY} PYTHONDONTWRITEBYTECODE=1
"""
"""Program and interpreter are in homes and temporary folders here, which the unit hides. An emulated machine under load
needs longer than systemd's 90 s for the first import of the program."""

pytestmark = pytest.mark.skipif(not SYSTEMD.exists(), reason="needs systemd")


class Systemd:
    """A systemd that is the first process of a namespace of its own, with the service in it."""

    def __init__(self) -> None:
        self.out = open("/mnt/out/systemd", "wb")  # noqa: SIM115
        self.unshare = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount", "--mount-proc", SYSTEMD, "--unit=sysinit.target"],
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.STDOUT,
            env={"container": "other", "PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        )  # fmt: skip
        children = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        rig.wait_until(lambda: bool(children.read_text()), "systemd begins")
        self.pid = int(children.read_text())
        rig.wait_until(
            lambda: self.ask("is-system-running") in ("initializing", "starting", "running", "degraded"),
            "systemd answers",
            LONG,
        )

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["nsenter", "-t", str(self.pid), "-m", "-p", *command], capture_output=True, text=True)

    def ask(self, *words: str) -> str:
        return self.inside("systemctl", *words).stdout.strip()

    def tell(self, *words: str) -> None:
        done = self.inside("systemctl", *words)
        assert done.returncode == 0, done.stderr + (SAID.read_text()[-2000:] if SAID.exists() else "")

    @contextmanager
    def children_in_it(self) -> Iterator[None]:
        """Processes that are begun meanwhile are in its namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/pid") as own, open(f"/proc/{self.pid}/ns/pid") as its:
            assert libc.setns(its.fileno(), CLONE_NEWPID) == 0
            try:
                yield
            finally:
                assert libc.setns(own.fileno(), CLONE_NEWPID) == 0

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.unshare.wait()
        self.out.close()


@pytest.fixture(scope="module")
def systemd() -> Iterator[Systemd]:
    program = Path("/usr/local/bin/numatui")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m numatui "$@"\n')
    program.chmod(0o755)
    configured = Path("/etc/numatui")
    configured.mkdir(mode=0o700, exist_ok=True)
    for name, text in (("watch.yaml", POLICY), ("helper.yaml", RULES)):
        (configured / name).write_text(text)
        (configured / name).chmod(0o600)
    for unit in ("numatui-watch.service", "numatui-helper.socket", "numatui-helper@.service"):
        shutil.copy(REPOSITORY / "docs" / unit, UNITS)
        (UNITS / f"{unit}.d").mkdir()
        if unit.endswith(".service"):
            (UNITS / f"{unit}.d/test.conf").write_text(OF_THE_TEST)
    one = Systemd()
    yield one
    one.end()


def events() -> list[str]:
    log = STATE / "watch.jsonl"
    return [json.loads(line)["event"] for line in log.read_text().splitlines()] if log.exists() else []


def test_the_service_moves_memory_is_reloaded_and_stopped(systemd: Systemd, victim: MakeVictim) -> None:
    with systemd.children_in_it():
        one = victim(LAYOUT, home=2)
    one.ask("churn", 1)
    systemd.tell("start", "numatui-watch")
    rig.wait_until(lambda: one.pages() == {2: sum(LAYOUT.values())}, "the service moves memory", LONG)
    assert systemd.ask("is-active", "numatui-watch") == "active"
    systemd.tell("reload", "numatui-watch")
    rig.wait_until(lambda: "loaded" in events(), "the policy is read again", LONG)
    systemd.tell("stop", "numatui-watch")
    assert systemd.ask("show", "-p", "Result,ExecMainStatus", "--value", "numatui-watch").split() == [
        "success",
        "0",
    ]
    assert events()[-1] == "ended"
    assert STATE.stat().st_mode & 0o777 == 0o700
    one.ask("calm")
    one.verify()
    back = systemd.inside(
        "env",
        "XDG_STATE_HOME=/var/lib",
        f"PYTHONPATH={REPOSITORY}",
        "/usr/local/bin/numatui",
        "undo",
        "--yes",
    )
    assert back.returncode == 0, back.stderr
    assert one.pages() == LAYOUT
    one.verify()


def test_the_socket_helps_a_user(systemd: Systemd, victim: MakeVictim) -> None:
    """Whom a rule names moves another user's memory, takes it back, and gets nothing else."""
    with systemd.children_in_it():
        theirs, roots = victim(LAYOUT, uid=OTHER, home=2), victim(LAYOUT, home=2)
    systemd.tell("start", "numatui-helper.socket")
    state = tempfile.mkdtemp(dir="/var/tmp")
    os.chown(state, USER, USER)

    def as_user(*arguments: object) -> subprocess.CompletedProcess[str]:
        return systemd.inside(
            "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", f"XDG_STATE_HOME={state}",
            f"PYTHONPATH={REPOSITORY}", "PYTHONDONTWRITEBYTECODE=1", "/usr/local/bin/numatui",
            *[str(one) for one in arguments],
        )  # fmt: skip

    said = as_user("helper")
    assert said.stdout == f"you may look at and move user:{OTHER}\n", said.stderr
    done = as_user("migrate", inner(theirs), "--from", "0", "--to", "2", "--yes", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert theirs.pages() == {2: sum(LAYOUT.values())}
    theirs.verify()
    assert as_user("undo", "--yes").returncode == 0
    assert theirs.pages() == LAYOUT
    theirs.verify()
    refused = as_user("migrate", inner(roots), "--from", "0", "--to", "2", "--yes")
    assert refused.returncode == 3, refused.stderr
    assert roots.pages() == LAYOUT
    log = [json.loads(line) for line in (STATE / "helper.jsonl").read_text().splitlines()]
    assert [one["event"] for one in log] == ["moving", "moved"] * 2
    assert {(one["uid"], one["pid"]) for one in log} == {(USER, inner(theirs))}
    systemd.tell("stop", "numatui-helper.socket")
    assert "no helper" in as_user("helper").stdout


def inner(one: rig.LinuxVictim) -> int:
    """Its pid in systemd's namespace."""
    lines = Path(f"/proc/{one.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])
