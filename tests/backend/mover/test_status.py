"""What the mover says of itself to those who ask: from its log, and whether it holds it."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.mover.audit import LOG, AuditLog, event
from backend.mover.status import WatchStatus, document, watch_status
from backend.state.local import LocalState


class _State(LocalState):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def jobs_dir(self) -> Path:
        return self._folder / "jobs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "numatui").mkdir(mode=0o700)
    return tmp_path / "numatui"


def status(folder: Path) -> WatchStatus | None:
    kernel: Any = SimpleNamespace(files=_State(folder))
    return watch_status(kernel)


def moved(amount: object, ago: float = 1.0) -> dict[str, Any]:
    return {**event("moved", moved=amount), "at": time.time() - ago}


def test_none_has_run(folder: Path) -> None:
    assert status(folder) is None
    assert document(None)["running"] is False


def test_one_that_runs_and_one_that_has_ended(folder: Path) -> None:
    log = AuditLog(folder, folder, _State(folder))
    log.write(event("started", policy="/etc/numatui/watch.yaml", dry=False))
    log.write(moved(1 << 20))
    log.write(moved(2 << 20))
    log.write(moved(4 << 20, 2 * 86_400.0))
    log.write(moved("many"))
    found = status(folder)
    assert found is not None
    assert (found.running, found.policy, found.dry, found.moves, found.moved, found.event) == (
        True, "/etc/numatui/watch.yaml", False, 3, 3 << 20, "moved",
    )  # fmt: skip
    log.write(event("stopped", text="3 failures in a row"))
    assert status(folder).stopped == "3 failures in a row"  # type: ignore[union-attr]
    log.write(event("loaded", policy="/other"))
    assert (status(folder).stopped, status(folder).policy) == ("", "/other")  # type: ignore[union-attr]
    log.close()
    assert status(folder).running is False  # type: ignore[union-attr]


def test_also_after_its_log_was_put_aside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.mover.audit.MAX_BYTES", 100)
    log = AuditLog(folder, folder, _State(folder))
    log.write(event("started", policy="/first", dry=True))
    log.write(event("loaded", policy="/second"))
    for _ in range(5):
        log.write(moved(1))
    assert (folder / "watch.jsonl.1").exists()
    found = status(folder)
    assert found is not None
    assert (found.running, found.dry, found.policy) == (True, True, "/second")
    log.close()


def test_a_home_that_two_machines_have(folder: Path, tmp_path: Path) -> None:
    """Each has a lock of its own; the second one neither waits nor fails."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir(mode=0o700)
    first = AuditLog(folder, tmp_path / "a", _State(folder))
    second = AuditLog(folder, tmp_path / "b", _State(folder))
    second.write(moved(1))
    first.close()
    second.write(moved(1))
    assert status(folder).running is True  # type: ignore[union-attr]
    second.close()


def test_how_it_began_is_found_far_back(folder: Path) -> None:
    first = b'{"at": 1, "event": "started", "policy": "/x", "dry": true}\n'
    (folder / LOG).write_bytes(first + b'{"at": 2, "event": "held"}\n' * 20_000)
    found = status(folder)
    assert found is not None
    assert (found.dry, found.policy, found.event) == (True, "/x", "held")


def test_only_the_end_of_a_long_log_is_read(folder: Path) -> None:
    line = b'{"at": 1, "event": "moved", "moved": 1}\n'
    (folder / LOG).write_bytes(line * 40_000 + b'{"at": 5, "event": "ended", "text": "enough"}\n')
    found = status(folder)
    assert found is not None
    assert (found.event, found.text, found.since, found.policy) == ("ended", "enough", None, None)


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe\n", b"[1, 2]\n", b'{"at": "now"}\n', b'{"at": NaN}\n', b"{" * 100_000, b'{"at": 1e400}\n',
        b'{"event": "moved"}\n', b"[" * 100_000 + b"\n",
    ],
)  # fmt: skip
def test_a_damaged_log_says_nothing(folder: Path, text: bytes) -> None:
    (folder / LOG).write_bytes(text)
    assert status(folder) is None


def test_what_is_hostile_in_it_is_harmless(folder: Path) -> None:
    (folder / LOG).write_bytes(b'{"at": 1, "event": "\\u001b[2J", "text": "' + b"x" * 5000 + b'", "moved": -5}\n')
    found = status(folder)
    assert found is not None
    assert "\x1b" not in found.event
    assert len(found.text) < 400
