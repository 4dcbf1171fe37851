"""/proc/PID/smaps: mappings, how much of them is resident and referenced (Documentation/filesystems/proc.rst)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backend.errors import ParseError

_HEAD = re.compile(rb"([0-9a-f]{1,16})-([0-9a-f]{1,16}) [rwxsp-]{4} [0-9a-f]+ \S+ \d+ *(.*)")
_AMOUNT = re.compile(rb"(Rss|Referenced): +(\d{1,15}) kB")


@dataclass(frozen=True, slots=True)
class Smap:
    """One mapping. Bytes."""

    start: int
    end: int
    name: str
    rss: int
    referenced: int


def parse_smaps(raw: bytes) -> list[Smap]:
    """In address order. What is unknown is left out. Raises ParseError if `Referenced` is missing everywhere."""
    out: list[Smap] = []
    head: tuple[int, int, str] | None = None
    amounts: dict[bytes, int] = {}
    seen = False

    def end() -> None:
        if head is not None:
            rss = amounts.get(b"Rss", 0)
            out.append(Smap(*head, rss, min(rss, amounts.get(b"Referenced", 0))))

    for line in raw.split(b"\n"):
        if amount := _AMOUNT.match(line):
            amounts[amount[1]] = int(amount[2]) << 10
            seen = seen or amount[1] == b"Referenced"
        elif found := _HEAD.match(line):
            end()
            name = found[3].decode("utf-8", "surrogateescape")
            head, amounts = (int(found[1], 16), int(found[2], 16), name), {}
    end()
    if out and not seen:
        raise ParseError("smaps does not say what was referenced", "this kernel is older than 2.6.22")
    return out
