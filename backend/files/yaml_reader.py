"""Reading YAML with the place of every value, so that errors can name file, line and key. Nothing is ever constructed
but text, numbers, truth values, lists and mappings; anchors and aliases are refused."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn, TypeVar, cast

import yaml

from backend.errors import ParseError
from backend.files.text import printable
from backend.files.units import parse_seconds, parse_size

T = TypeVar("T")
U = TypeVar("U")
MAX_BYTES = 8 << 20
MAX_SECONDS = 86_400.0
"""No time is longer: a day."""
_LONGEST_LINE = 4096
"""Characters of an error, and of what fixes it."""
_LOADER: type[yaml.BaseLoader] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class Keys(dict[str, "Value"]):
    """The values of a mapping by their keys."""

    def read(self, key: str, parse: Callable[[Value], T], default: U) -> T | U:
        """The value of a key, parsed; `default` where it is not given."""
        return parse(self[key]) if key in self else default


@dataclass(frozen=True, slots=True)
class Value:
    """A YAML node with its place. `key` is its path: `processes[0].memory[1].size`."""

    file: str
    key: str
    node: yaml.Node

    @property
    def place(self) -> str:
        """`FILE:LINE: KEY`."""
        return f"{self.file}:{self.node.start_mark.line + 1}: {self.key or 'file'}"

    def fail(self, what: str, fix: str = "") -> NoReturn:
        """ParseError naming file, line and key: one visible line, whatever names of the file are in it."""
        raise ParseError(printable(f"{self.place}: {what}", _LONGEST_LINE), printable(fix, _LONGEST_LINE))

    def mapping(self, allowed: tuple[str, ...], required: tuple[str, ...] = ()) -> Keys:
        """Its values by key. Unknown, repeated and missing keys are errors."""
        out = Keys()
        for key, value in self.pairs():
            if key not in allowed:
                value.fail(f"unknown key '{printable(key, 40)}'", f"known here: {', '.join(allowed)}")
            out[key] = value
        for key in required:
            if key not in out:
                self.fail(f"the key '{key}' is missing")
        return out

    def pairs(self) -> Iterator[tuple[str, Value]]:
        """Keys as text, with their values."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fail("must be a mapping (key: value)")
        seen: set[str] = set()
        for key_node, value_node in self.node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            value = Value(self.file, f"{self.key}.{printable(key, 40)}".lstrip("."), value_node)
            if key in seen:
                value.fail("is given twice")
            seen.add(key)
            yield key, value

    def items(self) -> list[Value]:
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail("must be a list")
        return [Value(self.file, f"{self.key}[{number}]", node) for number, node in enumerate(self.node.value)]

    def text(self, limit: int = 4096) -> str:
        if not isinstance(self.node, yaml.ScalarNode):
            self.fail("must be text")
        text = str(self.node.value)
        if len(text) > limit:
            self.fail(f"is longer than {limit} characters")
        return text

    def integer(self, low: int = 0, high: int = 1 << 40) -> int:
        text = self.text()
        if not re.fullmatch(r"-?\d{1,15}", text) or not low <= int(text) <= high:
            self.fail(f"'{printable(text, 40)}' must be a number from {low} to {high}")
        return int(text)

    def truth(self) -> bool:
        text = self.text().lower()
        if text not in ("true", "false", "on", "off", "yes", "no"):
            self.fail(f"'{printable(text, 40)}' must be true or false")
        return text in ("true", "on", "yes")

    def size(self) -> int:
        """Bytes: 4096, 64KiB, 16 GiB."""
        return self._measured(parse_size)

    def seconds(self) -> float:
        """Seconds: 1s, 500ms, 2.5."""
        seconds = self._measured(parse_seconds)
        if seconds > MAX_SECONDS:
            self.fail(f"'{printable(self.text(), 40)}' is more than a day", "nothing here takes longer")
        return seconds

    def _measured(self, parse: Callable[[str], T]) -> T:
        """A size or a time; its error says what the text was."""
        try:
            return parse(self.text())
        except ValueError as exc:
            what, _, fix = str(exc).partition(": ")
            self.fail(f"'{printable(self.text(), 40)}' {what}", fix)

    def period(self) -> float:
        """Seconds between two rounds of something: 0 for never, else at least a millisecond."""
        seconds = self.seconds()
        if 0 < seconds < 1e-3:
            self.fail("is too often", "write 0 for never, or at least 1ms")
        return seconds

    def share(self) -> float:
        """A part of the whole, 0 to 1: 80% or 0.8."""
        match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)\s*(%?)", self.text().strip())
        value = float(match[1]) / (100 if match[2] else 1) if match else -1.0
        if not 0 <= value <= 1:
            self.fail(f"'{printable(self.text(), 40)}' is not a share", "write it like 80%")
        return value

    def through(self, parse: Callable[[str], T]) -> T:
        """Parsed by another grammar; its error gets this place."""
        try:
            return parse(self.text())
        except ValueError as exc:
            self.fail(str(exc))
        except Exception as exc:
            what, fix = getattr(exc, "what", None), getattr(exc, "fix", "")
            if what is None:
                raise
            self.fail(str(what), str(fix))


def number_key(key: str) -> int | None:
    """A key that is a node or a uid; None for other text."""
    return int(key) if re.fullmatch(r"[0-9]{1,10}", key) else None


@contextmanager
def uncollected() -> Generator[None, None, None]:
    """Without the cyclic garbage collector, which would look through a large document's nodes again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class EmptyFile(ParseError):
    """Nothing but comments and white space."""


def parse_yaml(text: str, file: str) -> Value:
    """The document's root. Raises ParseError: not YAML, too large, anchors or aliases, nested too deeply; EmptyFile."""
    if len(text) > MAX_BYTES:
        raise ParseError(f"{file}: larger than {MAX_BYTES >> 20} MiB", "no such file is that large")
    try:
        for event in _events(text):
            if getattr(event, "anchor", None) is not None:
                line = event.start_mark.line + 1
                raise ParseError(f"{file}:{line}: anchors and aliases are not allowed", "write the value out")
        root = _root(text)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ParseError(f"{file}{line}: this is not YAML: {printable(exc.problem or 'malformed', 100)}") from None
    except yaml.YAMLError as exc:
        raise ParseError(f"{file}: this is not YAML: {printable(str(exc), 100)}") from None
    except RecursionError:
        raise ParseError(f"{file}: nested too deeply") from None
    if root is None:
        raise EmptyFile(f"{file}: the file is empty")
    return Value(file, "", root)


def _events(text: str) -> Iterator[yaml.Event]:
    return cast("Iterator[yaml.Event]", yaml.parse(text, Loader=_LOADER))  # pyright: ignore[reportUnknownMemberType]


def _root(text: str) -> yaml.Node | None:
    return cast("yaml.Node | None", yaml.compose(text, Loader=_LOADER))  # pyright: ignore[reportUnknownMemberType]
