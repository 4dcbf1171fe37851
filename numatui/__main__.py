"""`numatui` and `python -m numatui`."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """The exit code; see the README for what each means."""
    open_what_is_closed()
    from numatui.cli.app import run

    return run(sys.argv[1:])


def open_what_is_closed() -> None:
    """Where the shell has closed stdin, stdout or stderr (`>&-`), /dev/null takes their place: else the next file that
    is opened, such as a journal, would be what everybody writes to."""
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
