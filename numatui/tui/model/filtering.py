"""The language of the process filter. A process must match all words. Pure.

`postgres` matches pid, user and command. The selectors of commands: `user:NAME` `match:GLOB` `regex:REGEX`
`cgroup:PATH` `unit:NAME` `pod:UID` `vm:NAME` `pid:N,N` `min:SIZE`. Others: `cpuset:PATH` `node:SET` (has memory there)
`on:SET` (runs there) `policy:TEXT` `state:LETTERS`. `local<50` `rss>1G` `far>100M` `swap>0` `threads>8` `cpu>50`
`cost>1.5` `n2>500M`. `!` negates a word. Quotes keep spaces in a word; a word that begins with one is text, whatever is
in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from backend.errors import NumatuiError
from backend.files.text import printable
from backend.machine.access_cost import AccessCosts, read_costs
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.placement.survey import ProcessRow
from backend.selection.terms import SELECTORS, Selector, path_term, term
from numatui.format import parse_size

Term = Callable[[ProcessRow], bool]
Number = Callable[[ProcessRow], float | None]

_NAME = re.compile(r"[A-Za-z]{1,12}")
_WORD = re.compile(r'(?:"[^"]*"?|[^\s"])+')
_COMPARISON = re.compile(r"([a-z]+)(\d*)(<=|>=|<|>|=)(.*)", re.IGNORECASE | re.DOTALL)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b,
}


@dataclass(frozen=True)
class Filter:
    """`text`: as typed. `problems`: an error message for each word that is ignored because it is not understood."""

    text: str = ""
    terms: tuple[Term, ...] = ()
    problems: tuple[str, ...] = ()

    def fits(self, row: ProcessRow) -> bool:
        return all(term(row) for term in self.terms)

    @classmethod
    def parse(cls, text: str, topology: Topology) -> Filter:
        """Never raises: a word that is not understood may be half typed."""
        terms: list[Term] = []
        problems: list[str] = []
        for word in _WORD.findall(text):
            plain = word.replace('"', "")
            negated = plain.startswith("!") and len(plain) > 1
            try:
                term = _text(plain[negated:]) if '"' in word[: 1 + negated] else _term(plain[negated:], topology)
            except NumatuiError as exc:
                problems.append(str(exc))
                continue
            terms.append(_turned(term) if negated else term)
        return cls(text, tuple(terms), tuple(problems))


def quoted(text: str) -> str:
    """The text as one word of a filter."""
    plain = text.replace('"', "")
    return f'"{plain}"' if re.search(r"\s", plain) else plain


def with_word(text: str, key: str, value: str) -> str:
    """The filter with its words for `key` replaced by `key:value`, or removed if `value` is empty."""
    words = [word for word in _WORD.findall(text) if not word.casefold().startswith(key + ":")]
    return " ".join([*words, *([f"{key}:{quoted(value)}"] if value else [])])


def _term(word: str, topology: Topology) -> Term:
    key, colon, value = word.partition(":")
    if colon and (make := _KEYS.get(key.casefold())):
        return make(value, topology)
    if colon and _NAME.fullmatch(key):
        raise NumatuiError(f'there is no {printable(key, 20)}: in filters ("{printable(word, 40)}" in quotes is text)')
    match = _COMPARISON.fullmatch(word)
    if match is not None:
        name, number, sign, value = match[1].casefold(), match[2], match[3], match[4]
        if name == "n" and number:
            return _compared(_on_node(int(number)), sign, _size(value, word))
        if not number and name in _SIZES:
            return _compared(_SIZES[name], sign, _size(value, word))
        if not number and name in _SHARES:
            return _compared(_SHARES[name], sign, _number(value.removesuffix("%"), word))
        if not number and name == "threads":
            return _compared(lambda row: row.process.threads, sign, _number(value, word))
        if not number and name == "cost":
            costs = read_costs(topology)
            return _compared(lambda row: cost(row, costs), sign, _number(value.rstrip("x×"), word))
        if sign != "=":
            raise NumatuiError(f"'{printable(word, 40)}': there is no {name}; {', '.join(_COMPARED)} are compared")
    return _text(word)


def cost(row: ProcessRow, costs: AccessCosts) -> float | None:
    """Mean cost of an access, relative to memory that is all local (1.0)."""
    return costs.ratio(row.places, row.by_node) if row.by_node else None


def far_bytes(row: ProcessRow) -> int | None:
    """Bytes of its memory that are not on the nodes where it runs."""
    return row.far


def _text(word: str) -> Term:
    wanted = word.casefold()
    return lambda row: (
        wanted in row.process.command.casefold()
        or wanted in str(row.process.pid)
        or wanted in row.process.user.casefold()
    )


def _turned(term: Term) -> Term:
    return lambda row: not term(row)


def _compared(value_of: Number, sign: str, wanted: float) -> Term:
    compare = _COMPARE[sign]

    def fits(row: ProcessRow) -> bool:
        value = value_of(row)
        return value is not None and compare(value, wanted)

    return fits


def _on_node(node: int) -> Number:
    return lambda row: None if row.by_node is None else row.by_node.get(node, 0)


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


_SIZES: dict[str, Number] = {
    "rss": lambda row: row.resident,
    "far": far_bytes,
    "swap": lambda row: row.process.swap,
}
_COMPARED = ("local", "rss", "far", "swap", "threads", "cpu", "cost", "n2")
_SHARES: dict[str, Number] = {
    "local": lambda row: _percent(row.local),
    "cpu": lambda row: _percent(row.load),
}


def _size(text: str, word: str) -> int:
    try:
        return parse_size(text)
    except NumatuiError:
        raise _unfinished(word, "a size: 100M, 2G") from None


def _number(text: str, word: str) -> float:
    if not re.fullmatch(r"\d{1,12}(\.\d{0,6})?", text):
        raise _unfinished(word, "a number")
    return float(text)


def _unfinished(word: str, wanted: str) -> NumatuiError:
    return NumatuiError(f"'{printable(word, 40)}' wants {wanted}")


def _nodes(value: str, topology: Topology) -> NodeSet:
    if not value:
        raise _unfinished("node:", "node numbers: 0-1,3")
    return NodeSet.parse(value, topology.ids)


def _has_memory_on(value: str, topology: Topology) -> Term:
    wanted = _nodes(value, topology)
    return lambda row: any(amount and node in wanted for node, amount in (row.by_node or {}).items())


def _runs_on(value: str, topology: Topology) -> Term:
    wanted = _nodes(value, topology)
    return lambda row: any(share and node in wanted for node, share in row.places.items())


def _selected(selector: Selector) -> Callable[[str, Topology], Term]:
    """A word that selects as the option of that name does. A word without a value may be half typed."""

    def make(value: str, _: Topology) -> Term:
        if not value:
            raise _unfinished(f"{selector}:", "a value")
        fits = term(selector, value)
        return lambda row: fits(row.process)

    return make


def _cpuset(value: str, _: Topology) -> Term:
    if not value:
        raise _unfinished("cpuset:", "a path")
    fits = path_term(value)
    return lambda row: fits(row.process.cpuset)


def _minimum(value: str, _: Topology) -> Term:
    return _compared(_SIZES["rss"], ">=", _size(value, f"min:{value}"))


def _policy(value: str, _: Topology) -> Term:
    return lambda row: value.casefold() in row.policy.casefold()


def _state(value: str, _: Topology) -> Term:
    return lambda row: row.process.state in value.upper() or not value


def _pids(value: str, _: Topology) -> Term:
    wanted = set(value.split(","))
    return lambda row: str(row.process.pid) in wanted


_KEYS: dict[str, Callable[[str, Topology], Term]] = {
    **{selector: _selected(selector) for selector in SELECTORS},
    "node": _has_memory_on,
    "on": _runs_on,
    "cpuset": _cpuset,
    "min": _minimum,
    "policy": _policy,
    "state": _state,
    "pid": _pids,
}
