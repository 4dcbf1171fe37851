"""Documents against the JSON Schemas of the package."""

from __future__ import annotations

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from numatui.cli.shell.schema import COMMON, load, names


@cache
def _validator(name: str) -> Draft202012Validator:
    registry = Registry().with_resource(f"{COMMON}.json", Resource.from_contents(load(COMMON)))
    return Draft202012Validator(load(name), registry=registry)


def check(document: dict[str, Any]) -> dict[str, Any]:
    """The document, when it is as its schema says; a field that the schema does not know is an error here."""
    owner, name, version = document["schema"].split("/")
    assert (owner, version) == ("numatui", "1")
    assert name in names(), f"there is no schema {name}"
    errors = [f"{error.json_path}: {error.message[:300]}" for error in _validator(name).iter_errors(document)]
    assert not errors, errors
    return document
