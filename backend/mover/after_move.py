"""The command that a policy has run after each move: its arguments as they stand, no shell; the record of the move is
on its stdin."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.errors import NotPermitted, NumatuiError
from backend.files.text import printable
from backend.files.walk import check_trusted, opened_parent, trusted_users

TIMEOUT = 60.0
"""Seconds after which it is killed, with all that it has started."""
_STEP = 5.0
"""Seconds between two signs of life while it runs."""


def check_program(path: str) -> None:
    """Raises Untrusted if another user could put something else in its place, NotPermitted if it cannot be run,
    OSError."""
    with opened_parent(Path(path), trusted=True, follow=True) as (parent, name):
        facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
    check_trusted(facts, path, trusted_users())
    if not stat.S_ISREG(facts.st_mode) or not facts.st_mode & 0o111:
        raise NotPermitted(f"{printable(path)} is not a program", "name one, by its whole path")


def run_after(argv: Sequence[str], record: dict[str, Any], alive: Callable[[], None] = lambda: None) -> str:
    """Run it to its end. Returns what went wrong, or nothing; never raises. `alive` is called meanwhile."""
    what = f"after_move: {printable(argv[0])}"
    try:
        check_program(argv[0])
        process = subprocess.Popen(
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd="/", start_new_session=True
        )
    except (NumatuiError, OSError, ValueError) as exc:
        return f"{what}: {getattr(exc, 'strerror', None) or exc}"
    given: bytes | None = (json.dumps(record) + "\n").encode()
    waited = 0.0
    while waited < TIMEOUT:
        step = min(_STEP, TIMEOUT - waited)
        try:
            process.communicate(given, timeout=step)
        except subprocess.TimeoutExpired:
            given, waited = None, waited + step
            alive()
            continue
        return "" if process.returncode == 0 else f"{what} ended with {_end(process.returncode)}"
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(OSError, subprocess.TimeoutExpired):
        process.communicate(timeout=_STEP)
    return f"{what} was killed: it took longer than {TIMEOUT:.0f} s"


def _end(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"signal {-code}"
