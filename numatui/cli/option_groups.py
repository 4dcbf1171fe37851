"""Options that several commands share: a dataclass whose fields are options. A command takes it as one parameter."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def expanded(command: Callable[..., Any]) -> Callable[..., Any]:
    """A function for typer: it has the fields of each group as parameters, after the command's own, and calls the
    command with the groups made of them. A group with a method `begin` is told before the command runs, and its `end`
    afterwards."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    shared: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for parameter in inspect.signature(command).parameters.values():
        hint = hints.get(parameter.name, parameter.annotation)
        if isinstance(hint, type) and is_dataclass(hint):
            groups[parameter.name] = hint
            own = get_type_hints(hint, include_extras=True)
            shared += [
                inspect.Parameter(one.name, parameter.KEYWORD_ONLY, default=one.default, annotation=own[one.name])
                for one in fields(hint)
            ]
        else:
            parameters.append(parameter.replace(annotation=hint, kind=parameter.KEYWORD_ONLY))
    if not groups:
        return command
    parameters += shared

    @wraps(command)
    def run(**values: Any) -> Any:
        made = {
            name: group(**{one.name: values.pop(one.name) for one in fields(group)}) for name, group in groups.items()
        }
        begun = [one for one in made.values() if hasattr(one, "begin")]
        try:
            for one in begun:
                one.begin()
            return command(**values, **made)
        finally:
            for one in begun:
                one.end()

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run
