"""The same keys everywhere, and nothing that surprises: what trials of the terminal UI found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.screen import ModalScreen
from textual.widgets import Button, Input

from backend.emulator.scenario.open import open_scenario
from backend.errors import UsageError
from numatui.cli.source import KernelChoice
from numatui.tui import start
from numatui.tui.key_table import KEYS
from numatui.tui.keys import keymap
from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import ASCII, UNICODE, ascii_only
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.help import TASKS, HelpScreen, _task
from numatui.tui.screens.job import JobScreen
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.process import ProcessScreen
from numatui.tui.screens.processes import ProcessesScreen
from numatui.tui.screens.study.follow import FollowScreen
from numatui.tui.widgets.process_table import ProcessTable
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import Driver, driving

SCREENS: dict[str, tuple[str, ...]] = {
    "process": ("enter",), "migrate": ("m",), "advice": ("a",), "nodes": ("n",), "cgroups": ("c",), "log": ("l",),
    "help": ("question_mark",), "users": ("u",), "columns": ("f2",), "sort": ("f6",),
    "microscope": ("z",), "tour": ("ctrl+t",), "scenarios": ("ctrl+o",), "migrate from process": ("enter", "m"),
}  # fmt: skip


@pytest.mark.parametrize("back", ["escape", "q"])
async def test_q_and_esc_go_back_and_only_the_process_table_quits(back: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with driving(open_scenario("scheduler-moves")) as app:
        for name, keys in SCREENS.items():
            await app.press(*keys)
            assert len(app.app.screen_stack) > 2, name
            for _ in range(len(app.app.screen_stack) - 2):
                await app.press(back)
            assert app.app.is_running, name
            assert isinstance(app.app.screen, ProcessesScreen), name
        ended: list[int] = []
        monkeypatch.setattr(app.app, "exit", ended.append)
        await app.press("escape")
        assert not ended
        await app.press("q")
        assert ended == [0]


def test_a_letter_means_the_same_on_every_screen() -> None:
    """Those that had two or three meanings. `n` answers questions with no, as everywhere."""
    found: dict[str, set[str]] = {}
    for place, keys in KEYS.items():
        for key in keys:
            for letter in key.keys.split(","):
                if letter in ("a", "c", "e", "n", "p") and not (place == "question" and letter == "n"):
                    found.setdefault(letter, set()).add(key.action if key.action != "leave" else place)
    assert found == {
        "a": {"advice"}, "c": {"cgroups"}, "e": {"try_copy"}, "n": {"nodes"}, "p": {"pause"},
    }  # fmt: skip


async def test_the_search_asks_each_time_and_letters_stay_letters() -> None:
    async with driving() as app:
        for _ in range(2):
            await app.press("f3")
            assert isinstance(app.app.focused, Input)
            await app.press(*"train")
            assert app.table.current is not None
            assert "train" in app.table.current.process.command
            assert app.app.focused.value == "train"
            first = app.current
            await app.press("f3")
            assert isinstance(app.app.focused, Input)
            await app.press("enter", "home")
            assert app.app.focused is app.table
        assert first is not None


async def test_tab_stays_where_keys_work() -> None:
    async with driving() as app:
        for _ in range(3):
            await app.press("tab")
            assert isinstance(app.app.focused, ProcessTable)


async def test_letters_sort_as_in_htop() -> None:
    async with driving() as app:
        await app.press("M")
        first = list(app.pids)
        await app.press("M")
        assert app.pids == first
        await app.press("I")
        assert app.pids != first
        await app.press("M")
        assert app.pids == first


async def started(app: Driver) -> MigrateScreen:
    await app.press("m")
    await app.screen(MigrateScreen)
    screen = app.app.screen
    assert isinstance(screen, MigrateScreen)
    await app.until(lambda: screen.plan is not None and screen.plan.bytes)
    return screen


async def test_a_click_on_an_option_leaves_enter_to_start_and_there_is_a_button_for_it() -> None:
    async with driving(size=(140, 40)) as app:
        await started(app)
        await app.pilot.click("#method")
        assert not isinstance(app.app.focused, Button)
        await app.press("enter")
        await app.screen(Question)
        await app.press("escape")
        await app.pilot.click("#begin")
        await app.screen(Question)


async def test_what_can_be_taken_back_asks_once_with_yes_focused() -> None:
    async with driving() as app:
        await started(app)
        await app.press("enter")
        await app.screen(Question)
        assert app.app.focused is app.app.screen.query_one("#yes")
        await app.press("enter")
        await app.screen(JobScreen)
        await app.until(lambda: app.app.jobs[0].ended)


async def test_of_a_long_paste_as_much_is_taken_as_fits() -> None:
    async with driving() as app:
        await app.press("slash", *"ab")
        field = app.app.focused
        assert isinstance(field, Input)
        field.post_message(events.Paste("x" * 500))
        await app.until(lambda: len(field.value) > 2)
        assert field.value == "ab" + "x" * 398
        assert any("cut after 400" in text for text in app.notifications())


async def test_a_word_of_a_filter_that_nobody_knows_is_told() -> None:
    async with driving(size=(160, 40)) as app:
        await app.press("slash", *"foo:bar", "enter")
        assert "there is no foo: in filters" in app.text()
        assert len(app.pids) > 1
        await app.press("slash", *[*["backspace"] * 7, '"', *"foo:bar"], "enter")
        assert app.pids == []


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("right_square_bracket", "its time cannot be changed"), ("full_stop", "its time cannot be changed"),
        ("z", "numatui --demo has them"), ("comma", "no recording"), ("J", "nothing has been moved yet"),
        ("s", "strace"),
    ],
)  # fmt: skip
async def test_a_key_that_does_nothing_here_says_so(key: str, words: str) -> None:
    async with driving(FakeKernel(), notifications=True) as app:
        await app.press(key)
        assert isinstance(app.app.screen, ProcessesScreen)
        assert len(app.notifications()) == 1
        assert words in app.notifications()[0]


async def test_help_tells_what_htop_means_by_a_letter() -> None:
    async with driving(size=(120, 70)) as app:
        await app.press("h")
        await app.screen(HelpScreen)
        assert "for the CPU affinity taskset -cp CPUS PID" in " ".join(app.text().replace("│", " ").split())


@pytest.mark.parametrize(
    ("wanted", "taken", "problems"),
    [
        ({"migrate": "ctrl+w"}, {"migrate": "ctrl+w"}, []),
        ({"migrate": "n"}, {}, ["migrate: n is the key of nodes"]),
        ({"invert": "T", "sort-time": "I"}, {"invert": "T", "sort-time": "I"}, []),
        ({"invert": "t", "tree": "ctrl+w"}, {"invert": "t", "tree": "ctrl+w"}, []),
        ({"tag": "ctrl+w", "tree": "ctrl+w"}, {"tree": "ctrl+w"}, ["tag: ctrl+w is the key of tree"]),
        ({"nothing": "x"}, {}, ["nothing is named nothing"]),
        ({"tour": "x"}, {}, ["tour: x is the key of "]),
    ],
)
def test_a_key_that_another_has_is_refused_by_name(
    wanted: dict[str, str], taken: dict[str, str], problems: list[str]
) -> None:
    found, why = keymap(wanted)
    assert found == taken
    assert len(why) == len(problems)
    assert all(one.startswith(other) for one, other in zip(why, problems, strict=True))


async def test_a_theme_that_was_chosen_is_kept() -> None:
    async with driving() as app:
        await app.press("colon", *"Theme", "enter")
        await app.until(lambda: isinstance(app.app.screen, ModalScreen) and "Theme" in app.text())
        assert "nord" not in app.text()
        await app.press("down", "enter")
        await app.until(lambda: not isinstance(app.app.screen, ModalScreen))
        chosen = app.app.left().theme
        assert app.app.theme == f"numatui-{chosen}"
    async with driving(theme=chosen) as app:
        assert not app.app.problem
        app.app._take_theme("dark" if chosen != "dark" else "light")
        await app.until(lambda: f"config.yaml names the theme {chosen}" in "".join(app.notifications()))


async def test_commands_have_names() -> None:
    async with driving() as app:
        await app.press("colon", *"Filter")
        await app.until(lambda: "the key /" in app.text())
        await app.press("enter")
        await app.until(lambda: isinstance(app.app.focused, Input) and app.app.focused.id == "filter")


async def test_a_screenshot_says_where_it_is_or_why_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DOWNLOAD_DIR", str(home / "Downloads"))
    async with driving() as app:
        where = app.app.deliver_screenshot()
        assert where is not None
        assert Path(where).parent == home
        assert Path(where).read_text().startswith("<svg")
        await app.until(lambda: f"written: {where}" in app.notifications(), "it says where")
        assert app.app.deliver_screenshot(Path(where).name) is None
        await app.until(lambda: any("is there already" in one for one in app.notifications()))


@pytest.mark.parametrize(
    ("environment", "plain"),
    [
        ({}, False), ({"LANG": "de_DE.UTF-8"}, False), ({"LANG": "de_DE.utf8"}, False), ({"LANG": "de_DE"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, True), ({"LANG": "de_DE@euro"}, True), ({"LC_ALL": "C"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "POSIX"}, True), ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LC_CTYPE": "C.UTF-8"}, False), ({"LC_CTYPE": "UTF-8"}, False), ({"LANG": "ja_JP.eucJP"}, True),
        ({"LANG": "de_DE", "NUMATUI_ASCII": "0"}, False), ({"NUMATUI_ASCII": "1"}, True),
    ],
)  # fmt: skip
def test_a_locale_that_is_not_utf8_gets_plain_characters(
    environment: dict[str, str], plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG", "NUMATUI_ASCII"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ascii_only() is plain


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_without_colours_nodes_differ_by_pattern(glyphs: Any) -> None:
    (_, _), *others = [(text[0], text[1:]) for text, _ in bars.placement({0: 1, 1: 1, 2: 1, 3: 1}, 0, 24, glyphs, True)]
    assert len({fill for _, fill in others}) == 3


async def test_help_has_signs_first_tasks_and_a_search() -> None:
    async with driving(size=(120, 60)) as app:
        await app.press("h")
        await app.screen(HelpScreen)
        text = app.text()
        assert text.index("Signs on this screen") < text.index("Move memory") < text.index("Find")
        await app.press("slash", *"small")
        assert "Hide or show small processes" in app.text()
        assert "Move memory" not in app.text()
        await app.press("escape")
        assert "Move memory" in app.text()
        await app.press("escape")
        assert isinstance(app.app.screen, ProcessesScreen)


@pytest.mark.parametrize("width", [60, 80, 120])
async def test_help_cuts_nothing(width: int) -> None:
    async with driving(size=(width, 200)) as app:
        await app.press("h")
        await app.screen(HelpScreen)
        shown = " ".join(app.text().replace("│", " ").split())
        for place in ("app", "processes", "process-table"):
            for key in KEYS[place]:
                enabled = key.action.partition("(")[0] not in ("edited", "jobs", "speed")
                assert not enabled or " ".join(key.text.split()) in shown, key


def test_every_action_of_the_help_is_one_that_there_is() -> None:
    actions = {key.action for keys in KEYS.values() for key in keys} | {"digit(0)"}
    assert set(map(_task, actions)) == set(TASKS)
    plain = {action.rpartition("app.")[2] for action in actions} | {action.partition("(")[0] for action in actions}
    named = {one for actions_of in TASKS.values() for one in actions_of}
    assert named <= {*plain, *(one.rpartition("app.")[2] for one in plain)}


async def test_a_copy_is_asked_for_and_looks_like_one() -> None:
    async with driving(size=(120, 40)) as app:
        assert " COPY " not in app.lines()[0]
        await app.press("e")
        await app.screen(Question)
        assert "q comes back" in app.text()
        await app.press("escape")
        assert app.app.next_copy is None
    async with driving(open_scenario("scheduler-moves"), copy=True) as app:
        assert " COPY " in app.lines()[0]


async def test_history_can_be_hidden_on_a_tall_screen_and_shown_on_a_low_one() -> None:
    for size in ((120, 50), (120, 24)):
        async with driving(size=size) as app:
            await app.press("enter")
            await app.screen(ProcessScreen)
            before = app.app.screen.query_one("#past").display
            await app.press("i")
            assert app.app.screen.query_one("#past").display is not before


async def test_after_the_last_change_of_a_followed_page_no_time_passes_by_itself() -> None:
    kernel = open_scenario("scheduler-moves")
    async with driving(kernel) as app:
        await app.press("z", "f")
        await app.screen(FollowScreen)
        screen = app.app.screen
        assert isinstance(screen, FollowScreen)
        await app.press("m", "y")
        stage = screen.followed[0].stage
        await app.until(lambda: not screen._busy)
        for _ in range(200):
            await app.press("enter")
            await app.until(lambda: not screen._busy)
            if stage.note:
                break
        assert stage.note
        now, rows = stage.machine.now, len(stage.rows)
        await app.press("enter", "enter")
        assert (stage.machine.now, len(stage.rows)) == (now, rows)
        assert "That was the last change" in app.notifications()[-1]
        await app.press("full_stop")
        await app.until(lambda: stage.machine.now > now)


async def test_a_notice_is_shown_once() -> None:
    async with driving(notice="this is a demo") as app:
        assert "this is a demo" in app.notifications()
        kept = app.app.left()
    async with driving(notice="this is a demo", kept=kept) as app:
        assert not app.notifications()


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_cannot_be_drawn_on_gets_one_line(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    for name in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{name}.isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match=f"cannot draw on this terminal .TERM={term}."):
        start.start(KernelChoice("demo"))
