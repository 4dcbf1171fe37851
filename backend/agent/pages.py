"""move_pages(2) as a request: what is asked, what is answered, on both sides.

Payload of the request: for each page the difference of its address from the one before (64 bits), its node (32 bits, if
asked to move), its status (32 bits). Of the answer: each status."""

from __future__ import annotations

import errno
import struct
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from backend.agent.told import items, number
from backend.errors import os_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from backend.kernel import Numbers

_MASK = (1 << 64) - 1


def ask_move_pages(
    call: Callable[..., tuple[Any, bytes]],
    pid: int,
    pages: Numbers,
    nodes: Numbers | None,
    status: Numbers,
    flags: int,
) -> int:
    """`call`: that of a connection. As `Kernel.move_pages`; OSError (EPROTO) for what is no answer."""
    count = len(pages)
    addresses = array("Q", bytes(pages))
    steps = [addresses[0], *((b - a) & _MASK for a, b in zip(addresses, addresses[1:]))] if count else []  # noqa: B905, RUF007
    parts = [struct.pack(f"<{count}Q", *steps), bytes(nodes) if nodes is not None else b"", bytes(status)]
    result, data = call("move_pages", pid, count, nodes is not None, flags, payload=b"".join(parts))
    first, second = items(result, 2)
    left, refused = number(first), number(second, 4096)
    if len(data) != 4 * count:
        raise os_error(errno.EPROTO)
    memoryview(status).cast("B")[:] = data
    if refused:
        raise os_error(refused)
    return left


def answer_move_pages(move_pages: Callable[..., int], args: list[Any], payload: bytes) -> tuple[list[int], bytes]:
    """Makes the call that was asked for. Raises OSError (EINVAL) for what is no such request."""
    pid, count, moving, flags = args
    ends = (8 * count, 12 * count if moving else 8 * count)
    if len(payload) != ends[1] + 4 * count:
        raise os_error(errno.EINVAL)
    pages = array("Q", (one & _MASK for one in accumulate(struct.unpack(f"<{count}Q", payload[: ends[0]]))))
    nodes = array("i", struct.unpack(f"<{count}i", payload[ends[0] : ends[1]])) if moving else None
    status = array("i", struct.unpack(f"<{count}i", payload[ends[1] :]))
    try:
        result = [move_pages(pid, pages, nodes, status, flags), 0]
    except OSError as exc:
        result = [0, exc.errno or errno.EIO]
    return result, struct.pack(f"<{count}i", *status)
