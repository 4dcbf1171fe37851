"""What was done in this session: when, with which command it can be done again, and how it ended."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

MOST = 500


@dataclass
class Action:
    """`at`: seconds since 1970; `command`: empty where a shell could not do the same (demos end with their screen);
    `result`: empty while it is under way."""

    title: str
    command: str = ""
    result: str = ""
    at: float = field(default_factory=time.time)


class Actions:
    """The last of them, the oldest first."""

    def __init__(self) -> None:
        self.all = deque[Action](maxlen=MOST)

    def record(self, title: str, command: str = "", result: str = "") -> Action:
        """What is handed back can be given its result later."""
        action = Action(title, command, result)
        self.all.append(action)
        return action
