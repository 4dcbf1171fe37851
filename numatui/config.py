"""What the user set once and for all: `config.yaml` and `themes/` in the XDG configuration folder."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from backend.errors import ParseError


@dataclass(frozen=True, slots=True)
class Config:
    """`theme`: a theme's name, of those shipped or of the user's own. `interval`: seconds between readings. None: as it
    was left the last time. `keys`: other keys for what is done, by its name in the help (`numatui.tui.keys`)."""

    theme: str | None = None
    interval: float | None = None
    keys: dict[str, str] = field(default_factory=dict[str, str])


def folder() -> Path:
    """`$XDG_CONFIG_HOME/numatui`, as platformdirs has it."""
    from platformdirs import user_config_path

    return user_config_path("numatui", appauthor=False)


def load(path: Path | None = None) -> Config:
    """The user's configuration; the defaults where there is no file. Raises ParseError naming the file and the key."""
    import yaml

    path = path or folder() / "config.yaml"
    try:
        raw: object = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as exc:
        raise ParseError(f"{path} cannot be read ({exc})", "the defaults are used") from None
    except yaml.YAMLError as exc:
        raise ParseError(f"{path} is not YAML ({' '.join(str(exc).split())})", "the defaults are used") from None
    names = [one.name for one in fields(Config)]
    if raw is None:
        return Config()
    if not isinstance(raw, dict):
        raise ParseError(f"{path} is not a configuration", f"its keys are {', '.join(names)}")
    document = cast(dict[str, Any], raw)
    for key in document:
        if key not in names:
            raise ParseError(f"{path}: there is no key {key}", f"the keys are {', '.join(names)}")
    config = Config(**document)
    if config.theme is not None and not isinstance(config.theme, str):
        raise ParseError(f"{path}: theme is not a name", "write it like theme: light")
    keys = cast(Any, config.keys)
    if not isinstance(keys, dict) or not all(isinstance(one, str) for pair in keys.items() for one in pair):
        raise ParseError(f"{path}: keys is not a list of names and keys", "write it like keys: {migrate: x}")
    if config.interval is not None and (
        isinstance(config.interval, bool)
        or not isinstance(config.interval, int | float)
        or not 0.1 <= config.interval <= 3600
    ):
        raise ParseError(f"{path}: interval is not a number of seconds", "write it like interval: 2, from 0.1 to 3600")
    return config
