"""memcached while clients ask it: every value is what was stored."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.guest.inside.programs.program import PATIENCE, Program, loopback, need, running, there_and_back
from tests.guest.inside.rig import wait_until

PORT = 7002
KEYS = 8_000
AT_ONCE = 50
"""Keys of one question."""


def value(key: int) -> bytes:
    """What is stored under a key: 2 KiB that no other key has."""
    return sha256(b"%d" % key).hexdigest().encode() * 32


class Client:
    """A connection of the text protocol (doc/protocol.txt)."""

    def __init__(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", PORT), PATIENCE)
        self._file = self._socket.makefile("rwb")

    def store(self) -> None:
        for key in range(KEYS):
            self._file.write(b"set %d 0 0 %d noreply\r\n%s\r\n" % (key, len(value(key)), value(key)))
        self._file.write(b"version\r\n")
        self._file.flush()
        assert self._file.readline().startswith(b"VERSION")

    def wrong(self) -> list[int]:
        """The keys whose value is not what was stored."""
        found: dict[int, bytes] = {}
        for first in range(0, KEYS, AT_ONCE):
            self._file.write(b"get %s\r\n" % b" ".join(b"%d" % key for key in range(first, first + AT_ONCE)))
            self._file.flush()
            while (line := self._file.readline().split()) != [b"END"]:
                found[int(line[1])] = self._file.read(int(line[3]) + 2)[:-2]
        return [key for key in range(KEYS) if found.get(key) != value(key)]

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture
def memcached(tmp_path: Path) -> Iterator[Program]:
    server = need("memcached")
    loopback()
    with running([server, "-u", "root", "-l", "127.0.0.1", "-p", str(PORT), "-m", "100"], tmp_path) as one:
        wait_until(_answers, "memcached answers", PATIENCE)
        yield one


def _answers() -> bool:
    try:
        Client().close()
    except OSError:
        return False
    return True


def test_every_value_is_what_was_stored_while_clients_ask(memcached: Program) -> None:
    client, other, stop = Client(), Client(), threading.Event()
    client.store()
    wrong: list[int] = []
    rounds: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            wrong.extend(other.wrong())
            rounds.append(1)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        there_and_back(memcached)
    finally:
        stop.set()
        asking.join()
    assert client.wrong() + wrong == []
    assert rounds
    client.close()
    other.close()
