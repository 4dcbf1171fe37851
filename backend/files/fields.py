"""Reading records that anybody may have written: JSON objects field by field, nothing believed unread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

T = TypeVar("T")
U = TypeVar("U")
C = TypeVar("C", bound=str)
MAX_INTEGER = (1 << 64) - 1


class Fields:
    """One JSON object. All methods raise ValueError that names the field: it is missing, of another kind, or out of
    range."""

    def __init__(self, raw: object, name: str = "record") -> None:
        if not isinstance(raw, dict):
            raise ValueError(f"the {name} is not a JSON object")
        self.name = name
        self.raw = cast(dict[str, Any], raw)

    def __contains__(self, key: str) -> bool:
        return key in self.raw

    def get(self, key: str, parse: Callable[[str], T], default: U) -> T | U:
        """The field by one of the methods below; `default` where it is missing."""
        return parse(key) if key in self.raw else default

    def either(self, key: str, parse: Callable[[str], T], default: U) -> T | U:
        """The same; `default` also where the field is wrong."""
        try:
            return self.get(key, parse, default)
        except ValueError:
            return default

    def integer(self, key: str, low: int = 0, high: int = MAX_INTEGER) -> int:
        return integer(self._value(key), f"{self.name}.{key}", low, high)

    def number(self, key: str, low: float = 0.0, high: float = float(MAX_INTEGER)) -> float:
        value = self._value(key)
        # bool is an int to Python, and JSON's NaN is in no range
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"{self.name}.{key} is not a number from {low:g} to {high:g}")
        return float(value)

    def truth(self, key: str) -> bool:
        value = self._value(key)
        if not isinstance(value, bool):
            raise ValueError(f"{self.name}.{key} is neither true nor false")
        return value

    def text(self, key: str) -> str:
        return text(self._value(key), f"{self.name}.{key}")

    def choice(self, key: str, among: Sequence[C]) -> C:
        value = self._value(key)
        for one in among:
            if value == one:
                return one
        raise ValueError(f"{self.name}.{key} is not one of {', '.join(among)}")

    def items(self, key: str) -> list[Any]:
        return items(self._value(key), f"{self.name}.{key}")

    def object(self, key: str) -> Fields:
        return Fields(self._value(key), f"{self.name}.{key}")

    def objects(self, key: str) -> Iterator[Fields]:
        """A list of objects."""
        for number, one in enumerate(self.items(key)):
            yield Fields(one, f"{self.name}.{key}[{number}]")

    def _value(self, key: str) -> Any:
        if key not in self.raw:
            raise ValueError(f"{self.name}.{key} is missing")
        return self.raw[key]


def integer(value: object, name: str, low: int = 0, high: int = MAX_INTEGER) -> int:
    """Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} is not a whole number from {low} to {high}")
    return value


def text(value: object, name: str) -> str:
    """Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    return value


def items(value: object, name: str, length: int | None = None) -> list[Any]:
    """A list, of so many where `length` says so. Raises ValueError."""
    if not isinstance(value, list) or (length is not None and len(cast(list[Any], value)) != length):
        raise ValueError(f"{name} is not a list" + ("" if length is None else f" of {length}"))
    return cast(list[Any], value)
