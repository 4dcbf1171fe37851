"""Hosts without a network: emulated machines that live as long as the test, each with a state directory of its own; a
program in the place of ssh leads to the one that is named."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.agent.operations import Operations
from backend.agent.serve import Server
from backend.emulator.scenario.open import open_scenario
from backend.remote.served import ServedKernel, ServedState

SSH = f"""#!{sys.executable} -IS
import os, socket, sys, threading
name = sys.argv[sys.argv.index("--") + 1]
one = socket.socket(socket.AF_UNIX)
try:
    one.connect(os.path.join(os.path.dirname(os.path.abspath(__file__)), name))
except OSError as exc:
    sys.stderr.write("ssh: connect to host %s port 22: Connection refused\\n" % name)
    sys.exit(255)
def there():
    while True:
        data = os.read(0, 65536)
        if not data:
            one.shutdown(socket.SHUT_WR)
            return
        one.sendall(data)
threading.Thread(target=there, daemon=True).start()
while True:
    data = one.recv(65536)
    if not data:
        os._exit(0)
    os.write(1, data)
"""


class EmulatedHosts:
    """`ssh`: the program for NUMATUI_SSH. `kernels`: the machines by name."""

    def __init__(self, folder: Path, names: list[str], scenario: str = "default") -> None:
        self.folder = folder
        self.ssh = folder / "ssh"
        self.ssh.write_text(SSH)
        self.ssh.chmod(0o755)
        self.kernels: dict[str, Any] = {}
        self._listening: list[socket.socket] = []
        self._callers: dict[str, list[socket.socket]] = {}
        for name in names:
            self.kernels[name] = open_scenario(scenario)
            self.serve(name, self._agent(name))

    def serve(self, name: str, answer: Callable[[socket.socket], None]) -> None:
        """A host that answers each caller so, in a thread."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.folder / name))
        listening.listen(64)
        self._listening.append(listening)

        def accept() -> None:
            while True:
                try:
                    one, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(one,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def cut(self, name: str) -> None:
        """The line to that host breaks."""
        for one in self._callers.pop(name, []):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def state(self, name: str) -> Path:
        """Where that host keeps its jobs."""
        return self.folder / "states" / name / "numatui"

    def _agent(self, name: str) -> Callable[[socket.socket], None]:
        self.state(name).mkdir(parents=True, mode=0o700)
        for one in (self.folder / "states", self.folder / "states" / name):
            one.chmod(0o700)
        state = ServedState(self.state(name))

        def answer(one: socket.socket) -> None:
            self._callers.setdefault(name, []).append(one)
            with one:
                stdin = one.makefile("rb")
                stdin.read(int(stdin.readline(20)))
                host: Any = ServedKernel(self.kernels[name])
                Server(Operations(host, state), stdin, one.sendall).run()

        return answer

    def end(self) -> None:
        for one in self._listening:
            one.shutdown(socket.SHUT_RDWR)
            one.close()
