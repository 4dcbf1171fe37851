"""Opens a far host's kernel."""

from __future__ import annotations

import atexit

from backend.remote.kernel import RemoteKernel
from backend.remote.ssh import Destination, Link


def open_host(host: str, sudo: bool = False) -> RemoteKernel:
    """The connection ends with this program. Raises UsageError, NotSupported, ConnectionLost, ParseError."""
    link = Link(Destination(host, sudo))
    atexit.register(link.close)
    return RemoteKernel(link.connection, f"{host} --sudo" if sudo else host)
