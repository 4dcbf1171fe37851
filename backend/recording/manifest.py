"""What a recording says about itself and its samples. Both may come from anybody: nothing in them is believed
unread."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from backend.errors import ParseError

SCHEMA = "numatui/recording/1"
MANIFEST = "/numatui/manifest.json"
SAMPLES = "/numatui/samples"
CUT_OFF = "This recording was cut off: what came after its last whole sample is not there."
MAX_SAMPLES = 1_000_000
_PAGE_SIZES = tuple(1 << bits for bits in range(9, 31))


@dataclass(frozen=True, slots=True)
class Manifest:
    """`name`: of the machine; `of`: live or demo; `interval`: seconds between samples; `anonymised`: names and paths
    are not those that were there."""

    name: str = ""
    of: str = "live"
    page_size: int = 4096
    interval: float = 0.0
    anonymised: bool = False

    def to_json(self) -> bytes:
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Sample:
    """`at`: nanoseconds of the machine's clock since the first; `wall`: seconds since 1970, when it was taken; `gone`:
    paths that had vanished, with all that was below; `users`: names by uid as text, of those that were new; `folder`:
    its name in the recording."""

    at: int
    wall: float
    gone: tuple[str, ...] = ()
    users: dict[str, str] = field(default_factory=dict[str, str])
    folder: str = ""

    def to_json(self) -> bytes:
        told = {"at": self.at, "wall": self.wall, "gone": self.gone, "users": self.users}
        return json.dumps(told).encode() + b"\n"


def parse_manifest(raw: bytes) -> Manifest:
    """Raises ParseError."""
    data = _mapping(raw, "manifest")
    if data.get("schema") != SCHEMA:
        raise ParseError(
            "the recording's manifest is of another version", f"this numatui reads {SCHEMA}: take a newer one"
        )
    page_size = data.get("page_size")
    interval = data.get("interval")
    return Manifest(
        str(data.get("name", "")),
        str(data.get("of", "")),
        page_size if page_size in _PAGE_SIZES else 4096,
        float(interval) if isinstance(interval, (int, float)) and 0 <= interval < 1e9 else 0.0,
        data.get("anonymised") is True,
    )


def parse_sample(raw: bytes, folder: str = "") -> Sample:
    """Raises ParseError."""
    data = _mapping(raw, f"sample {folder}")
    at, wall, gone = data.get("at"), data.get("wall"), data.get("gone", [])
    if type(at) is not int or not 0 <= at < 1 << 63 or not isinstance(wall, (int, float)) or not abs(wall) < 1e12:
        raise ParseError(f"sample {folder} of the recording has no time", "its sample.json needs at and wall")
    if not isinstance(gone, list) or not all(
        isinstance(path, str) and path.startswith("/") for path in cast("list[object]", gone)
    ):
        raise ParseError(f"sample {folder} of the recording names paths that are none", "")
    users = data.get("users")
    names = cast("dict[str, object]", users) if isinstance(users, dict) else {}
    known = {uid: str(name) for uid, name in names.items()}
    return Sample(at, float(wall), tuple(cast("list[str]", gone)), known, folder)


def _mapping(raw: bytes, name: str) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        raise ParseError(f"the {name} of the recording is not JSON", "the recording is damaged") from None
    if not isinstance(data, dict):
        raise ParseError(f"the {name} of the recording is not a mapping", "the recording is damaged")
    return cast("dict[str, Any]", data)
