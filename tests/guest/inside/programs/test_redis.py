"""Redis under redis-benchmark: the digest of its data is the same before, there and back."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.inside.programs.program import (
    CLIENT,
    PATIENCE,
    SERVER,
    Program,
    loopback,
    memory,
    need,
    running,
    there_and_back,
)
from tests.guest.inside.rig import wait_until

KEYS = 50_000
PORT = "7001"


def cli(*words: str) -> str:
    """What redis-cli prints."""
    command = [need("redis-cli"), "-p", PORT, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False).stdout.strip()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Program]:
    """A server with keys that a client will not change."""
    server = need("redis-server")
    loopback()
    options = ["--port", PORT, "--save", "", "--enable-debug-command", "yes", "--dir", tmp_path]
    with running([server, *options], tmp_path) as one:
        wait_until(lambda: cli("PING") == "PONG", "redis answers", PATIENCE)
        assert cli("DEBUG", "POPULATE", str(KEYS), "kept", "500") == "OK"
        yield one


def test_its_data_are_the_same_while_clients_read_it(redis: Program, tmp_path: Path) -> None:
    digest = cli("DEBUG", "DIGEST")
    assert re.fullmatch(r"[0-9a-f]{40}", digest), digest
    assert memory(redis.pid)[SERVER] > KEYS * 500
    load = [need("redis-benchmark"), "-p", PORT, "-t", "get", "-c", "4", "-n", "100000000", "-q"]
    with running(load, tmp_path, CLIENT):
        there_and_back(redis)
        assert cli("DEBUG", "DIGEST") == digest
    assert redis.process.poll() is None
