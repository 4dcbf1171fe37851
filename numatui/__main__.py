"""`numatui` and `python -m numatui`."""

from __future__ import annotations

import sys


def main() -> int:
    """The exit code; see the README for what each means."""
    from numatui.cli.app import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
