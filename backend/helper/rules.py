"""Who may do what: `/etc/numatui/helper.yaml`, which only root may write.

A request is allowed if one rule that names the caller allows all of it. What no rule allows is refused."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from backend.errors import NumatuiError, ParseError
from backend.files.given_file import read_trusted, unreadable
from backend.files.text import printable
from backend.files.yaml_reader import EmptyFile, Keys, Value, parse_yaml
from backend.helper.subject import Facts
from backend.nodeset import NodeSet

CONFIGURATION = Path("/etc/numatui/helper.yaml")
_MOST_BYTES = 1 << 20
_MOST_RULES = 200
_NOBODY = frozenset[int]()
_KEYS = ("users", "groups", "processes", "nodes", "rate", "move", "shared", "frames")


@dataclass(frozen=True, slots=True)
class Rule:
    """`users`, `groups`: numbers of those it names. `own`: their own processes. `everybody`: all processes. `of`: those
    of these users. `cgroups`: those in cgroups of these patterns, and below. `nodes`: to which pages may go; None: all.
    `rate`: bytes a second that one user may move; 0: no limit. `move`: not only look. `shared`: also pages that other
    processes map, whoever's they are. `frames`: also pagemap and the counters of frames."""

    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    own: bool = False
    everybody: bool = False
    of: frozenset[int] = frozenset()
    cgroups: tuple[str, ...] = ()
    nodes: NodeSet | None = None
    rate: int = 0
    move: bool = False
    shared: bool = False
    frames: bool = False
    text: str = ""

    def names(self, uid: int, gids: Collection[int]) -> bool:
        """Whether it is about this caller."""
        return uid in self.users or not self.groups.isdisjoint(gids)

    def covers(self, uid: int, facts: Facts) -> bool:
        """Whether it is about this process, for a caller of this uid."""
        if self.everybody or (self.own and facts.uid == uid) or facts.uid in self.of:
            return True
        return any(_within(facts.cgroup, pattern) for pattern in self.cgroups)


def _within(cgroup: str, pattern: str) -> bool:
    """Whether a path matches a pattern, or is below one that does. A star reaches over no slash."""
    names, parts = cgroup.split("/"), pattern.split("/")
    return len(names) >= len(parts) and all(map(fnmatchcase, names, parts))


@dataclass(frozen=True, slots=True)
class Rules:
    """In the order of the file."""

    rules: tuple[Rule, ...] = ()

    def of(self, uid: int, gids: Collection[int]) -> Rules:
        """Those that name this caller."""
        return Rules(tuple(one for one in self.rules if one.names(uid, gids)))

    def find(self, uid: int, facts: Facts, allows: Callable[[Rule], bool]) -> Rule | None:
        """The first one about this process that allows it."""
        return next((one for one in self.rules if one.covers(uid, facts) and allows(one)), None)

    def any(self, allows: Callable[[Rule], bool]) -> bool:
        """Whether one of them allows it, for some process."""
        return any(map(allows, self.rules))


def load_rules(path: Path = CONFIGURATION) -> Rules:
    """Raises NotFound, ParseError; Untrusted if anybody but root could change the file, or a folder above it."""
    try:
        raw = read_trusted(path, _MOST_BYTES)
    except OSError as exc:
        raise unreadable(f"the configuration {path}", exc, "see docs/helper.md") from None
    try:
        return parse_rules(raw.decode(), str(path))
    except UnicodeDecodeError:
        raise ParseError(f"the configuration {path} is not UTF-8 text") from None


def parse_rules(text: str, file: str = "helper.yaml") -> Rules:
    """Raises ParseError, which names file, line and key. An empty file allows nothing."""
    try:
        found = parse_yaml(text, file).mapping(("rules",), ("rules",))
    except EmptyFile:
        return Rules()
    items = found["rules"].items()
    if len(items) > _MOST_RULES:
        found["rules"].fail(f"has more than {_MOST_RULES} rules")
    return Rules(tuple(_rule(one) for one in items))


def _rule(value: Value) -> Rule:
    keys = value.mapping(_KEYS, ("processes",))
    if "users" not in keys and "groups" not in keys:
        value.fail("names nobody", "give users or groups")
    words = [(one, one.text(300)) for one in keys["processes"].items()]
    known = {word for _, word in words}
    kinds = [(one, *word.partition(":")[::2]) for one, word in words if word not in ("own", "all")]
    for one, kind, name in kinds:
        if kind not in ("user", "cgroup") or not name:
            one.fail("says nothing about processes", "own, all, user:NAME or cgroup:/PATH")
        if kind == "cgroup" and (not name.startswith("/") or not name.strip("/")):
            one.fail("is no path of a cgroup", "write it from the root: cgroup:/system.slice/*.service")
    if not words:
        keys["processes"].fail("is empty", "own, all, user:NAME or cgroup:/PATH")
    rule = Rule(
        users=keys.read("users", _users, _NOBODY),
        groups=keys.read("groups", lambda one: frozenset(map(_group, one.items())), _NOBODY),
        own="own" in known,
        everybody="all" in known,
        of=frozenset(_user(one, name) for one, kind, name in kinds if kind == "user"),
        cgroups=tuple(name.rstrip("/") for _, kind, name in kinds if kind == "cgroup"),
        nodes=keys.read("nodes", _nodes, None),
        rate=keys.read("rate", Value.size, 0),
        move=keys.read("move", Value.truth, False),
        shared=keys.read("shared", Value.truth, False),
        frames=keys.read("frames", Value.truth, False),
    )
    if "rate" in keys and not rule.rate:
        keys["rate"].fail("moves nothing", "leave it out for no limit, or give move: false")
    if rule.shared and not rule.move:
        keys["shared"].fail("is for moving", "give move: true as well")
    return replace(rule, text=_in_words(rule, ", ".join(word for _, word in words), keys))


def _in_words(rule: Rule, processes: str, keys: Keys) -> str:
    does = "look at and move" if rule.move else "look at"
    nodes = "" if rule.nodes is None else f" to nodes {rule.nodes}"
    rate = f", at most {keys['rate'].text()} a second" if rule.rate else ""
    more = "".join(f", {what}" for what, on in (("shared pages too", rule.shared), ("frames", rule.frames)) if on)
    return printable(f"{does} {processes}{nodes}{rate}{more}", 300)


def _nodes(value: Value) -> NodeSet:
    try:
        found = NodeSet.parse_list(value.text(400))
    except NumatuiError as exc:
        value.fail(f"is no set of nodes ({exc.what})", "write it like 0-3,6")
    return found or value.fail("is empty", "leave it out for all nodes")


def _users(value: Value) -> frozenset[int]:
    return frozenset(_user(one, one.text(64)) for one in value.items())


def _user(value: Value, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        value.fail(f"there is no user '{printable(text, 40)}' here")


def _group(value: Value) -> int:
    text = value.text(64)
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        value.fail(f"there is no group '{printable(text, 40)}' here")
