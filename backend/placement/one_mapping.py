"""Find one mapping of a process by an address in it, `heap` or `stack`."""

from __future__ import annotations

import re

from backend.errors import NotFound, UsageError
from backend.kernel import Kernel
from backend.process.process import process_error

_NAMED = {"heap": b"[heap]", "stack": b"[stack]"}
_ADDRESS = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,16})")


def find_mapping(kernel: Kernel, pid: int, text: str) -> tuple[int, int]:
    """The mapping's (start, end) addresses. Raises UsageError if `text` is neither address nor name, NotFound without
    such a mapping or process, NotPermitted."""
    from backend.placement.placement_walk import parse_maps

    match = _ADDRESS.fullmatch(text)
    if text not in _NAMED and match is None:
        raise UsageError(
            f"'{text[:40]}' is not a mapping",
            "give an address as numatui show has it (7f12a000), heap or stack",
        )
    try:
        mappings = parse_maps(kernel.read(f"/proc/{pid}/maps"))
    except OSError as exc:
        raise process_error(kernel, pid, exc) from None
    for one in mappings:
        if text in _NAMED:
            if one.name == _NAMED[text]:
                return one.start, one.end
        elif match is not None and one.start <= int(match[1], 16) < one.end:
            return one.start, one.end
    raise NotFound(f"process {pid} has no mapping {text}", f"numatui show {pid} lists all")
