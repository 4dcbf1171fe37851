"""What a far machine told, checked for its form. All raise OSError (EPROTO) for anything else."""

from __future__ import annotations

import errno
from typing import Any

from backend.errors import os_error


def number(value: Any, below: int = 1 << 64) -> int:
    """From 0 on."""
    if type(value) is not int or not 0 <= value < below:
        raise os_error(errno.EPROTO)
    return value


def items(value: Any, count: int) -> list[Any]:
    """So many of them."""
    if not isinstance(value, list) or len(value) != count:  # pyright: ignore[reportUnknownArgumentType]
        raise os_error(errno.EPROTO)
    return value  # pyright: ignore[reportUnknownVariableType]


def text(value: Any, most: int) -> str:
    """Of so many characters at most, that can be written as bytes again."""
    if not isinstance(value, str) or len(value) > most:
        raise os_error(errno.EPROTO)
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise os_error(errno.EPROTO) from None
    return value
