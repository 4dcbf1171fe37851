"""Serves requests until the other side is gone: frames in, frames out, many at a time.

When the connection ends, or nothing has come for `_SILENCE` seconds (the other side asks for a sign of life every few
seconds), the agent finishes the calls it is in and ends; its locks end with it. A job whose journal has no end is an
interrupted one, and can be taken back."""

from __future__ import annotations

import errno
import os
import queue
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from backend.agent import frames
from backend.agent.operations import MOST_READ, Operations
from backend.errors import NumatuiError
from backend.live.helped import HelpedHost, HelpedState
from backend.patience import DisposableThread
from backend.state.local import LocalState

if TYPE_CHECKING:
    from collections.abc import Callable

_THREADS = 12
_SILENCE = 60.0
"""Seconds."""
_END = 10.0
"""Seconds that calls get to finish after the connection has ended."""


class Server:
    """One connection. `silence`: seconds. `most`: bytes of a payload. `most_waiting`: bytes of requests that wait for
    their turn, at most. `at_end`: called when no call runs any longer."""

    silence = _SILENCE
    most = frames.MOST
    most_waiting = 4 * frames.MOST

    def __init__(self, operations: Operations, stdin: frames.Lines, write: Callable[[bytes], None]) -> None:
        self.at_end: Callable[[], object] = lambda: None
        self.operations, self.stdin, self._write = operations, stdin, write
        self._writing = threading.Lock()
        self._requests: queue.Queue[tuple[dict[str, Any], bytes | None] | None] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._waiting = 0
        self._ending = False
        self._heard = time.monotonic()
        self._counting = threading.Lock()

    def run(self) -> None:
        """Until the connection ends."""
        self._send({frames.MAGIC: frames.VERSION, "hello": self.operations.hello()})
        DisposableThread(self._watch).start()
        try:
            while True:
                request = frames.decode(self.stdin, self.most)
                self._heard = time.monotonic()
                if request is None:
                    break
                if request[0].get("op") == "ping":
                    self._send({"id": request[0].get("id")})
                    continue
                self._dispatch(request)
        except (frames.BadFrame, OSError):
            pass
        self._finish()

    def _finish(self) -> None:
        """Let the calls that are running end, and start no more."""
        self._ending = True
        end = time.monotonic() + _END
        for _ in self._threads:
            self._requests.put(None)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self.at_end()

    def _watch(self) -> None:
        """End when the other side has been silent for too long: no lock is held for a dead line."""
        while time.monotonic() - self._heard < self.silence:
            time.sleep(self.silence / 10)
        if not self._ending:
            self._finish()
            os._exit(1)

    def _dispatch(self, request: tuple[dict[str, Any], bytes | None]) -> None:
        with self._counting:
            self._waiting += _size(request)
            if self._waiting > self.most_waiting:
                raise frames.BadFrame("too much is asked at a time")
            if self._requests.qsize() >= self._idle and len(self._threads) < _THREADS:
                # An ordinary thread: reading what hangs is given up after a while (`Patience`).
                thread = threading.Thread(target=self._work, daemon=True)
                self._threads.append(thread)
                thread.start()
        self._requests.put(request)

    def _work(self) -> None:
        while True:
            with self._counting:
                self._idle += 1
            request = self._requests.get()
            with self._counting:
                self._idle -= 1
            if request is None or self._ending:
                return
            self._serve(request[0], request[1])
            with self._counting:
                self._waiting -= _size(request)

    def _serve(self, header: dict[str, Any], payload: bytes | None) -> None:
        number = header.get("id")
        try:
            operation = self.operations.find(str(header.get("op")))
            arguments = header.get("args", [])
            if operation is None or not _is_list(arguments):
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            result, data = operation(arguments, payload or b"")
            self._send({"id": number, "ok": result}, data)
        except OSError as exc:
            self._send({"id": number, "errno": exc.errno or errno.EIO})
        except NumatuiError as exc:
            self._send({"id": number, "error": [type(exc).__name__, exc.what[:2000], exc.fix[:2000]]})
        except Exception as exc:
            what = f"the agent failed: {type(exc).__name__}: {exc}"
            self._send({"id": number, "error": ["NumatuiError", what[:500], ""]})

    def _send(self, header: dict[str, Any], payload: bytes | None = None) -> None:
        data = frames.encode(header, payload)
        with self._writing, suppress(OSError):  # the other side has gone: whoever reads notices
            self._write(data)


def _size(request: tuple[dict[str, Any], bytes | None]) -> int:
    """Bytes of memory that it takes, about: a header is a line."""
    return frames.LINE + len(request[1] or b"")


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _operations(host: Any, files: Any) -> Operations:
    if host is not None:
        return Operations(host, files or LocalState())
    here = HelpedHost(MOST_READ)
    return Operations(here, HelpedState(here.helper))


def main(host: Any = None, at_end: Callable[[], object] = lambda: None, files: Any = None) -> None:
    """Serve this Linux, or another host with its state directory, on stdin and stdout. What anything else prints goes
    to stderr. The program ends with it."""
    out = os.dup(1)
    os.dup2(2, 1)

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(out, rest) :]

    try:
        Server(_operations(host, files), sys.stdin.buffer, write).run()
    finally:
        at_end()
        os._exit(0)  # a thread that hangs would hold the end up
