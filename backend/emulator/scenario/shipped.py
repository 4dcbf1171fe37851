"""The shipped scenarios; loads a scenario by name or file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backend.emulator import scenarios
from backend.emulator.scenario.description import Description, parse_description
from backend.files.given_file import read_given, unreadable

FOLDER = Path(scenarios.__file__).parent
_MOST_BYTES = 16 << 20
"""Of a scenario, for example one that was made from a machine with thousands of processes."""


def names() -> list[str]:
    """Names of the shipped scenarios, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str, profile: str = "", tries: Sequence[str] = (), at: float | None = None) -> Description:
    """Load a shipped scenario by name, or a YAML file. `profile`: overrides the scenario's kernel profile. `tries`,
    `at`: further steps (`parse_description`). Raises NotFound, ParseError."""
    shipped = FOLDER / f"{name}.yaml"
    path = shipped if name in names() else Path(name)
    try:
        raw = read_given(path, _MOST_BYTES)
    except OSError as exc:
        raise unreadable(f"the scenario {name}", exc, f"name a YAML file or one of {', '.join(names())}") from None
    file = path.name if path is shipped else str(path)
    return parse_description(raw.decode("utf-8", "replace"), file, name, profile, tries, at)
