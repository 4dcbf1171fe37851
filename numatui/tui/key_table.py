"""All keys of the terminal UI, by the place where they work. Imports no UI toolkit."""

from __future__ import annotations

import re
from typing import NamedTuple


class Key(NamedTuple):
    """`keys`: Textual's names, separated by commas. `action`: calls the method `action_…`. `show`: the footer shows the
    key, as `display`. `priority`: the key works before the focused widget sees it."""

    keys: str
    action: str
    text: str
    show: bool = False
    display: str | None = None
    priority: bool = False


KEYS: dict[str, tuple[Key, ...]] = {
    "app": (
        Key("J", "jobs", "Jobs", show=True),
        Key("a", "advice", "Advice", show=True),
        Key("n", "nodes", "Nodes", show=True),
        Key("c", "cgroups", "Cgroups", show=True),
        Key("l", "log", "Log"),
        Key("question_mark,f1,h", "help", "Help", show=True, display="?"),
        Key("f10", "quit", "Quit"),
        Key("colon,ctrl+p", "command_palette", "Commands by name, with completion"),
        Key("K", "kernel_threads", "Show or hide kernel threads"),
        Key("ctrl+z", "suspend_process", "Back to the shell for now (fg returns)"),
        Key("p,Z", "pause", "Pause or go on refreshing"),
        Key("r", "reread", "Refresh now"),
        Key("right_parenthesis", "refresh(-1)", "Refresh more often"),
        Key("left_parenthesis", "refresh(1)", "Refresh less often"),
        Key("right_square_bracket", "speed(1)", "Demo, recording: time runs faster"),
        Key("left_square_bracket", "speed(-1)", "Demo, recording: time runs slower"),
        Key("equals_sign", "speed(0)", "Demo, recording: time stands still, or goes on"),
    ),
    "fleet-app": (
        Key("question_mark,f1,h", "help", "Help", show=True, display="?"),
        Key("f10", "quit", "Quit"),
        Key("colon,ctrl+p", "command_palette", "Commands by name, with completion"),
        Key("ctrl+z", "suspend_process", "Back to the shell for now (fg returns)"),
        Key("p,Z", "pause", "Pause or go on refreshing"),
        Key("r", "reread", "Refresh now"),
        Key("right_parenthesis", "refresh(-1)", "Refresh more often"),
        Key("left_parenthesis", "refresh(1)", "Refresh less often"),
    ),
    "fleet": (
        Key("space", "tag", "Tag", show=True, display="Space"),
        Key("m", "migrate", "Migrate", show=True),
        Key("u", "undo", "Take back", show=True),
        Key("slash,f4", "edit", "Filter", show=True, display="/"),
        Key("U", "untag", "Untag all"),
        Key("asterisk", "tag_all", "Tag all that are shown"),
        Key("greater_than_sign,f6", "order(1)", "Sort", show=True, display="< >"),
        Key("less_than_sign", "order(-1)", "Sort by the column before"),
        Key("escape", "clear", "Clear filter, tags"),
        Key("q", "app.quit", "Quit", show=True),
    ),
    "fleet-table": (Key("enter", "open", "Open this host", show=True, display="Enter"),),
    "fleet-plans": (Key("enter", "open", "Do it", show=True, display="Enter"),),
    "fleet-move": (
        Key("x", "cancel", "Cancel", show=True),
        Key("u", "undo", "Take back", show=True),
        Key("escape,q", "leave", "Back", show=True, display="Esc"),
    ),
    "demo": (
        Key("z", "microscope", "Demo and its recordings: the microscope"),
        Key("ctrl+t", "tour", "Guided tour of the five benefits"),
        Key("ctrl+o", "scenarios", "Demo: another scenario; recording: another sample"),
        Key("e", "try_copy", "Try things on a copy of this machine"),
        Key("full_stop", "step", "Demo: a tenth of a second on; recording: a sample on"),
    ),
    "replay": (
        Key("comma", "seek(-1)", "Recording: the sample before", show=True, display=", ."),
        Key("left_curly_bracket", "seek(-10)", "Recording: ten samples back"),
        Key("right_curly_bracket", "seek(10)", "Recording: ten samples on"),
        Key("apostrophe", "mark", "Recording: mark, compare", show=True, display="'"),
    ),
    "advice-table": (Key("enter,m", "open", "Do it", show=True, display="Enter"),),
    "advice": (
        Key("space", "tag", "Tag", show=True, display="Space"),
        Key("D", "do_all", "Do all", show=True),
        Key("A", "declined", "Those not advised too", show=True),
        Key("y", "copy", "Copy the command", show=True),
        Key("escape,a,q", "leave", "Back", show=True, display="Esc"),
    ),
    "cgroup-table": (Key("enter", "open", "Processes", show=True, display="Enter"),),
    "cgroups": (
        Key("m", "migrate", "Migrate", show=True),
        Key("S", "set_mems", "Set nodes", show=True),
        Key("t", "attach", "Attach tagged", show=True),
        Key("plus", "fold(False)", "Open"),
        Key("minus", "fold(True)", "Close"),
        Key("greater_than_sign,f6", "order", "Sort", show=True, display=">"),
        Key("slash,f4", "edit", "Filter", show=True, display="/"),
        Key("escape,q", "leave", "Back", show=True, display="Esc"),
    ),
    "chooser": (Key("escape,q", "leave", "Leave as it is"),),
    "several-chooser": (
        Key("space", "turn", "Choose or not", show=True),
        Key("enter", "done", "Done", show=True, priority=True),
        Key("r", "usual", "As at first", show=True),
        Key("escape,q", "leave", "Leave as it is"),
    ),
    "cpuset-change": (
        Key("enter", "apply", "Do it", priority=True),
        Key("ctrl+y", "copy", "Copy the command", priority=True),
        Key("escape", "leave", "Leave"),
    ),
    "question": (
        Key("y", "answer(True)", "Yes", show=True),
        Key("n,escape,q", "answer(False)", "No", show=True),
        Key("ctrl+y", "copy", "Copy the command"),
        Key("left,right", "app.focus_next", "Other answer"),
        Key("up,k", "scroll(-1)", "Long text: a line up"),
        Key("down,j", "scroll(1)", "Long text: a line down"),
    ),
    "help": (
        Key("slash", "search", "Search"),
        Key("escape,q,question_mark,f1,h", "leave", "Close"),
    ),
    "job": (
        Key("space", "hold", "Pause or go on", show=True, display="Space"),
        Key("x", "cancel", "Cancel the job", show=True),
        Key("u", "undo", "Take it back", show=True),
        Key("escape,q", "leave", "Back", show=True, display="Esc"),
    ),
    "job-table": (Key("enter", "open", "Open", show=True, display="Enter"),),
    "jobs": (Key("escape,J,q", "leave", "Back", show=True, display="Esc"),),
    "log": (
        Key("y", "copy", "Copy the command", show=True),
        Key("u", "undo", "Take back", show=True),
        Key("escape,l,q", "leave", "Back", show=True, display="Esc"),
    ),
    "migrate": (
        Key("enter", "start", "Start", show=True, display="Enter"),
        Key("f", "edit('from')", "Type sources"),
        Key("t", "edit('to')", "Type targets"),
        Key("s", "presets", "Suggestions", show=True),
        Key("o", "how('method')", "Method", show=True),
        Key("A", "how('move_all')", "Shared pages"),
        Key("S", "how('confine')", "Confine by cpuset"),
        Key("b", "how('budget')", "Longest call"),
        Key("w", "how('workers')", "Workers"),
        Key("r", "how('max_rate')", "Most a second"),
        Key("x", "swap", "Exchange sources and targets"),
        Key("escape,q", "leave", "Back", show=True, display="Esc"),
    ),
    "node-table": (Key("enter", "open", "Processes with memory there", show=True, display="Enter"),),
    "nodes": (
        Key("x", "running", "Processes running there", show=True),
        Key("d", "other_pane", "Distances", show=True),
        Key("b", "measured", "Distances, or as measured"),
        Key("escape,n,q", "leave", "Back", show=True, display="Esc"),
    ),
    "process": (
        Key("m", "migrate", "Migrate", show=True),
        Key("v", "migrate_vma", "Migrate this VMA", show=True),
        Key("w", "sharers", "Shared with whom", show=True),
        Key("i", "history", "History, threads", show=True),
        Key("E", "heat", "Heat", show=True),
        Key("H", "empty", "Hide or show VMAs without pages"),
        Key("tab", "app.focus_next", "VMAs, threads"),
        Key("f7", "renice(-1)", "Nice value down: more processor time"),
        Key("f8", "renice(1)", "Nice value up: less processor time"),
        Key("f9", "kill", "Send a signal"),
        Key("escape,q", "leave", "Back", show=True, display="Esc"),
    ),
    "processes": (
        Key("m", "migrate", "Migrate", show=True),
        Key("slash,backslash,f4", "edit('filter')", "Filter", show=True, display="/"),
        Key("f7", "renice(-1)", "Nice value down: more processor time"),
        Key("f8", "renice(1)", "Nice value up: less processor time"),
        Key("f9", "kill", "Send a signal"),
        Key("f3", "search(1)", "Search; while typing: to the next"),
        Key("shift+f3,f15", "search(-1)", "Search: to the one before"),
        Key("u", "user", "Only one user's"),
        Key("E", "heat", "Heat: which memory of this process is used"),
        Key("f6", "choose_sort", "Choose what to sort by"),
        Key("C,f2", "choose_columns", "Choose the columns"),
        Key("d", "detail", "Details beside the table: show or hide"),
        Key("number_sign", "panel", "The nodes on top: map, lines, hidden"),
        Key("enter", "edited", "End typing", priority=True),
        Key("escape", "clear", "Clear filter, tags, following"),
        Key("q", "app.quit", "Quit", show=True),
    ),
    "heat": (
        Key("y", "copy", "Copy the command", show=True),
        Key("escape,E,q", "leave", "Back", show=True, display="Esc"),
    ),
    "compare": (Key("escape,q", "leave", "Back", show=True, display="Esc"),),
    "samples-compared": (
        Key("apostrophe", "unmark", "Forget the mark", show=True, display="'"),
        Key("escape,q", "leave", "Back", show=True, display="Esc"),
    ),
    "follow": (
        Key("enter", "on", "Next change", show=True, display="Enter", priority=True),
        Key("full_stop", "step", "One step", show=True, display="."),
        Key("space", "run", "Slow motion", show=True, display="Space"),
        Key("m", "migrate", "Migrate", show=True),
        Key("right_square_bracket", "pace(1)", "Slow motion: faster"),
        Key("left_square_bracket", "pace(-1)", "Slow motion: slower"),
        Key("tab", "app.focus_next", "Other side"),
        Key("escape,q", "leave", "Back", show=True, display="Esc"),
    ),
    "microscope": (
        Key("plus,equals_sign", "zoom(-1)", "Zoom in", show=True, display="+"),
        Key("minus", "zoom(1)", "Zoom out", show=True, display="-"),
        Key("tab", "node(1)", "Next node", show=True, display="Tab 0-9"),
        Key("shift+tab", "node(-1)", "Node before"),
        Key("w", "owners", "Whose frames", show=True),
        Key("enter", "filter", "Only these", show=True, display="Enter"),
        Key("number_sign", "side_by_side", "Nodes side by side", show=True, display="#"),
        Key("f", "follow", "Follow the page", show=True),
        Key("space", "app.speed(0)", "Time", show=True, display="Space"),
        Key("escape,q", "leave", "Back", show=True, display="Esc"),
    ),
    "scenario-table": (Key("enter", "open", "Open it in place of this machine", show=True, display="Enter"),),
    "scenarios": (
        Key("v", "compare", "Compare direct and swap", show=True),
        Key("escape,q", "leave", "Back", show=True, display="Esc"),
    ),
    "tour": (
        Key("space,right", "page(1)", "Next", show=True, display="Space"),
        Key("backspace,left", "page(-1)", "Back one", show=True, display="Backspace"),
        Key("enter,f", "follow", "Follow one page through it", show=True, display="Enter"),
        Key("escape,q", "leave", "Back", show=True, display="Esc"),
    ),
    "frame-map": (
        Key("left,h", "move(-1, 0)", "Cell before"),
        Key("right,l", "move(1, 0)", "Cell after"),
        Key("up,k", "move(0, -1)", "Row up"),
        Key("down,j", "move(0, 1)", "Row down"),
        Key("pageup,ctrl+b", "page(-1)", "Page up"),
        Key("pagedown,ctrl+f", "page(1)", "Page down"),
        Key("home,g", "jump(0)", "First cell"),
        Key("end,G", "jump(1)", "Last cell"),
    ),
    "node-map": (
        Key("up,k", "move(-1)", "Up"),
        Key("down,j", "move(1)", "Down"),
        Key("left,h", "side('from')", "Source nodes"),
        Key("right,l", "side('to')", "Target nodes"),
        Key("space", "toggle", "Choose node", show=True, display="Space 0-9"),
    ),
    "process-table": (
        Key("enter", "open", "Open", show=True, display="Enter"),
        Key("space", "tag", "Tag", show=True, display="Space"),
        Key("U", "untag", "Untag all"),
        Key("greater_than_sign", "sort_next(1)", "Sort", show=True, display="< >"),
        Key("less_than_sign", "sort_next(-1)", "Sort by the column before"),
        Key("I", "invert", "Invert the order"),
        Key("M", "sort('rss')", "Sort by memory"),
        Key("P", "sort('load')", "Sort by recent processor time"),
        Key("T", "sort('time')", "Sort by processor time"),
        Key("L", "sort('local')", "Sort by local share"),
        Key("R", "sort('placement')", "Sort by remote memory"),
        Key("N", "sort('pid')", "Sort by pid"),
        Key("t,f5", "tree", "Tree"),
        Key("v", "group", "Sum up by user, by cgroup, not at all"),
        Key("plus", "fold(False)", "Tree, groups: open"),
        Key("minus", "fold(True)", "Tree, groups: close"),
        Key("H", "small", "Hide or show small processes"),
        Key("B", "bars", "Bars as long as the memory, its logarithm, all alike"),
        Key("F", "follow", "Follow a process: the cursor stays on it"),
    ),
    "table": (
        Key("up,k", "move(-1)", "Up"),
        Key("down,j", "move(1)", "Down"),
        Key("pageup,ctrl+b", "page(-1)", "Page up"),
        Key("pagedown,ctrl+f", "page(1)", "Page down"),
        Key("home,g", "jump(0)", "First row"),
        Key("end,G", "jump(-1)", "Last row"),
        Key("left", "scroll_columns(-1)", "Columns further left"),
        Key("right", "scroll_columns(1)", "Columns further right"),
        Key("enter", "open", "Open"),
    ),
}


def name_of(action: str) -> str:
    """`app.help` → `help`, `refresh(-1)` → `refresh-less`, `jump(0)` → `jump-0`."""
    plain = action.rpartition("app.")[2].replace("(-", "-less-").replace("-less-1)", "-less")
    return re.sub(r"[^a-z0-9]+", "-", plain.casefold()).strip("-")


def all_keys() -> list[tuple[str, str, str]]:
    """(name, keys, description) of every key, sorted by name, without duplicates."""
    return sorted({(name_of(key.action), key.keys, key.text) for keys in KEYS.values() for key in keys})
