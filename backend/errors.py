"""Errors for the user: one line with what failed, why and how to fix it, and an exit code for scripts."""

from __future__ import annotations

import errno
import os


class NumatuiError(Exception):
    """An error that a user can understand and act on. `str()` is one line; numatui exits with `exit_code`."""

    exit_code = 1

    def __init__(self, what: str, fix: str = "") -> None:
        self.what = what
        self.fix = fix
        super().__init__(f"{what}; {fix}" if fix else what)


class UsageError(NumatuiError):
    """Bad input: a malformed node set, an impossible combination (exit code 2)."""

    exit_code = 2


class ParseError(UsageError):
    """Text from a kernel, a recording or a user does not have the documented form."""


class NotPermitted(NumatuiError):
    """The kernel refuses this caller (exit code 3)."""

    exit_code = 3


class NotFound(NumatuiError):
    """There is no such process or node, or no longer (exit code 4)."""

    exit_code = 4


class NotSupported(NumatuiError):
    """This kernel, machine or profile cannot do it (exit code 5)."""

    exit_code = 5


class Refused(NumatuiError):
    """It was not done because of what it would have done beside what was asked for (exit code 7)."""

    exit_code = 7


class Busy(NumatuiError):
    """Another job is at work on it (exit code 8)."""

    exit_code = 8


class Interrupted(NumatuiError):
    """The user stopped the work before its end (exit code 130, as a shell reports SIGINT)."""

    exit_code = 130


def errno_name(number: int) -> str:
    """`ENOMEM` for 12 or -12; the number itself if it has no name."""
    return errno.errorcode.get(abs(number), str(abs(number)))


def describe_oserror(exc: OSError) -> str:
    """`ENOMEM (Cannot allocate memory)`."""
    number = exc.errno or 0
    return f"{errno_name(number)} ({os.strerror(number)})"


def os_error(number: int, path: str | None = None) -> OSError:
    """The OSError for an errno."""
    return OSError(number, os.strerror(number), path)
