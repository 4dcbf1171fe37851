"""`numatui` and `python -m numatui`."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper


def main() -> int:
    """Run the command line. Returns the exit code (docs/commands.md#exit-codes)."""
    try:
        closed: bool = getattr(sys, "stdout", None) is None
        open_what_is_closed()
        if closed:
            sys.stderr.write("numatui: standard output is closed; send it to a file or to /dev/null\n")
            return 1
        for one in (sys.stdout, sys.stderr):
            if isinstance(one, TextIOWrapper):
                one.reconfigure(errors="backslashreplace")  # an arrow in a locale of ASCII
        from numatui.cli.app import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # while it was starting, or ending
        sys.stderr.write("numatui: interrupted\n")
        return 130


def open_what_is_closed() -> None:
    """Open /dev/null in place of stdin, stdout or stderr if the shell closed it (`>&-`). Otherwise the next file
    opened, such as a journal, would get its descriptor and receive the output."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    sys.exit(main())
