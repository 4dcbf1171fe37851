"""How the user left the screen, for the next time: `tui.json` in the state directory."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backend.errors import NumatuiError
from backend.files.jobs_dir import jobs_dir, make_private
from backend.files.private_file import read_private, replace_private
from numatui.theming import DEFAULT as DEFAULT_THEME
from numatui.tui.model.groups import GROUPINGS, Grouping
from numatui.tui.paint.columns import CHOICES, DEFAULT


@dataclass(frozen=True, slots=True)
class SavedState:
    """`columns`: of the process table; the rest as `Listing`, `StatefulApp` and the node panel have it."""

    columns: tuple[str, ...] = DEFAULT
    sort: str = "rss"
    descending: bool = True
    tree: bool = False
    grouping: Grouping = ""
    hide_small: bool = False
    panel: bool = True
    interval: float = 1.0
    theme: str = DEFAULT_THEME


def saved_state_path() -> Path:
    """`$XDG_STATE_HOME/numatui/tui.json`."""
    return jobs_dir().parent / "tui.json"


def save(path: Path, kept: SavedState) -> None:
    """What cannot be written is not kept: no reason to trouble anybody."""
    with suppress(OSError, NumatuiError):
        path.parent.mkdir(parents=True, exist_ok=True)
        make_private(path.parent / "jobs")
        replace_private(path, json.dumps(asdict(kept)))


def load(path: Path) -> SavedState:
    """As it was left; what is missing or not as it should be is as at first. Never raises."""
    usual = SavedState()
    try:
        raw: Any = json.loads(read_private(path))
        found: dict[str, Any] = {name: raw[name] for name in asdict(usual) if name in raw}
    except (OSError, ValueError, TypeError, RecursionError):
        return usual
    columns = found.pop("columns", None)
    good: dict[str, Any] = {name: value for name, value in found.items() if type(value) is type(getattr(usual, name))}
    if isinstance(columns, list):
        good["columns"] = tuple(one for one in CHOICES if one in columns)
    if good.get("grouping", "") not in GROUPINGS:
        del good["grouping"]
    if not 0.1 <= good.get("interval", 1.0) <= 3600:
        del good["interval"]
    return SavedState(**good)
