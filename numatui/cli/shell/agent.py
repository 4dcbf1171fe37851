"""`numatui agent`: what `--host` sends to another machine, to be read before it is trusted."""

from __future__ import annotations


def agent() -> None:
    """Print the program that --host sends to the Python of another machine: it answers there for numatui here.

    Example: numatui agent | less
    """
    from backend.remote.bundle import agent as text

    print(text(), end="")
