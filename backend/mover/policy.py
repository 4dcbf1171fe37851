"""The policy of the automatic mover: a YAML file that says which processes it may move, when, how much, and when to
stop."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from backend.advice.advice import CONFIDENCES, Confidence
from backend.errors import ParseError
from backend.files.given_file import read_trusted, unreadable
from backend.files.yaml_reader import EmptyFile, Keys, Value, parse_yaml
from backend.kernel import Kernel
from backend.mover.rule import Rule, read_rule
from backend.process.process import Process

# Size of a policy file.
_MOST_BYTES = 1 << 20
# Characters of an argument of after_move.
_MOST_ARGUMENT = 4096
# Seconds.
_LONGEST_STALL = 1.0
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)\Z")


@dataclass(frozen=True, slots=True)
class Hours:
    """A span in minutes of the day, [since, to). It passes midnight if `to` is before `since`."""

    since: int
    to: int

    def include(self, minute: int) -> bool:
        if self.since <= self.to:
            return self.since <= minute < self.to
        return minute >= self.since or minute < self.to


@dataclass(frozen=True, slots=True)
class Policy:
    """Times in seconds, sizes in bytes.

    `interval`: between two readings. `settle`: how long a process must have run at its present place. `confidence`,
    `min_gain`, `min_size`: least values of the advice. `readings`: consecutive readings that must advise the same
    targets. `cooldown`: rest of a process after an attempt; it doubles each time the process is tried again soon after.
    `max_per_round`: processes. `max_per_hour`: bytes. `max_rate`: bytes per second, 0 for no limit. `max_stall`:
    longest call. `workers`: threads. `quiet`: hours without moves. `allow`, `deny`: the processes it may move. An empty
    `allow` allows all; `deny` takes precedence. `stop_errors`: consecutive failures that end all moves until the policy
    is loaded again. `stop_pressure`: nothing moves if tasks wait for memory for at least this share of time.
    `heat`: processes are watched for what they use, and only that moves. `after_move`: program and arguments that are
    run after each move (`mover.after_move`)."""

    interval: float = 10.0
    settle: float = 30.0
    confidence: Confidence = "medium"
    min_gain: float = 1.1
    min_size: int = 16 << 20
    readings: int = 3
    cooldown: float = 600.0
    max_per_round: int = 4
    max_per_hour: int = 16 << 30
    max_rate: int = 256 << 20
    max_stall: float = 0.02
    workers: int = 1
    quiet: tuple[Hours, ...] = ()
    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    stop_errors: int = 3
    stop_pressure: float = 0.1
    after_move: tuple[str, ...] = ()
    heat: bool = False

    def may_move(self, kernel: Kernel, process: Process) -> bool:
        """What the kernel does not tell of a process is taken against it."""
        if any(rule.fits(kernel, process, unknown=True) for rule in self.deny):
            return False
        return not self.allow or any(rule.fits(kernel, process) for rule in self.allow)

    def is_quiet(self, wall: float) -> bool:
        """`wall`: seconds since 1970. Hours are in local time."""
        now = time.localtime(wall)
        return any(hours.include(now.tm_hour * 60 + now.tm_min) for hours in self.quiet)


KEYS = (*(one.name for one in fields(Policy) if not one.name.startswith("stop_")), "stop")


def load_policy(path: Path) -> Policy:
    """Raises NotFound, ParseError; Untrusted if another user could change the file, or a folder above it."""
    try:
        raw = read_trusted(path, _MOST_BYTES)
    except OSError as exc:
        raise unreadable(f"the policy {path}", exc, "name a YAML file, a small one") from None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ParseError(f"the policy {path} is not UTF-8 text") from None
    return parse_policy(text, str(path))


def parse_policy(text: str, file: str = "policy") -> Policy:
    """An empty file is the defaults. Raises ParseError, which names file, line and key."""
    try:
        found = parse_yaml(text, file).mapping(KEYS)
    except EmptyFile:
        return Policy()
    usual = Policy()

    def get(name: str) -> Value | None:
        return found.get(name)

    def seconds(name: str, least: float) -> float:
        value = get(name)
        if value is None:
            return getattr(usual, name)
        amount = value.seconds()
        return amount if amount >= least else value.fail(f"must be at least {least:g}s")

    def whole(name: str, low: int, high: int) -> int:
        value = get(name)
        return getattr(usual, name) if value is None else value.integer(low, high)

    def size(name: str) -> int:
        value = get(name)
        return getattr(usual, name) if value is None else value.size()

    stop = found["stop"].mapping(("errors", "pressure")) if "stop" in found else Keys()
    return Policy(
        interval=seconds("interval", 0.1),
        settle=seconds("settle", 0.0),
        confidence=_confidence(get("confidence")),
        min_gain=_gain(get("min_gain")),
        min_size=size("min_size"),
        readings=whole("readings", 1, 1000),
        cooldown=seconds("cooldown", 0.0),
        max_per_round=whole("max_per_round", 1, 100_000),
        max_per_hour=size("max_per_hour"),
        max_rate=size("max_rate"),
        max_stall=_stall(get("max_stall"), seconds("max_stall", 0.0001)),
        workers=whole("workers", 1, 64),
        quiet=tuple(_hours(one) for one in _list(get("quiet"))),
        allow=_allowed(get("allow")),
        deny=tuple(read_rule(one) for one in _list(get("deny"))),
        after_move=_program(get("after_move")),
        heat="heat" in found and found["heat"].truth(),
        stop_errors=stop.read("errors", lambda value: value.integer(1, 1000), usual.stop_errors),
        stop_pressure=stop.read("pressure", Value.share, usual.stop_pressure),
    )


def _list(value: Value | None) -> Iterable[Value]:
    return () if value is None else value.items()


def _stall(value: Value | None, stall: float) -> float:
    return (
        stall if value is None or stall <= _LONGEST_STALL else value.fail("is more than a second", "write it like 20ms")
    )


def _allowed(value: Value | None) -> tuple[Rule, ...]:
    """Rejects an empty list: it looks like nobody, and would allow everybody."""
    rules = tuple(read_rule(one) for one in _list(value))
    return rules if rules or value is None else value.fail("is empty", "leave it out to allow all; deny goes before it")


def _program(value: Value | None) -> tuple[str, ...]:
    argv = tuple(one.text(_MOST_ARGUMENT) for one in _list(value))
    if value is not None and not (argv and argv[0].startswith("/")):
        value.fail("is no program with its arguments", 'write it like ["/usr/local/bin/tell", "--room", "db"]')
    return argv


def _confidence(value: Value | None) -> Confidence:
    if value is None:
        return Policy().confidence
    text = value.text()
    found: list[Confidence] = [one for one in CONFIDENCES if one == text]
    return found[0] if found else value.fail(f"must be one of {', '.join(CONFIDENCES)}")


def _gain(value: Value | None) -> float:
    if value is None:
        return Policy().min_gain
    if not re.fullmatch(r"\d{1,3}(?:\.\d{1,4})?", value.text()) or float(value.text()) < 1:
        value.fail("must be a number of at least 1", "1.2: an access has to cost 1.2 times less afterwards")
    return float(value.text())


def _hours(value: Value) -> Hours:
    match = _HOURS.match(value.text())
    if match is None:
        value.fail("is not a span of hours", "write it like 08:00-18:30, in quotes")
    since, to = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    return Hours(since, to) if since != to else value.fail("begins when it ends", "leave it out, or write 00:00-23:59")
