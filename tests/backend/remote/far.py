"""A far host without a network: the agent as a child of the test, and agents that lie."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from backend.remote.bundle import BOOTSTRAP
from backend.remote.kernel import RemoteKernel
from backend.remote.ssh import Destination, Link

HELLO = {
    "name": "db7", "page_size": 4096, "uid": 0, "privileged": True, "can": {"read": [True, ""]},
    "jobs": "/var/lib/admin/numatui/jobs", "problem": "", "users": {}, "pid": 999, "big_endian": sys.byteorder == "big",
}  # fmt: skip
AGENT = [sys.executable, "-IS", "-c", BOOTSTRAP]


@contextmanager
def linked(command: list[str] | None = None) -> Iterator[Link]:
    link = Link(Destination("db7"), AGENT if command is None else command)
    try:
        yield link
    finally:
        link.close()
        link.process.kill()
        link.process.wait()


@contextmanager
def far_kernel() -> Iterator[RemoteKernel]:
    """This Linux through an agent."""
    with linked() as link:
        yield RemoteKernel(link.connection, "db7")


def lying(body: str) -> list[str]:
    """An agent that says hello as it should; then `body` runs, with `ask()` for the next request (None at the end) and
    `say(header, payload)`."""
    code = f"""
import base64, json, sys, time, os
hello = {HELLO!r}
sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
def say(header, payload=None):
    if payload is not None:
        header = dict(header, lines=1)
    out = json.dumps(header).encode() + b"\\n"
    if payload is not None:
        out += base64.b64encode(payload) + b"\\n"
    sys.stdout.buffer.write(out); sys.stdout.buffer.flush()
def ask():
    while True:
        line = sys.stdin.buffer.readline()
        if not line:
            return None
        request = json.loads(line)
        for _ in range(request.get("lines", 0)):
            sys.stdin.buffer.readline()
        if request["op"] != "ping":
            return request
"""
    return [sys.executable, "-c", code + textwrap.dedent(body)]


GREETING = 'say({"numatui-agent": 1, "hello": hello})\n'
