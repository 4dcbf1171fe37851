"""Opens a far host's kernel."""

from __future__ import annotations

import atexit

from backend.remote.kernel import RemoteKernel
from backend.remote.ssh import Destination, Link

_open: list[Link] = []


@atexit.register
def close_all() -> None:
    """Ends all connections; the agents finish the calls that they are in."""
    while _open:
        _open.pop().close()


def open_host(host: str, sudo: bool = False) -> RemoteKernel:
    """The connection ends with this program. Raises UsageError, NotSupported, ConnectionLost, ParseError."""
    link = Link(Destination(host, sudo))
    _open.append(link)
    return RemoteKernel(link.connection, f"{host} --sudo" if sudo else host)
