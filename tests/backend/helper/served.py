"""A helper as systemd starts it: root, with an accepted socket as its input; and callers of any uid."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backend.agent.connection import Connection

CALLER, OTHER, STRANGER = 4001, 4002, 4003
"""Users whom no file knows."""
RULES = f"""
rules:
- users: [{CALLER}]
  processes: [own, "user:{OTHER}"]
  nodes: "0"
  move: true
- users: [{OTHER}]
  processes: [own]
"""


@contextmanager
def as_user(uid: int) -> Iterator[None]:
    """This process is that user's meanwhile, as far as a socket's other end is told."""
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class Served:
    """Each call starts a helper of its own, by `accept`."""

    def __init__(self, folder: Path, rules: str = RULES) -> None:
        self.state, self.config = folder / "state", folder / "helper.yaml"
        self.state.mkdir(mode=0o700)
        self.config.write_text(rules)
        self.log = folder / "log"
        self.processes: list[subprocess.Popen[bytes]] = []
        # A name without a file: other users may not enter the folders of a test.
        self.address = f"\0numatui-{secrets.token_hex(8)}"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.address)
        self._listening.listen(64)

    def accept(self) -> subprocess.Popen[bytes]:
        """What systemd does with Accept=yes."""
        one, _ = self._listening.accept()
        with one, self.log.open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "numatui", "helper", "--serve", "--config", str(self.config)],
                    stdin=one.fileno(),
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "XDG_STATE_HOME": str(self.state)},
                )
            )
        return self.processes[-1]

    def connect(self, uid: int = CALLER) -> socket.socket:
        """A caller's end of a new connection."""
        one = socket.socket(socket.AF_UNIX)
        with as_user(uid):
            one.connect(self.address)
        self.accept()
        return one

    def call(self, uid: int = CALLER) -> Connection:
        one = self.connect(uid)

        def abandon() -> None:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

        return Connection("the helper", one.makefile("rb"), one.sendall, lambda: "", abandon, ("", ""))

    def audit(self) -> list[str]:
        path = self.state / "numatui/helper.jsonl"
        return path.read_text().splitlines() if path.exists() else []

    def end(self) -> None:
        self._listening.close()
        for one in self.processes:
            one.kill()
            one.wait()
