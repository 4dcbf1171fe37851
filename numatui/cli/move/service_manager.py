"""What a service tells systemd: that it has begun, and that it is alive (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def tell(state: str) -> None:
    """`READY=1`, `WATCHDOG=1`, `STOPPING=1`. Does nothing without a service manager. Never raises."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
            one.setblocking(False)
            one.sendto(state.encode(), address)
    except OSError:
        return
