"""What the automatic mover is doing, in words, from the document of `watch --status`."""

from __future__ import annotations

import time
from typing import Any

from backend.files.text import printable
from numatui.cli.printing import output
from numatui.format import age


def state_of(document: dict[str, Any]) -> str:
    """`runs`, `only says`, `is at work` if it is not known which, `has stopped itself`, `not running`, `never`."""
    if not document["running"]:
        return "never" if document["at"] is None else "not running"
    if document["stopped"]:
        return "has stopped itself"
    return "is at work" if document["dry"] is None else "only says" if document["dry"] else "runs"


def in_words(document: dict[str, Any]) -> str:
    state = state_of(document)
    if state == "never":
        return "no numatui watch has run here, as this user"
    lines = [
        f"numatui watch {state}"
        + (f", for {age(max(0.0, time.time() - document['since']))}" if document["since"] else "")
    ]
    if document["policy"]:
        lines[0] += f", by {printable(document['policy'], 200)}"
    lines.append(f"{document['moves']} moves in the last day, {output.size(document['moved'])}")
    if document["stopped"]:
        lines.append(f"stopped: {printable(document['stopped'], 300)}")
    if document["at"]:
        ago = age(max(0.0, time.time() - document["at"]))
        lines.append(f"last: {printable(document['event'], 40)} {ago} ago  {printable(document['text'], 300)}".rstrip())
    return "\n".join(lines)
