"""Immutable sets of node ids and of CPU ids, and their conversion from and to the kernel's text formats and masks."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import Self

from backend.errors import NotFound, ParseError, UsageError

MAX_ID = 65_535
"""Largest id that is accepted: Linux's largest MAX_NUMNODES is 1,024, its largest NR_CPUS 8,192."""

_WORD_BITS = 64  # unsigned long on the 64-bit machines that are supported
_STRTOUL = re.compile(r"[ \t\n\v\f\r]*[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)")
# Prefixes by which libnuma resolves a device to its nodes (numactl(8)); numatui refuses them.
_RESOLVERS = ("file:", "ip:", "block:", "netdev:", "pci:")


class IdSet:
    """An immutable set of ids from 0 to MAX_ID, iterated in ascending order."""

    __slots__ = ("_bits",)

    def __init__(self, ids: Iterable[int] = ()) -> None:
        bits = 0
        for one in ids:
            if not 0 <= one <= MAX_ID:
                raise UsageError(f"id {one} is out of range", f"ids go from 0 to {MAX_ID}")
            bits |= 1 << one
        self._bits = bits

    @classmethod
    def _of(cls, bits: int) -> Self:
        made = cls.__new__(cls)
        made._bits = bits
        return made

    @classmethod
    def parse_list(cls, text: str | bytes) -> Self:
        """The kernel's list format (`0-3,8`; cpuset(7), FORMATS; sysfs `online`). Empty text is the empty set.

        Raises ParseError for anything else.
        """
        if isinstance(text, bytes):
            text = text.decode("ascii", "replace")
        bits = 0
        for part in text.strip(" \t\n\0").split(","):
            if not part and not bits:
                continue
            first, dash, last = part.partition("-")
            if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
                raise ParseError(f"'{_shown(part)}' is not an id or a range of ids", "write it like 0-3,8")
            if len(first) > 6 or len(last) > 6:
                raise ParseError(f"'{_shown(part)}' is too large", f"ids go from 0 to {MAX_ID}")
            low, high = int(first), int(last or first)
            if low > high or high > MAX_ID:
                raise ParseError(f"'{_shown(part)}' is not a range of ids", f"ids ascend from 0 to {MAX_ID}")
            bits |= ((1 << (high - low + 1)) - 1) << low
        return cls._of(bits)

    @classmethod
    def parse_hexmask(cls, text: str | bytes) -> Self:
        """The kernel's mask format (`00000000,0000000f`: 32-bit words, highest first). Raises ParseError."""
        if isinstance(text, bytes):
            text = text.decode("ascii", "replace")
        digits = text.strip(" \t\n\0").replace(",", "")
        if not re.fullmatch(r"[0-9a-fA-F]{0,16384}", digits):
            raise ParseError(f"'{_shown(text)}' is not a hexadecimal mask")
        return cls._of(int(digits or "0", 16))

    @classmethod
    def from_mask(cls, mask: bytes) -> Self:
        """The set in the kernel's array of unsigned longs (8-byte words, this machine's byte order)."""
        step = _WORD_BITS // 8
        bits = 0
        for start in range(0, len(mask), step):
            bits |= int.from_bytes(mask[start : start + step], sys.byteorder) << (8 * start)
        return cls._of(bits)

    def mask(self, bits: int = 0) -> bytes:
        """The kernel's array of unsigned longs, of at least `bits` bits and one word. `maxnode(bits)` goes with it."""
        words = max(1, -(-max(self._bits.bit_length(), bits) // _WORD_BITS))
        word_mask = (1 << _WORD_BITS) - 1
        return b"".join(
            ((self._bits >> (_WORD_BITS * word)) & word_mask).to_bytes(_WORD_BITS // 8, sys.byteorder)
            for word in range(words)
        )

    def maxnode(self, bits: int = 0) -> int:
        """The `maxnode` argument for `mask(bits)`, one more than its bits: get_nodes() in mm/mempolicy.c decrements it
        before use (migrate_pages(2), BUGS)."""
        return len(self.mask(bits)) * 8 + 1

    def __iter__(self) -> Iterator[int]:
        bits = self._bits
        while bits:
            low = bits & -bits
            yield low.bit_length() - 1
            bits ^= low

    def __len__(self) -> int:
        return self._bits.bit_count()

    def __contains__(self, one: int) -> bool:
        return one >= 0 and bool(self._bits >> one & 1)

    def __bool__(self) -> bool:
        return bool(self._bits)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdSet) and self._bits == other._bits

    def __hash__(self) -> int:
        return hash(self._bits)

    def __or__(self, other: IdSet) -> Self:
        return self._of(self._bits | other._bits)

    def __and__(self, other: IdSet) -> Self:
        return self._of(self._bits & other._bits)

    def __sub__(self, other: IdSet) -> Self:
        return self._of(self._bits & ~other._bits)

    def issubset(self, other: IdSet) -> bool:
        return not self._bits & ~other._bits

    def first(self) -> int:
        """The lowest id. ValueError on the empty set."""
        if not self._bits:
            raise ValueError("empty set")
        return (self._bits & -self._bits).bit_length() - 1

    def nth(self, n: int) -> int:
        """The n-th id in ascending order, counted from 0. IndexError past the end."""
        for position, one in enumerate(self):
            if position == n:
                return one
        raise IndexError(n)

    def __str__(self) -> str:
        """The kernel's list format: `0-1,3`; the empty set is ''."""
        runs: list[list[int]] = []
        for one in self:
            if runs and runs[-1][1] == one - 1:
                runs[-1][1] = one
            else:
                runs.append([one, one])
        return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class CpuSet(IdSet):
    """CPU ids."""

    __slots__ = ()


class NodeSet(IdSet):
    """NUMA node ids."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, nodes: NodeSet, same: NodeSet | None = None) -> NodeSet:
        """A user's node string in libnuma's grammar (numa(3), numa_parse_nodestring; numactl(8)).

        `nodes` are the existing nodes: `all` stands for them, ids must be among them, `+` counts through them and `!`
        is the complement in them. `same` is the value of the word `same`, if it has one.

        As in libnuma: numbers are read as by strtoul(3) (`0x3`, `010`); the ends of a range must exist, missing ids
        between them are left out; `''` is the empty set; `!` comes before `+`. Two differences, both for safety: a
        descending range (`3-1`) is an error (libnuma takes its first node alone), and on machines with sparse ids `!`
        is the complement in the existing nodes (libnuma inverts the first *n* ids).

        Raises UsageError for text outside the grammar, NotFound for nodes that do not exist. Both name the wrong part
        and the existing nodes.
        """
        there = f"the nodes here are {nodes or 'none'}"
        if "\0" in text:
            raise UsageError(f"'{_shown(text)}' is not a node set", there)
        if text == "same":
            if same is None:
                raise UsageError("'same' has nothing to refer to", there)
            return same
        rest = text
        invert = rest.startswith("!")
        rest = rest[invert:]
        relative = rest.startswith("+")
        rest = rest[relative:]
        found = cls._of(0)
        while text:
            if rest == "all":
                found = nodes
                break
            if rest.startswith(_RESOLVERS):
                raise UsageError(f"'{_shown(rest)}' names a device", f"give node numbers; {there}")
            low, rest = cls._number(text, rest, nodes, relative, there)
            high = low
            if rest.startswith("-"):
                high, rest = cls._number(text, rest[1:], nodes, relative, there)
                if high < low:
                    raise UsageError(f"the range {low}-{high} in '{_shown(text)}' runs backwards", there)
            found |= cls._of(((1 << (high - low + 1)) - 1) << low) & nodes
            if not rest:
                break
            if not rest.startswith(","):
                raise UsageError(
                    f"'{_shown(rest)}' in '{_shown(text)}' is not part of a node set",
                    f"write it like 0-1,3; {there}",
                )
            rest = rest[1:]
        return nodes - found if invert else found

    @classmethod
    def _number(cls, text: str, rest: str, nodes: NodeSet, relative: bool, there: str) -> tuple[int, str]:
        match = _STRTOUL.match(rest)
        if not match:
            shown = f"'{_shown(rest)}' in " if rest and rest != text else "" if rest else "a number is missing in "
            raise UsageError(
                f"{shown}'{_shown(text)}' is not a node set" if rest else f"{shown}'{_shown(text)}'",
                f"write it like 0-1,3; {there}",
            )
        digits = match.group(1)
        # strtoul(3) with base 0: a leading 0 means octal, and the number ends before the first digit 8 or 9.
        if len(digits) > 1 and digits[0] == "0" and digits[1] not in "xX":
            octal = re.match(r"0[0-7]*", digits)
            assert octal is not None
            end = match.end() - len(digits) + octal.end()
            value = int(octal.group(), 8)
        else:
            end = match.end()
            value = int(digits, 16) if digits[:2] in ("0x", "0X") else int(digits[:24])
        if match.group().lstrip(" \t\n\v\f\r").startswith("-") and value:
            raise UsageError(f"node {match.group().strip()} in '{_shown(text)}' is negative", there)
        if relative:
            if value >= len(nodes):
                raise NotFound(f"+{digits[:24]} in '{_shown(text)}' counts past the last node", there)
            value = nodes.nth(value)
        elif value not in nodes:
            raise NotFound(f"there is no node {digits[:24]} (in '{_shown(text)}')", there)
        return value, rest[end:]


def _shown(text: str) -> str:
    """Untrusted text, shortened and made printable for an error message."""
    safe = "".join(c if c.isprintable() else "?" for c in text[:60])
    return safe + ("…" if len(text) > 60 else "")
