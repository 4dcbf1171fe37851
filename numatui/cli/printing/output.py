"""Prints for all commands: a table for people, JSON with a schema name, CSV. Makes names harmless for a terminal."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeVar

import typer

from backend.errors import UsageError
from backend.files.text import printable
from numatui import format
from numatui.cli.printing.layout import Layout, Quiet, current
from numatui.format import duration, exact, percent

__all__ = [
    "Csv",
    "Json",
    "Layout",
    "Quiet",
    "cut",
    "duration",
    "exact",
    "failure",
    "note",
    "percent",
    "print_csv",
    "print_csv_of",
    "print_error",
    "print_json",
    "print_table",
    "printable",
    "short",
    "size",
]


T = TypeVar("T")


def _one_format(context: typer.Context, parameter: typer.CallbackParam, chosen: bool) -> bool:
    """Raises UsageError for --json and --csv together."""
    if chosen and context.meta.setdefault("numatui.format", parameter.name) != parameter.name:
        raise UsageError("--json and --csv exclude each other", "give one of them")
    return chosen


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.", callback=_one_format)]
Csv = Annotated[bool, typer.Option("--csv", help="Print comma-separated values.", callback=_one_format)]


def print_json(schema: str, document: dict[str, Any], line: bool = False) -> None:
    """One document (numatui/schemas has the schema), ASCII only, so that nothing in it can reach a terminal as an
    escape. `line`: on one line."""
    json.dump({"schema": f"numatui/{schema}/1", **document}, sys.stdout, indent=None if line else 1, default=str)
    sys.stdout.write("\n")


def print_error(code: int, what: str, fix: str) -> None:
    """Schema numatui/error/1. `why` is what stands in brackets at the end of `what`, as for every error here."""
    reason = _WHY.search(what)
    print_json(
        "error",
        {
            "code": code,
            "what": printable(what[: reason.start()] if reason else what, 2000),
            "why": printable(reason[1], 2000) if reason else None,
            "fix": printable(fix, 2000) or None,
        },
    )


_WHY = re.compile(r" \(([^()]+(?:\([^()]*\))?)\)$")


def print_csv(columns: Sequence[str], rows: Sequence[Sequence[object]], heading: bool = True) -> None:
    """Values as commas separate them. `heading`: with the names of the columns."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    chosen = current().chosen(columns)
    if heading and not current().no_header:
        writer.writerow([columns[at] for at in chosen])
    for row in rows:
        writer.writerow([_cell(row[at]) for at in chosen])


def _cell(value: object) -> object:
    """Text is harmless for a terminal, and no formula for a spreadsheet: those begin with one of these signs."""
    if not isinstance(value, str):
        return value
    text = printable(value, 4096)
    return f"'{text}" if text[:1] in _FORMULA else text


_FORMULA = ("=", "+", "-", "@")


def print_csv_of(
    documents: Sequence[dict[str, Any]], nodes: Iterable[int] = (), heading: dict[str, Any] | None = None
) -> None:
    """Documents as rows. A field of a nested document is named `outer.inner` (`before.0`); a list becomes words.
    Columns are all fields of all documents, or of `heading` if there are none; `before`, `after` and `left`, if by
    node, have one for each of `nodes`."""
    ids = [str(node) for node in nodes]
    flat = [_flat(_by_node(one, ids) if ids else one) for one in documents or ([heading] if heading else [])]
    columns = list(dict.fromkeys(name for one in flat for name in one))
    print_csv(columns, [[one.get(name, "") for name in columns] for one in (flat if documents else ())])


def _by_node(document: dict[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    out = dict(document)
    for name in _NODE_MAPS & document.keys():
        amounts = document[name]
        if not amounts or all(map(str.isdigit, amounts)):
            out[name] = {node: "" if amounts is None else amounts.get(node, 0) for node in ids}
    return out


_NODE_MAPS = {"before", "after", "left"}


def _flat(document: dict[str, Any], before: str = "") -> dict[str, object]:
    out: dict[str, object] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{before}{name}.")
        elif isinstance(value, list | tuple):
            out[before + name] = " ".join(
                " ".join(map(str, one.values())) if isinstance(one, dict) else str(one) for one in value
            )
        else:
            out[before + name] = "" if value is None else value
    return out


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    flexible: int | None = None,
    below: Sequence[str] = (),
    aside: bool = False,
) -> None:
    """Plain columns, as wide as their contents; a name that starts with `>` aligns its column to the right. On a
    terminal the column `flexible` is cut to fit its width. `below`: a line under each row. `aside`: a table beside the
    command's own, which always has all of its columns and headings."""
    layout = Layout() if aside else current()
    chosen = layout.chosen([column.removeprefix(">") for column in columns])
    flexible = chosen.index(flexible) if flexible in chosen and not current().wide else None
    names = [columns[at].removeprefix(">") for at in chosen]
    right = [columns[at].startswith(">") for at in chosen]
    cells = [names, *[[printable(row[at], 4096) for at in chosen] for row in rows]]
    first = -1
    if layout.no_header:
        first = 0
        del cells[0]
    if not cells:
        return
    widths = [max(_width(row[index]) for row in cells) for index in range(len(names))]
    if flexible is not None and sys.stdout.isatty():
        import shutil

        room = shutil.get_terminal_size().columns - sum(widths) - 2 * (len(widths) - 1) + widths[flexible]
        widths[flexible] = max(8, min(widths[flexible], room))
    for number, row in enumerate(cells, first):
        parts = [_fit(cell, width, to_right) for cell, width, to_right in zip(row, widths, right, strict=True)]
        sys.stdout.write("  ".join(parts).rstrip() + "\n")
        if 0 <= number < len(below):
            sys.stdout.write(f"  {printable(below[number], 4096)}\n")


def cut(rows: Iterable[T]) -> list[T]:
    """The rows that are printed (--limit, --reverse)."""
    return current().cut(rows)


def size(amount: float | None) -> str:
    """Bytes for people; all digits with --bytes."""
    return f"{amount:.0f}" if current().in_bytes and amount is not None else format.size(amount)


def short(text: str, width: int) -> str:
    """A name, cut to so many characters unless --wide, and harmless."""
    return printable(text, 4096 if current().wide else width)


def note(text: str) -> None:
    """A line for people beside the output, on stderr; none with --quiet."""
    if not current().quiet:
        sys.stdout.flush()  # what came before stands before it, where both go to one file
        sys.stderr.write(printable(text, 2000) + "\n")


def failure(text: object) -> None:
    """What went wrong although the command went on: a line on stderr, always."""
    sys.stdout.flush()
    sys.stderr.write(f"numatui: {printable(str(text), 2000)}\n")


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _fit(text: str, width: int, right: bool) -> str:
    have = _width(text)
    if have > width:
        from rich.cells import set_cell_size

        return set_cell_size(text, width - 1) + "…"
    pad = " " * (width - have)
    return pad + text if right else text + pad
