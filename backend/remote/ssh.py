"""Starts an agent on a far host over ssh: sent on its input, nothing is installed there.

Keys, jump hosts, known hosts and multiplexing are ssh's own affair (ssh_config). `NUMATUI_SSH` names another ssh, with
options if need be, as GIT_SSH_COMMAND does for git."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass

from backend.agent.connection import Connection
from backend.errors import NotSupported, UsageError
from backend.files.text import decode, printable
from backend.remote.bundle import BOOTSTRAP, stream

_PYTHONS = "python3 /usr/libexec/platform-python python3.13 python3.12 python3.11 python3.9 python3.6"
_DESTINATION = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.$-]*@)?[A-Za-z0-9_:\[][A-Za-z0-9_.:%\[\]-]*\Z")
_UNINTERRUPTED = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Ctrl-C is for numatui, which ends a job in order; ssh leaves an ignored SIGINT ignored (clientloop.c). It stays in
the foreground, as it may ask for a password."""
_MOST_SAID = 4096
"""Bytes of stderr that are kept."""


@dataclass(frozen=True, slots=True)
class Destination:
    """`host`: as ssh takes it. `sudo`: the agent runs as root there, by `sudo -n`. `batch`: ssh asks nothing."""

    host: str
    sudo: bool = False
    batch: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for what ssh would take for an option, or a shell for more than a name."""
        if not _DESTINATION.match(self.host):
            raise UsageError(f"'{printable(self.host, 80)}' is not a host", "write HOST or USER@HOST, as for ssh")

    @property
    def command(self) -> list[str]:
        """The words of the command that starts the agent. The far login shell may be any."""
        try:
            ssh = shlex.split(os.environ.get("NUMATUI_SSH", "")) or ["ssh"]
        except ValueError as exc:
            raise UsageError(f"NUMATUI_SSH is no command ({exc})", "write it like: ssh -F FILE") from None
        quiet = ["-o", "BatchMode=yes"] if self.batch else []
        return [*ssh, "-T", *quiet, "--", self.host, far_command(self.sudo)]


def far_command(sudo: bool) -> str:
    """One command line for any login shell: the first Python that is there runs what comes on its input."""
    start = "sudo -n $p" if sudo else "$p"
    return (
        f'sh -c \'for p in {_PYTHONS}; do command -v $p >/dev/null 2>&1 && exec {start} -IS -c "{BOOTSTRAP}"; done; '
        "echo numatui: there is no python3 >&2; exit 127'"
    )


class Link:
    """A running ssh, and the connection through it."""

    def __init__(self, destination: Destination, command: list[str] | None = None) -> None:
        """`command`: what starts the agent, other than by ssh. Raises NotSupported, ConnectionLost."""
        words = destination.command if command is None else command
        if shutil.which(words[0]) is None:
            raise NotSupported(f"there is no {printable(words[0], 80)}", "install OpenSSH's client")
        self.process = subprocess.Popen(
            [*_UNINTERRUPTED, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._said = b""
        self._quiet = threading.Event()
        threading.Thread(target=self._listen, name="numatui-remote-stderr", daemon=True).start()
        stdin = self.process.stdin

        def write(data: bytes) -> None:
            stdin.write(data)
            stdin.flush()

        hints = (
            f"try: ssh {destination.host} python3 --version",
            f"what was done there is in its journals: numatui --host {destination.host} jobs",
        )
        self.connection = Connection(
            destination.host, self.process.stdout, write, self._why, self.process.terminate, hints
        )
        with suppress(OSError):  # its end is noticed by who reads
            write(stream())

    def close(self) -> None:
        """Ends the connection; the agent finishes the calls that it is in."""
        with suppress(OSError, ValueError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        self.connection.close()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        while part := os.read(self.process.stderr.fileno(), 1024):
            self._said = (self._said + part)[-_MOST_SAID:]
        self._quiet.set()

    def _why(self) -> str:
        """The last line that ssh, sudo or Python has said."""
        self._quiet.wait(1.0)
        lines = [line.strip() for line in decode(self._said).splitlines() if line.strip()]
        return printable(lines[-1], 300) if lines else ""
