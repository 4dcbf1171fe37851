"""Log of this session: each action with its time, shell command and result."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

MOST = 500  # actions kept; bounds memory in a long session


@dataclass
class Action:
    """`at`: seconds since 1970. `command`: empty if no shell command does the same (a demo ends with its screen).
    `result`: empty until the action has ended."""

    title: str
    command: str = ""
    result: str = ""
    at: float = field(default_factory=time.time)


class Actions:
    """The last `MOST` actions, oldest first."""

    def __init__(self) -> None:
        self.all = deque[Action](maxlen=MOST)

    def record(self, title: str, command: str = "", result: str = "") -> Action:
        """Adds an action. The caller may set `result` later."""
        action = Action(title, command, result)
        self.all.append(action)
        return action
