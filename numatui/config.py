"""User configuration: `config.yaml` and `themes/` in the XDG configuration folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from backend.errors import ParseError


@dataclass(frozen=True, slots=True)
class Config:
    """`theme`: name of a shipped or own theme. `interval`: seconds between readings. None: the value of the last
    session. `keys`: key by action, for actions whose key the user changes (names: `numatui keys`). `animation`: pages
    are seen flowing, lists scroll smoothly."""

    theme: str | None = None
    interval: float | None = None
    keys: dict[str, str] = field(default_factory=dict[str, str])
    animation: bool = True


def folder() -> Path:
    """`$XDG_CONFIG_HOME/numatui`, from platformdirs; one that is nowhere for a user without a home."""
    from platformdirs import user_config_path

    try:
        return user_config_path("numatui", appauthor=False)
    except RuntimeError:
        return Path("/nonexistent/numatui")


def load(path: Path | None = None) -> Config:
    """Read the configuration. Returns the defaults if the file does not exist or is empty. Raises ParseError with file,
    line and key; Untrusted if another user could change it, as that of a home that root has kept (`sudo -E`)."""
    from backend.files.given_file import read_trusted
    from backend.files.yaml_reader import Value, parse_yaml

    path = path or folder() / "config.yaml"
    if not path.exists():
        return Config()
    try:
        text = read_trusted(path).decode()
    except (OSError, UnicodeDecodeError) as exc:
        why = getattr(exc, "strerror", None) or exc
        raise ParseError(f"{path} cannot be read ({why})", "the defaults are used") from None
    if all(line.lstrip()[:1] in ("", "#") for line in text.splitlines()):
        return Config()
    keys = parse_yaml(text, str(path)).mapping(("theme", "interval", "keys", "animation"))

    def interval(value: Value) -> float:
        seconds = value.seconds()
        if not 0.1 <= seconds <= 3600:
            value.fail("is not from 0.1 to 3600 seconds", "write it like interval: 2")
        return seconds

    return Config(
        theme=keys.read("theme", Value.text, None),
        interval=keys.read("interval", interval, None),
        keys=keys.read("keys", lambda value: {name: key.text() for name, key in value.pairs()}, {}),
        animation=keys.read("animation", Value.truth, True),
    )
