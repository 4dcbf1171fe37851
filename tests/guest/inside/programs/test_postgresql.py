"""PostgreSQL under pgbench: no transaction fails, and pg_checksums and amcheck find nothing."""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.guest.inside.programs.program import (
    CLIENT,
    FAR,
    PATIENCE,
    SERVER,
    Program,
    need,
    running,
    there_and_back,
)
from tests.guest.inside.rig import huge_pages, wait_until

BUFFERS = 64
"""MiB of shared buffers."""
PROGRAMS = tuple(str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))


class Database:
    """A cluster of its own in a folder, with checksums."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.user = pwd.getpwnam("postgres").pw_uid
        for one in (folder, *folder.parents):
            one.chmod(one.stat().st_mode | 0o055)
        folder.chmod(0o777)
        self.run("initdb", "-k", "--no-sync", "-A", "trust", "-D", self.data)

    def run(self, program: str, *arguments: object) -> str:
        """The output of one of its programs; AssertionError with what it said when it failed."""
        done = subprocess.run(
            [need(program, *PROGRAMS), *map(str, arguments)],
            capture_output=True, text=True, timeout=PATIENCE, user=self.user, env=self.environment, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def served(self, huge: str) -> list[str | Path]:
        """The command line of the server."""
        options = {
            "listen_addresses": "", "unix_socket_directories": self.folder, "shared_buffers": f"{BUFFERS}MB",
            "huge_pages": huge, "fsync": "off", "autovacuum_naptime": "5s", "max_wal_size": "64MB",
        }  # fmt: skip
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [need("postgres", *PROGRAMS), "-D", self.data, *settings]

    def load(self) -> list[str]:
        return [need("pgbench", *PROGRAMS), "-n", "-c", "2", "-T", "100000", "postgres"]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PGHOST": str(self.folder), "PGUSER": "postgres", "HOME": str(self.folder)}

    def answers(self) -> bool:
        command = [need("pg_isready", *PROGRAMS)]
        return subprocess.run(command, env=self.environment, stdout=subprocess.DEVNULL).returncode == 0


@pytest.fixture(params=["small-pages", "huge-pages"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Database, Program]]:
    need("postgres", *PROGRAMS)
    database = Database(tmp_path)
    huge = request.param == "huge-pages"
    with ExitStack() as stack:
        if huge:
            for node in (SERVER, FAR):
                stack.enter_context(huge_pages(node, BUFFERS))
        command = database.served("on" if huge else "off")
        server = stack.enter_context(
            running(command, tmp_path, stop=signal.SIGINT, user=database.user, env=database.environment, cwd=tmp_path)
        )
        wait_until(database.answers, "PostgreSQL answers", PATIENCE)
        database.run("pgbench", "-i", "-q", "-s", "3", "postgres")
        yield database, server


def test_no_transaction_fails_and_its_files_and_indexes_are_whole(served: tuple[Database, Program]) -> None:
    database, server = served
    load = running(
        database.load(), database.folder, CLIENT, signal.SIGINT, user=database.user, env=database.environment
    )
    with load as clients:
        there_and_back(server, "--all", tree=True)
        assert clients.process.poll() is None, clients.log.read_text()
    said = clients.log.read_text()
    assert not re.search("error|abort|failed [^t]", said, re.IGNORECASE), said
    database.run("psql", "-c", "CREATE EXTENSION amcheck", "postgres")
    database.run("pg_amcheck", "--heapallindexed", "postgres")
    server.process.send_signal(signal.SIGINT)
    server.process.wait(PATIENCE)
    assert "Bad checksums:  0" in database.run("pg_checksums", "--check", "-D", database.data)
