"""Output that cannot stop what is being done: a reader that has gone, or a full disk, never ends a move half-way."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class _Lenient(io.TextIOBase):
    """Writes until the first failure, which it keeps."""

    def __init__(self, inner: io.TextIOBase) -> None:
        self.inner = inner
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        if self.failure is None:
            try:
                self.inner.write(text)
            except OSError as exc:
                self.failure = exc
        return len(text)

    def flush(self) -> None:
        if self.failure is None:
            try:
                self.inner.flush()
            except OSError as exc:
                self.failure = exc

    def isatty(self) -> bool:
        return self.inner.isatty()

    def fileno(self) -> int:
        return self.inner.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.inner.encoding or "utf-8"


@contextmanager
def unstoppable() -> Iterator[None]:
    """Within, print() never fails. Afterwards a line on stderr says that output was lost. The exit code is that of what
    was done."""
    from backend.errors import describe_oserror
    from numatui.cli.printing.output import note

    outer = sys.stdout
    lenient = _Lenient(outer)  # type: ignore[arg-type]
    sys.stdout = lenient  # type: ignore[assignment]
    try:
        yield
    finally:
        lenient.flush()
        sys.stdout = outer
        if lenient.failure is not None:
            sys.stdout = _discarding(outer)
            note(
                f"numatui: its output could not be written ({describe_oserror(lenient.failure)}); what it does went on"
            )


def _discarding(outer: object) -> io.TextIOWrapper:
    """Nowhere. The outer one still has text, which Python would try to write again at its end."""
    with suppress(OSError, AttributeError, ValueError):
        outer.buffer.raw.close()  # type: ignore[attr-defined]
    return open("/dev/null", "w")
