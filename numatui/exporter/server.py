"""Metrics over HTTP, for whoever can reach the address: few at a time, none for long, and nothing but metrics."""

from __future__ import annotations

import socket
import threading
from collections.abc import Collection
from http.server import ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, MetricsHandler

_MOST = 16
"""Requests at a time. Further ones are turned away."""
_LONGEST = 10.0
"""Seconds that a request may take, however it trickles in."""


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
        self._longest = longest
        self._free = threading.Semaphore(_MOST)
        super().__init__(address, _handler(registry))

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # A timeout of the socket would begin again with each byte.
        end = threading.Timer(self._longest, _cut, (request,))
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
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
    host = text.rpartition(":")[0] if not text.endswith("]") and ":" in text else text
    name = host.strip("[]")
    if ":" in name or name.replace(".", "").isdigit():
        return True
    return name in names or ("." not in name and bool(name))


def _handler(registry: CollectorRegistry) -> type[MetricsHandler]:
    class Handler(MetricsHandler.factory(registry)):
        server: MetricsServer

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path not in ("/", "/metrics"):
                self.send_error(404, "metrics are at /metrics")
            elif not is_meant(self.headers.get("Host", ""), self.server.names):
                self.send_error(403, "Host names another machine: see --host-name")
            else:
                super().do_GET()

    return Handler
