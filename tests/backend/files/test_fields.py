"""Records that anybody may have written: whatever value stands in a field, it is of the kind asked for or an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.files.fields import MAX_INTEGER, Fields, integer, items, text

scalars = st.one_of(
    st.none(), st.booleans(), st.text(max_size=8), st.floats(), st.integers(),
    st.integers(-(10**400), 10**400),
    st.sampled_from([0, 1, -1, 0.0, 1.0, -0.0, MAX_INTEGER, MAX_INTEGER + 1, float(MAX_INTEGER), 10**400, -(10**400)]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "at", ""]), inner, max_size=3),
    max_leaves=6,
)
"""All that json.loads() returns, with NaN, infinities and integers of any length."""
CHOICES = ("done", "partly", "1")


def record(value: object) -> Fields:
    """With the value in the field `at`, as it comes out of a file."""
    return Fields(json.loads(json.dumps({"at": value})))


def same(one: object, other: object) -> bool:
    """Also of one type, and NaN with NaN."""
    return repr(one) == repr(other)


METHODS: dict[str, tuple[Callable[[Fields], Callable[[str], Any]], Callable[[Any], bool]]] = {
    "integer": (lambda fields: fields.integer, lambda value: type(value) is int and 0 <= value <= MAX_INTEGER),
    "number": (
        lambda fields: fields.number,
        lambda value: type(value) in (int, float) and 0 <= value <= float(MAX_INTEGER),
    ),
    "truth": (lambda fields: fields.truth, lambda value: type(value) is bool),
    "text": (lambda fields: fields.text, lambda value: type(value) is str),
    "choice": (lambda fields: lambda key: fields.choice(key, CHOICES), lambda value: value in CHOICES),
    "items": (lambda fields: fields.items, lambda value: type(value) is list),
    "object": (lambda fields: fields.object, lambda value: type(value) is dict),
}
"""How a field is read, and which values it may have."""


@pytest.mark.parametrize("name", METHODS)
@given(value=values)
def test_a_value_of_the_kind_is_returned_and_any_other_is_an_error_that_names_the_field(name: str, value: Any) -> None:
    method, right = METHODS[name]
    fields = record(value)
    if right(value):
        found = method(fields)("at")
        expected = float(value) if name == "number" else value
        assert same(found.raw if isinstance(found, Fields) else found, expected)
    else:
        with pytest.raises(ValueError, match=r"(?s)record\.at is"):
            method(fields)("at")


@pytest.mark.parametrize("name", METHODS)
def test_a_field_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=r"record\.at is missing"):
        METHODS[name][0](Fields({"other": 1}))("at")


@given(values)
def test_what_is_not_an_object_has_no_fields(value: Any) -> None:
    if isinstance(value, dict):
        assert all(key in Fields(value, "head") for key in value)
        assert "nowhere" not in Fields(value, "head")
    else:
        with pytest.raises(ValueError, match="the head is not a JSON object"):
            Fields(value, "head")


@pytest.mark.parametrize(
    ("value", "whole", "number"),
    [
        (True, False, False), (False, False, False), (1, True, True), (1.0, False, True), (float("nan"), False, False),
        (float("inf"), False, False), (-1, False, False), (-0.5, False, False), (MAX_INTEGER, True, True),
        (MAX_INTEGER + 1, False, True), (MAX_INTEGER + 2, False, False), (10**400, False, False), ("1", False, False),
        (None, False, False),
    ],
)  # fmt: skip
def test_numbers_at_the_edges(value: object, whole: bool, number: bool) -> None:
    for right, read, kind in ((whole, record(value).integer, int), (number, record(value).number, float)):
        if right:
            assert same(read("at"), kind(value))  # type: ignore[call-overload]
        else:
            with pytest.raises(ValueError, match="number from 0 to"):
                read("at")


@given(st.integers(-100, 100), st.integers(-100, 100), st.integers(-150, 150))
def test_a_number_is_within_its_bounds_or_an_error_that_tells_them(low: int, high: int, value: int) -> None:
    for read in (record(value).integer, record(value).number):
        if low <= value <= high:
            assert read("at", low, high) == value
        else:
            with pytest.raises(ValueError, match=f"number from {low} to {high}$"):
                read("at", low, high)


@given(values, st.sampled_from(["integer", "number", "truth", "text", "items"]))
def test_a_default_stands_for_what_is_missing_and_only_either_takes_it_for_what_is_wrong(value: Any, name: str) -> None:
    method, right = METHODS[name]
    missing, fields = Fields({}), record(value)
    default = object()
    assert missing.get("at", method(missing), default) is default
    assert missing.either("at", method(missing), default) is default
    if right(value):
        assert same(fields.get("at", method(fields), default), method(fields)("at"))
        assert same(fields.either("at", method(fields), default), method(fields)("at"))
    else:
        assert fields.either("at", method(fields), default) is default
        with pytest.raises(ValueError, match=r"record\.at is"):
            fields.get("at", method(fields), default)


@given(st.lists(values, max_size=5))
def test_a_list_of_objects_is_read_up_to_the_first_that_is_none(value: list[Any]) -> None:
    wrong = next((number for number, one in enumerate(value) if not isinstance(one, dict)), len(value))
    objects = record(value).objects("at")
    found = [next(objects) for _ in range(wrong)]
    assert same([one.raw for one in found], value[:wrong])
    assert [one.name for one in found] == [f"record.at[{number}]" for number in range(wrong)]
    if wrong == len(value):
        assert list(objects) == []
    else:
        with pytest.raises(ValueError, match=rf"the record\.at\[{wrong}\] is not a JSON object"):
            next(objects)


def test_an_error_inside_names_the_whole_way() -> None:
    fields = Fields({"moves": [{"from": {"node": 1}}, {"from": {"node": True}}]}, "head")
    first, second = fields.objects("moves")
    assert first.object("from").integer("node") == 1
    with pytest.raises(ValueError, match=r"head\.moves\[1\]\.from\.node is not a whole number"):
        second.object("from").integer("node")


@given(values, st.none() | st.integers(0, 3))
def test_values_outside_of_objects_are_read_alike(value: Any, length: int | None) -> None:
    parsers = (
        (lambda: integer(value, "page", 1, 5), type(value) is int and 1 <= value <= 5),
        (lambda: text(value, "page"), type(value) is str),
        (lambda: items(value, "page", length), type(value) is list and length in (None, len(value))),
    )
    for parse, right in parsers:
        if right:
            assert parse() is value
        else:
            with pytest.raises(ValueError, match="page is not"):
                parse()
