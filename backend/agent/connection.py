"""A connection to an agent: many requests at a time, each with a deadline; answers are taken for hostile.

Something comes back from a living agent every few seconds, if only an answer to a ping, however long a call takes.
When nothing has come for `SILENCE` seconds, or the stream ends, the connection is lost for good, and every request that
waits is told so."""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any

from backend.agent import frames
from backend.errors import Busy, NotFound, NotPermitted, NotSupported, NumatuiError, UsageError, os_error
from backend.files.text import printable
from backend.files.walk import Untrusted

SILENCE = 20.0
"""Seconds without a sign of life after which a connection is lost."""
FIRST = 120.0
"""The same before its first word: somebody may be asked for a password."""
PING = 5.0
"""Seconds between two signs of life that are asked for."""
_MOST_NOISE = 200
"""Lines of a login script that may come before the agent's first."""
_ERRORS: dict[str, type[NumatuiError]] = {
    one.__name__: one for one in (NumatuiError, UsageError, NotPermitted, NotFound, NotSupported, Busy, Untrusted)
}


class ConnectionLost(NumatuiError):
    """The far machine, the agent there, or the way to it is gone. What was done there is in its journals."""


class Connection:
    """`write`: sends bytes, or raises OSError. `why`: what the carrier has to say of an end, in a few words. `abandon`:
    ends the carrier, so that nobody waits for it any longer. `hints`: what to do if it cannot be reached, and if it is
    lost."""

    def __init__(
        self,
        host: str,
        stdout: IO[bytes],
        write: Callable[[bytes], None],
        why: Callable[[], str],
        abandon: Callable[[], None],
        hints: tuple[str, str],
        first: float = 0.0,
    ) -> None:
        self._abandon, self._hints, self._first_word = abandon, hints, first
        self.host, self._stdout, self._write, self._why = printable(host, 80), stdout, write, why
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: dict[int, _Request] = {}
        self._next = 0
        self._heard = time.monotonic()
        self._lost: ConnectionLost | None = None
        self.requests = self.sent = self.received = 0
        """Counted: round trips, bytes there, bytes back."""
        self._hello = _Request()
        threading.Thread(target=self._read, name="numatui-remote", daemon=True).start()
        threading.Thread(target=self._ping, name="numatui-remote-ping", daemon=True).start()
        threading.Thread(target=self._watch, name="numatui-remote-watch", daemon=True).start()

    def hello(self) -> dict[str, Any]:
        """What the agent says of itself. Raises ConnectionLost, NotSupported."""
        return self._answer(self._hello)[0]

    def call(self, operation: str, *arguments: Any, payload: bytes | None = None) -> tuple[Any, bytes]:
        """One round trip: result and payload. Raises what the far side raised: OSError, NumatuiError; or
        ConnectionLost."""
        return self._answer(self._asked(operation, arguments, payload))

    def call_with_object(
        self, operation: str, *arguments: Any, payload: bytes | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """The same, for an operation whose result is an object. Raises ValueError for another."""
        result, data = self.call(operation, *arguments, payload=payload)
        if not isinstance(result, dict):
            raise ValueError("a result is no object")
        return result, data  # pyright: ignore[reportUnknownVariableType]

    def _asked(self, operation: str, arguments: Sequence[Any], payload: bytes | None) -> _Request:
        request = _Request()
        with self._lock:
            if self._lost is not None:
                raise self._lost.with_traceback(None)
            self._next += 1
            number = self._next
            self._waiting[number] = request
        self.requests += 1
        self._send({"id": number, "op": operation, "args": arguments}, payload)
        return request

    def close(self) -> None:
        """Requests that wait are told; later ones fail."""
        self.lose("it was closed")

    @property
    def lost(self) -> bool:
        return self._lost is not None

    def check(self) -> None:
        """Raises ConnectionLost if it is."""
        if self._lost is not None:
            raise self._lost.with_traceback(None)

    def _send(self, header: dict[str, Any], payload: bytes | None = None) -> None:
        try:
            data = frames.encode(header, payload)
        except ValueError:
            raise os_error(errno.ENAMETOOLONG) from None
        try:
            with self._writing:
                self._write(data)
                self.sent += len(data)
        except (OSError, ValueError):
            self.lose(self._why() or "the connection has ended")

    def _answer(self, request: _Request) -> tuple[Any, bytes]:
        request.done.wait()
        if request.error is not None:
            raise request.error.with_traceback(None)
        return request.result, request.payload

    def _ping(self) -> None:
        """Asks for signs of life. Writing may hang, where nobody reads."""
        while self._lost is None:
            time.sleep(PING)
            if self._hello.done.is_set():
                self._send({"op": "ping", "id": 0})

    def _watch(self) -> None:
        """Gives the connection up when nothing has come for too long."""
        while self._lost is None:
            time.sleep(PING / 2)
            most = SILENCE if self._hello.done.is_set() else self._first_word or FIRST
            if time.monotonic() - self._heard > most:
                self.lose(f"it has not answered for {most:.0f} seconds")

    def _read(self) -> None:
        try:
            self._first()
            frame = frames.decode(self)
            while frame is not None:
                self._take(*frame)
                frame = frames.decode(self)
            self.lose(self._why() or "the connection has ended")
        except NumatuiError as exc:
            self.lose(exc)
        except (ValueError, TypeError, KeyError) as exc:
            self.lose(f"it sent what no agent sends ({printable(str(exc), 100)})")
        except OSError as exc:
            self.lose(exc.strerror or str(exc))
        except Exception as exc:  # whatever it is: nobody would read any longer
            self.lose(f"it sent what no agent sends ({type(exc).__name__})")

    def _first(self) -> None:
        """The agent's first line, after what a login script may print."""
        for _ in range(_MOST_NOISE):
            try:
                line = frames.read_line(self)
            except frames.BadFrame:
                raise self._ended_by(self._why() or "nothing started there") from None
            if line.startswith(b'{"' + frames.MAGIC.encode()):
                break
        else:
            raise self._ended_by("it prints without end where an agent should answer")
        told = json.loads(line)
        if told[frames.MAGIC] != frames.VERSION:
            raise NotSupported(f"the agent on {self.host} speaks another version", "use the same numatui on both sides")
        if "refused" in told:
            raise NotPermitted(*(printable(str(one), 1000) for one in told["refused"][:2]))
        hello = told["hello"]
        if not isinstance(hello, dict):
            raise ValueError("it does not say who it is")
        self._hello.result = hello
        self._hello.done.set()

    def readline(self, limit: int) -> bytes:
        """For `frames`: one line; what comes is counted."""
        line = self._stdout.readline(limit)
        self._heard = time.monotonic()
        self.received += len(line)
        return line

    def _take(self, header: dict[str, Any], payload: bytes | None) -> None:
        """An answer. What makes no sense is no answer: its request waits, and is told when the connection ends."""
        number = frames.whole(header["id"], 1 << 62)
        with self._lock:
            request = self._waiting.get(number)
        if request is None:
            return  # a ping's
        if "errno" in header:
            request.error = os_error(frames.whole(header["errno"], 4095))
        elif "error" in header:
            kind, what, fix = (str(one)[:2000] for one in header["error"])
            request.error = _ERRORS.get(kind, NumatuiError)(printable(what, 1000), printable(fix, 1000))
        else:
            request.result, request.payload = header.get("ok"), payload or b""
        with self._lock:
            self._waiting.pop(number, None)
        request.done.set()

    def lose(self, why: str | NumatuiError) -> None:
        """It is of no use any longer. Only the first reason counts."""
        with self._lock:
            if self._lost is None:
                self._lost = why if isinstance(why, ConnectionLost) else self._ended_by(str(why))
            waiting, self._waiting = [*self._waiting.values()], {}
        with suppress(OSError):  # whom sudo runs, its user may not end
            self._abandon()
        for request in (*waiting, self._hello):
            if not request.done.is_set():
                request.error = why if isinstance(why, NumatuiError) else self._lost
                request.done.set()

    def _ended_by(self, why: str) -> ConnectionLost:
        if self._hello.result is None:
            return ConnectionLost(f"{self.host} cannot be reached: {why}", self._hints[0])
        return ConnectionLost(
            f"the connection to {self.host} is lost: {why}",
            self._hints[1],
        )


class _Request:
    """`done`: an answer is there, or there will be none."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.result: Any = None
        self.payload = b""
        self.error: Exception | None = None
