"""`numatui schema`: the JSON Schemas of what --json prints."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Annotated, Any

import typer

from backend.errors import NotFound
from numatui.cli.printing import output

COMMON = "common"


def schema(
    name: Annotated[
        str | None,
        typer.Argument(
            help="ps, nodes, migrate, … Without a name, all are listed.",
            autocompletion=lambda ctx, incomplete: [one for one in names() if one.startswith(incomplete)],
        ),
    ] = None,
) -> None:
    """Print the JSON Schema of a command's documents, with all definitions that it uses. The number at the end of a
    document's `schema` changes when a field is removed or changes its meaning; a new field does not change it.

    Example: numatui schema ps
    """
    if name is None:
        output.print_table(["NAME", "OF"], [[one, load(one)["description"]] for one in names()])
        return
    if name not in names():
        raise NotFound(f"there is no schema '{output.printable(name, 60)}'", "numatui schema lists them")
    print(json.dumps(bundled(name), indent=1))


def names() -> list[str]:
    """Names of all schemas."""
    found = (one.name.removesuffix(".json") for one in files("numatui").joinpath("schemas").iterdir())
    return sorted(name for name in found if name != COMMON)


def load(name: str) -> dict[str, Any]:
    return json.loads(files("numatui").joinpath("schemas", f"{name}.json").read_text(encoding="utf-8"))


def bundled(name: str) -> dict[str, Any]:
    """A schema together with the shared definitions that it refers to."""
    shared: dict[str, Any] = load(COMMON)["$defs"]
    used: dict[str, Any] = {}

    def inside(part: Any) -> Any:
        if isinstance(part, dict):
            reference = part.get("$ref", "")
            if reference.startswith(f"{COMMON}.json#/$defs/"):
                wanted = reference.rpartition("/")[2]
                if wanted not in used:
                    used[wanted] = {}
                    used[wanted] = inside(shared[wanted])
                return {**part, "$ref": f"#/$defs/{wanted}"}
            return {
                key: inside(value) for key, value in part.items() if key != "additionalProperties" or value is not False
            }
        return [inside(value) for value in part] if isinstance(part, list) else part

    whole = inside(load(name))
    return {**whole, "$defs": used} if used else whole
