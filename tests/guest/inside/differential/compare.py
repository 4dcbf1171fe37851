"""Where two machines part that played the same sequence."""

from __future__ import annotations

import json
from typing import Any

from tests.guest.inside.differential.play import Answer
from tests.guest.inside.differential.sequence import Step


def difference(steps: list[Step], real: list[Answer], emulated: list[Answer]) -> str:
    """The first step after which results or places differ, with what led there; nothing if none does."""
    there: Any = None
    here: Any = None
    for number, (one, other) in enumerate(zip(real, emulated, strict=True)):
        before, there, here = there, one[1] or there, other[1] or here
        if one[0] != other[0] or there != here:
            lines = [json.dumps(step) for step in steps[: number + 1]]
            if one[0] != other[0]:
                lines += ["answers:", f"  Linux     {one[0]}", f"  emulator  {other[0]}"]
            return "\n".join([*lines, *_places(before, there, here)])
    return ""


def _places(before: Any, there: Any, here: Any) -> list[str]:
    lines: list[str] = []
    for name in sorted({*there, *here}):
        for region in sorted({*there.get(name, {}), *here.get(name, {})}):
            found = [one.get(name, {}).get(region) for one in (before or {}, there, here)]
            if found[1] != found[2]:
                lines += [f"{name}, region {region}:"]
                lines += [
                    f"  {word:<9} {one}" for word, one in zip(("before", "Linux", "emulator"), found, strict=True)
                ]
    return lines
