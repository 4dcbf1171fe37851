"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `text` says what it means, `fix` what to do about it (empty when ok)."""

    name: str
    state: State
    text: str
    fix: str = ""
