"""Metrics over HTTP, for whoever can reach the address: few at a time, none for long, and nothing but metrics."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Collection
from http.server import ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

from prometheus_client import CollectorRegistry, MetricsHandler

_MOST = 16
"""Requests at a time. For a further one, that which has been silent for longest is cut off."""
_LONGEST = 10.0
"""Seconds that a request may take, however it trickles in."""

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?")


class MetricsServer(ThreadingHTTPServer):
    """`address`: to listen on; port 0 takes any. `names`: of this machine, beside its own. `longest`: seconds for a
    request. Raises OSError."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        registry: CollectorRegistry,
        names: Collection[str] = (),
        longest: float = _LONGEST,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.names = {*names, socket.gethostname(), socket.getfqdn()}
        self.longest = longest
        self._free = threading.Semaphore(_MOST)
        self.silent: dict[socket.socket, None] = {}
        """Those that have not asked yet, the oldest first."""
        self._lock = threading.Lock()
        super().__init__(address, _handler(registry))

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            with self._lock:
                oldest = next(iter(self.silent), None)
                if oldest is not None:
                    del self.silent[oldest]
                    _cut(oldest)
            if oldest is None or not self._free.acquire(timeout=1):
                self.shutdown_request(request)
                return
        with self._lock:
            self.silent[request] = None
        super().process_request(request, client_address)

    def heard(self, request: socket.socket) -> None:
        """It has asked, or has ended."""
        with self._lock:
            self.silent.pop(request, None)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # A timeout of the socket would begin again with each byte.
        end = threading.Timer(self.longest, _cut, (request,))
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self.heard(request)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to tell."""


def _cut(request: socket.socket) -> None:
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def is_meant(text: str, names: Collection[str]) -> bool:
    """Whether a Host header names this machine: by an address, one of these names, or a name without dots. A page of
    somebody else, in a browser that reaches us by a name of theirs (DNS rebinding), sends that name."""
    match = _HOST.fullmatch(text)
    if match is None:
        return False
    if match["name"] is None:
        return _is_address(match["v6"])
    name = match["name"]
    return name in names or "." not in name or _is_address(name)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _handler(registry: CollectorRegistry) -> type[MetricsHandler]:
    class Handler(MetricsHandler.factory(registry)):
        server: MetricsServer

        def do_GET(self) -> None:
            self.server.heard(self.connection)
            path = self.path.partition("?")[0]
            if path not in ("/", "/metrics"):
                self.send_error(404, "metrics are at /metrics")
            elif not is_meant(self.headers.get("Host", ""), self.server.names):
                self.send_error(403, "Host names another machine: see --host-name")
            else:
                super().do_GET()

    return Handler
