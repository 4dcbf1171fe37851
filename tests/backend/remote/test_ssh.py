"""Over a real ssh to three real sshds, each in a network of its own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.agent.connection import ConnectionLost
from backend.errors import Busy
from backend.kernel import read_ahead
from backend.machine.topology import read_topology
from backend.placement.survey import Surveyor
from backend.remote.kernel import RemoteKernel
from backend.remote.open import close_all
from backend.remote.ssh import Destination, Link
from tests.backend.remote.hosts import Hosts, hosts, inner_host
from tests.cli.running import Cli


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with hosts(tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture(autouse=True)
def ssh(three: Hosts, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NUMATUI_SSH", three.ssh())
    yield
    close_all()


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def test_each_answers_for_itself(three: Hosts, cli: Cli) -> None:
    for name in three.names:
        assert cli.json("--host", name, "nodes")["host"] == name
        assert cli.json("--host", name, "ps")["processes"]
    assert cli("--host", f"root@{three.names[0]}", "nodes")[0] == 0


def test_journals_are_there_and_not_here(three: Hosts) -> None:
    first, second = (Link(Destination(name)) for name in three.names[:2])
    kernels = [RemoteKernel(link.connection, "x") for link in (first, second)]
    folders = [kernel.files.jobs_dir() for kernel in kernels]
    assert folders == [three.state / name / "numatui/jobs" for name in three.names[:2]]
    number, fd = kernels[0].files.begin(folders[0], ".job", b"x")
    assert kernels[0].files.names(folders[0]).count(f"{number}.job") == 1
    assert kernels[1].files.names(folders[1]) == []
    kernels[0].files.close(fd)
    for link in (first, second):
        link.close()
    assert (first.process.wait(30), second.process.wait(30)) == (0, 0)


def eventually(what: Callable[[], None]) -> None:
    """Until it is not refused as busy: an agent ends by itself when its input does."""
    end = time.monotonic() + 60
    while True:
        try:
            return what()
        except Busy:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_ssh_dies_in_the_middle(three: Hosts) -> None:
    link = Link(Destination(three.names[0]))
    kernel = RemoteKernel(link.connection, "x")
    folder = kernel.files.jobs_dir()
    kernel.files.lock_processes(folder, [4242])
    link.process.kill()
    with pytest.raises(ConnectionLost):
        read_ahead(kernel, "x", ["/proc/version"])
    again = RemoteKernel(Link(Destination(three.names[0])).connection, "x")
    eventually(lambda: again.files.lock_processes(folder, [4242]).close())


def test_a_host_that_is_not_the_one_it_was(
    three: Hosts, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    known = (three.config.parent / "known").read_text().split()
    (tmp_path / "known").write_text(f"{known[0]} {(tmp_path / 'other.pub').read_text()}")
    monkeypatch.setenv("NUMATUI_SSH", f"{three.ssh()} -o UserKnownHostsFile={tmp_path / 'known'}")
    code, _, err = cli("--host", three.names[0], "nodes")
    assert (code, err.count("\n")) == (1, 1)
    assert "Host key verification failed" in err


def test_a_survey_over_ssh(three: Hosts) -> None:
    link = Link(Destination(three.names[2]))
    kernel = RemoteKernel(link.connection, "x")
    surveyor = Surveyor(kernel, read_topology(kernel))
    assert surveyor.read()
    assert surveyor.read()
    link.close()


def test_a_fleet_of_them(three: Hosts, cli: Cli) -> None:
    document = cli.json("fleet", "--hosts", "host[1-3]", "nodes")
    assert [one["document"]["host"] for one in document["hosts"]] == list(three.names)
    code, out, err = cli("fleet", "--hosts", "host[1-4]", "--timeout", "30", "doctor", "--all")
    assert code == 6
    assert "host[1-3]" in out
    assert err.startswith("numatui: host4: cannot be reached: ssh: ")


def test_through_a_jump_host(three: Hosts, cli: Cli) -> None:
    """One that only host1 reaches: ssh's own ProxyJump, and the journals are on the inner one."""
    with inner_host(three.config.parent, three) as name:
        assert cli.json("--host", name, "nodes")["host"] == name
        document = cli.json("fleet", "--hosts", f"{name},host2", "nodes")
        assert [one["document"]["host"] for one in document["hosts"]] == ["host2", name]
        link = Link(Destination(name, batch=True))
        kernel = RemoteKernel(link.connection, name)
        folder = kernel.files.jobs_dir()
        assert folder == three.state / name / "numatui/jobs"
        link.close()
