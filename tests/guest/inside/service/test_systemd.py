"""The mover as a service of a real systemd, with all that its unit takes away from it."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guest.guests import REPOSITORY
from tests.guest.inside import rig
from tests.guest.inside.rig import MakeVictim

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


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    program = Path("/usr/local/bin/numatui")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m numatui "$@"\n')
    program.chmod(0o755)
    policy = Path("/etc/numatui/watch.yaml")
    policy.parent.mkdir(mode=0o700)
    policy.write_text(POLICY)
    policy.chmod(0o600)
    shutil.copy(REPOSITORY / "docs/numatui-watch.service", UNITS)
    (UNITS / "numatui-watch.service.d").mkdir()
    (UNITS / "numatui-watch.service.d/test.conf").write_text(OF_THE_TEST)
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
