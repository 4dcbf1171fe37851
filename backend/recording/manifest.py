"""What a recording says about itself and its samples. Both may come from anybody, so every field is checked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from backend.errors import ParseError
from backend.files.fields import Fields, text

SCHEMA = "numatui/recording/1"
MANIFEST = "/numatui/manifest.json"
SAMPLES = "/numatui/samples"
CUT_OFF = "This recording was cut off: nothing after its last complete sample is in it."
MAX_SAMPLES = 1_000_000
_PAGE_SIZES = tuple(1 << bits for bits in range(9, 31))


@dataclass(frozen=True, slots=True)
class Manifest:
    """`name`: of the machine. `of`: live or demo. `interval`: seconds between samples. `anonymised`: names and paths
    were replaced."""

    name: str = ""
    of: str = "live"
    page_size: int = 4096
    interval: float = 0.0
    anonymised: bool = False

    def to_json(self) -> bytes:
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Sample:
    """`at`: nanoseconds of the machine's clock since the first sample. `wall`: when it was taken, seconds since 1970.
    `gone`: paths that vanished, with everything below. `users`: names of new users, by uid as text. `folder`: its name
    in the recording."""

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
    data = _fields(raw, "manifest")
    if data.raw.get("schema") != SCHEMA:
        raise ParseError(
            "the recording's manifest is of another version", f"this numatui reads {SCHEMA}: take a newer one"
        )
    page_size = data.either("page_size", data.integer, 0)
    return Manifest(
        data.either("name", data.text, ""),
        data.either("of", data.text, ""),
        page_size if page_size in _PAGE_SIZES else 4096,
        data.either("interval", lambda key: data.number(key, 0, 1e9), 0.0),
        data.either("anonymised", data.truth, False),
    )


def parse_sample(raw: bytes, folder: str = "") -> Sample:
    """Raises ParseError."""
    data = _fields(raw, f"sample {folder}")
    try:
        at, wall = data.integer("at", 0, (1 << 63) - 1), data.number("wall", -1e12, 1e12)
    except ValueError:
        raise ParseError(f"sample {folder} of the recording has no time", "its sample.json needs at and wall") from None
    try:
        gone = tuple(text(path, "gone") for path in (data.items("gone") if "gone" in data else []))
    except ValueError:
        gone = ("",)
    if not all(path.startswith("/") for path in gone):
        raise ParseError(f"sample {folder} of the recording names invalid paths", "")
    users = data.either("users", data.object, None)
    known = {uid: str(name) for uid, name in users.raw.items()} if users is not None else {}
    return Sample(at, wall, gone, known, folder)


def _fields(raw: bytes, name: str) -> Fields:
    try:
        data: object = json.loads(raw)
    except (ValueError, RecursionError):
        raise ParseError(f"the {name} of the recording is not JSON", "the recording is damaged") from None
    try:
        return Fields(data, name)
    except ValueError:
        raise ParseError(f"the {name} of the recording is not a mapping", "the recording is damaged") from None
