"""Carries out what was announced on many hosts: recorded before, a few hosts at a time, ended by the first surprise."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.errors import describe_oserror
from backend.fleet.move import Done, Roll, Told
from backend.fleet.reach import Answer, ask_all
from backend.fleet.record import Moved, Record
from backend.kernel import Kernel

_FOREVER = float("inf")
GRACE = 30.0
"""Seconds that a host has after a cancel, beside its longest call, to say what became of it."""

Move = Callable[[Kernel, str, threading.Event], Done | None]
"""Moves on one host, by its name; None: nothing is left to do there."""


@dataclass(frozen=True, slots=True)
class Task:
    """`hosts`: those with something to do. `title`: for the record. `undoes`: the fleet job that this takes back.
    `everywhere`: all hosts of the fleet were asked, and what they have to do is known. `call`: seconds of the longest
    call."""

    title: str
    sudo: bool
    hosts: Sequence[str]
    move: Move
    rolling: int = 1
    undoes: Moved | None = None
    everywhere: bool = True
    call: float = 0.1


@dataclass(frozen=True, slots=True)
class Ended:
    """`name`: of the fleet job. `ends`: in the order of the hosts. `left`: hosts that were not asked. `fine`: all has
    gone as announced. `unwritten`: why the record is not whole, "" if it is."""

    name: str
    ends: dict[str, Answer[Done]]
    left: list[str]
    fine: bool
    unwritten: str = ""

    def complete(self, task: Task) -> bool:
        """Whether all of what another job has moved is back by this."""
        return (
            self.fine and not self.unwritten and task.undoes is not None and not task.undoes.unknown and task.everywhere
        )


def carry_out(
    task: Task,
    cancel: threading.Event,
    told: Callable[[Answer[Done]], None],
    begins: Callable[[Sequence[str]], None] = lambda _: None,
) -> Ended:
    """`begins`, `told`: hear of hosts as they begin and as each ends, in this thread. After `cancel` each host ends the
    call that it is in, and no other host is asked. Raises NumatuiError, OSError if no record can be begun; nothing was
    done then."""
    record = Record(task.title, task.sudo, task.undoes.name if task.undoes is not None else "")

    def ask(hosts: Sequence[str], ended: Told) -> list[Answer[Done]]:
        def both(one: Answer[Any]) -> None:
            ended(one)
            told(one)

        def there(kernel: Kernel) -> Done | None:
            return task.move(kernel, host_of(kernel), cancel)

        begins(hosts)
        answers: list[Answer[Any]] = ask_all(
            hosts, there, task.sudo, len(hosts), _FOREVER, both, cancel, GRACE + task.call
        )
        return answers

    roll = Roll(task.rolling, ask, record, cancel)
    try:
        ends = {one.host: one for one in roll.run(task.hosts)}
        left = [host for host in task.hosts if host not in ends]
        fine = not left and all(one.error is None and not (one.value and one.value.code) for one in ends.values())
        done = Ended(record.name, ends, left, fine)
        if done.complete(task):
            try:
                record.complete()
            except OSError as exc:
                roll.unwritten = exc
        if roll.unwritten is None:
            return done
        why = f"fleet job {record.name} cannot be recorded ({describe_oserror(roll.unwritten)})"
        return replace(done, fine=False, unwritten=why)
    finally:
        record.close()


def nothing_left(task: Task) -> None:
    """All of it is back already: says so in a record of its own."""
    if task.undoes is not None and not task.undoes.unknown and task.everywhere:
        record = Record(task.title, task.sudo, task.undoes.name)
        record.complete()
        record.close()


def host_of(kernel: Kernel) -> str:
    """As it was named."""
    return str(getattr(kernel, "reference", "")).removesuffix(" --sudo")
