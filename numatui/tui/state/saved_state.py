"""State of the screen that is saved between sessions, in `tui.json` of the state directory."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from backend.errors import NumatuiError
from backend.files.fields import Fields
from backend.state.jobs_dir import jobs_dir, make_private
from backend.state.private_file import read_private, replace_private
from numatui.theming import DEFAULT as DEFAULT_THEME
from numatui.tui.model.groups import GROUPINGS, Grouping
from numatui.tui.model.scale import SCALES, Scale
from numatui.tui.paint.columns import CHOICES, DEFAULT
from numatui.tui.paint.machine_map import FORMS, Form


@dataclass(frozen=True, slots=True)
class SavedState:
    """`columns`: columns of the process table. `notice`: the last one that was shown. Other fields: see `Listing`,
    `StatefulApp` and the node panel."""

    columns: tuple[str, ...] = DEFAULT
    sort: str = "rss"
    descending: bool = True
    tree: bool = False
    grouping: Grouping = ""
    hide_small: bool = False
    panel: Form = "map"
    scale: Scale = "size"
    detail: bool = True
    interval: float = 1.0
    theme: str = DEFAULT_THEME
    notice: str = ""


def saved_state_path() -> Path | None:
    """`$XDG_STATE_HOME/numatui/tui.json`; None for a user without a home."""
    try:
        return jobs_dir().parent / "tui.json"
    except NumatuiError:
        return None


def save(path: Path | None, kept: SavedState) -> None:
    """Writes the state. Errors are ignored: a lost view setting is not worth a message."""
    if path is None:
        return
    with suppress(OSError, NumatuiError):
        make_private(path.parent / "jobs")
        replace_private(path, json.dumps(asdict(kept)))


def load(path: Path | None) -> SavedState:
    """As it was left; what is missing or wrong is as at first. Never raises."""
    usual = SavedState()
    if path is None:
        return usual
    try:
        found = Fields(json.loads(read_private(path)))
    except (OSError, ValueError, RecursionError):
        return usual
    columns = found.either("columns", found.items, None)
    grouping: Grouping = usual.grouping
    with suppress(ValueError):
        grouping = found.choice("grouping", GROUPINGS)
    panel: Form = usual.panel
    with suppress(ValueError):
        panel = found.choice("panel", FORMS)
    scale: Scale = usual.scale
    with suppress(ValueError):
        scale = found.choice("scale", SCALES)
    return SavedState(
        columns=usual.columns if columns is None else tuple(one for one in CHOICES if one in columns),
        sort=found.either("sort", found.text, usual.sort),
        descending=found.either("descending", found.truth, usual.descending),
        tree=found.either("tree", found.truth, usual.tree),
        grouping=grouping,
        hide_small=found.either("hide_small", found.truth, usual.hide_small),
        panel=panel,
        scale=scale,
        detail=found.either("detail", found.truth, usual.detail),
        interval=found.either("interval", lambda key: found.number(key, 0.1, 3600), usual.interval),
        theme=found.either("theme", found.text, usual.theme),
        notice=found.either("notice", found.text, usual.notice),
    )
