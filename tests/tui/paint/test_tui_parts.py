"""The pure parts: arrows, bars, order of rows, columns that fit, themes, speeds."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import NotFound, ParseError
from backend.nodeset import NodeSet
from backend.plan.remap import Move, remap
from numatui import theming
from numatui.tui.paint import arrows, bars
from numatui.tui.paint.column import Column, fit, pad
from numatui.tui.paint.glyphs import ASCII, UNICODE
from numatui.tui.reading.machine import SPEEDS, other_speed
from numatui.tui.reading.reader import read_throughput

sets = st.sets(st.integers(0, 11), min_size=1).map(NodeSet)


def drawn(moves: tuple[Move, ...], nodes: int, width: int = 16) -> list[str]:
    lines = {node: node for node in range(nodes)}
    return ["".join(text for text, _ in line) for line in arrows.draw(moves, lines, width, UNICODE)]


def follow(picture: list[str], line: int) -> int:
    """Where an arrow that begins on a line ends."""
    x, y, dx, dy = 0, line, 1, 0
    for _ in range(len(picture) * len(picture[0])):
        assert 0 <= y < len(picture), f"the arrow of line {line} leaves the picture:\n" + "\n".join(picture)
        assert x < len(picture[y]), f"the arrow of line {line} has no head:\n" + "\n".join(picture)
        char = picture[y][x]
        if char == "▶":
            return y
        if char in "┐┘" and dx:
            dx, dy = 0, 1 if char == "┐" else -1
        elif char in "└┌" and dy:
            dx, dy = 1, 0
        x, y = x + dx, y + dy
    raise AssertionError(f"the arrow of line {line} goes round in circles:\n" + "\n".join(picture))


def test_two_arrows_side_by_side_do_not_cross() -> None:
    picture = drawn((Move(0, 2), Move(1, 3)), 4)
    assert "┼" not in "".join(picture)
    assert (follow(picture, 0), follow(picture, 1)) == (2, 3)


def test_arrows_to_one_target_run_together() -> None:
    picture = drawn((Move(0, 2), Move(1, 2)), 3)
    assert sum(line.count("▶") for line in picture) == 1
    assert "┴" in picture[2]


@given(sets, sets, st.integers(8, 40))
def test_every_source_has_a_line_and_every_target_a_head(sources: NodeSet, targets: NodeSet, width: int) -> None:
    moves = remap(sources, targets)
    picture = drawn(moves, 12, width)
    assert all(len(line) == width for line in picture)
    heads = {y for y, line in enumerate(picture) if line.endswith("▶")}
    assert heads == {move.target for move in moves}
    for move in moves:
        assert picture[move.source][0] != " "


@given(st.dictionaries(st.integers(0, 40), st.integers(0, 1 << 50), max_size=12), st.integers(1, 80))
def test_a_bar_is_exactly_as_wide_as_asked(amounts: dict[int, int], width: int) -> None:
    parts = bars.shares(amounts, width)
    assert sum(cells for _, cells in parts) == (width if sum(amounts.values()) else 0)
    assert all(cells > 0 for _, cells in parts)
    assert bars.length(bars.placement(amounts, None, width, UNICODE)) == width


def test_a_small_share_is_still_seen() -> None:
    assert bars.shares({0: 98, 1: 2}, 10) == [(0, 9), (1, 1)]


def test_the_node_it_runs_on_is_marked_and_others_not() -> None:
    assert "".join(text for text, _ in bars.placement({0: 1, 3: 1}, 3, 8, UNICODE)) == "0   3   "
    assert [role for _, role in bars.placement({0: 1, 3: 1}, 3, 8, UNICODE)] == ["away:0", "here:3"]
    assert [role for _, role in bars.placement({0: 1, 3: 1}, None, 8, UNICODE)] == ["node:0", "node:3"]
    assert "".join(text for text, _ in bars.placement({0: 1, 3: 1}, 3, 8, ASCII, plain=True)) == "0---3==="


def test_a_sparkline_shows_a_fall() -> None:
    line = bars.sparkline([100, 100, 80, 80, 100], 8, UNICODE, 100)
    assert len(line) == 8
    assert line[3] == line[7] == "█"
    assert line[5] == line[6] == "▆"


@given(st.lists(st.floats(0, 1e12), max_size=60), st.integers(0, 50))
def test_a_sparkline_takes_any_values(values: list[float], width: int) -> None:
    if width:
        assert len(bars.sparkline(values, width, UNICODE, 50.0)) == width


@given(st.integers(1, 300))
def test_columns_never_overlap(width: int) -> None:
    columns: list[Column[object]] = [
        Column(str(number), "x", 4 + number, lambda _, __: "", rank=number, most=20) for number in range(6)
    ]
    slots = fit(columns, width)
    assert slots[0].column.id == "0"
    for one, other in itertools.pairwise(slots):
        assert one.x + one.width < other.x
    assert slots[-1].x + slots[-1].width <= max(width, 4)


def test_text_is_cut_by_cells_not_by_characters() -> None:
    assert pad("進程進程", 5, "left") == "進程…"
    assert pad("ab", 4, "right") == "  ab"


def test_shipped_themes_are_complete() -> None:
    themes = {theme.name: theme for theme in map(theming.load, theming.shipped().glob("*.yaml"))}
    assert {"numatui-dark", "numatui-light", "numatui-high-contrast", "numatui-monochrome"} <= set(themes)
    assert not themes["numatui-light"].dark
    assert all(int(theme.variables["node-count"]) >= 8 for theme in themes.values())


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("- 1", "must be a mapping"),
        ("dark: true", "own.yaml:1: file: the key 'background' is missing"),
        ("{", "is not YAML"),
        ("colour: '#ffffff'", "own.yaml:1: colour: unknown key 'colour'"),
    ],
)
def test_a_broken_theme_names_the_file_and_what_is_wrong(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ParseError) as caught:
        theming.load(path)
    assert part in str(caught.value)
    assert "own.yaml" in str(caught.value)
    with pytest.raises(NotFound):
        theming.load(tmp_path / "none.yaml")


def test_speeds_step_up_and_down_and_stop_at_the_ends() -> None:
    assert other_speed(1.0, 1) == 2.0
    assert other_speed(1.0, -1) == 0.5
    assert other_speed(SPEEDS[-1], 1) == SPEEDS[-1]
    assert other_speed(SPEEDS[0], -1) == SPEEDS[0]


class _Throughput:
    def __init__(self, raw: bytes | None) -> None:
        self.raw = raw

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        if self.raw is None:
            raise FileNotFoundError(path)
        return self.raw


def throughput(raw: bytes | None) -> dict[int, float] | None:
    return read_throughput(_Throughput(raw))  # type: ignore[arg-type]


unread = st.sampled_from([b"", b"7", b"x 5", b"7 x", b"7.5 1", b"\xff 1", b"7 \xff", b"- 1"])
unread |= st.binary(max_size=20).filter(lambda line: not any(char in line for char in b"0123456789\n"))
"""Lines without a pid and a number."""


@given(st.lists(st.tuples(st.integers(1, 1 << 22), st.floats(-1e9, 1e12)) | unread, max_size=8))
def test_lines_of_throughput_are_read_and_others_left_out(lines: list[tuple[int, float] | bytes]) -> None:
    raw = b"\n".join(line if isinstance(line, bytes) else f"{line[0]} {line[1]!r}".encode() for line in lines)
    assert throughput(raw) == {line[0]: max(0.0, line[1]) for line in lines if not isinstance(line, bytes)}


@given(st.binary(max_size=200) | st.sampled_from([b"7 nan", b"7 -inf", b"7 -1e999"]))
def test_throughput_of_any_form_is_never_negative_or_no_number(raw: bytes) -> None:
    assert all(rate >= 0 for rate in (throughput(raw) or {}).values())


def test_without_the_file_there_is_no_throughput() -> None:
    assert throughput(None) is None
    assert throughput(b"") == {}


async def test_with_ascii_only_nothing_else_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.tui.driver import driving

    monkeypatch.setenv("NUMATUI_ASCII", "1")
    async with driving(size=(100, 30)) as app:
        await app.press("right", "t")
        assert app.text().isascii()
        await app.press("t", "v", "enter", "f2")
        scrollbars = str.maketrans("▁▂▃▄▅▆▇█", "########")
        assert app.text().translate(scrollbars).isascii()
        await app.press("escape", "slash", *"train", "enter", "m")
        await app.until(lambda: "pages" in app.text())
        assert app.text().translate(scrollbars).isascii()
