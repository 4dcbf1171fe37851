"""Hosts on one machine: network namespaces with a name and a real sshd each, made and ended by the test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import without

_NEEDED = ("ip", "sshd", "ssh", "ssh-keygen", "unshare")
_PATIENCE = 30.0


@dataclass(frozen=True)
class Hosts:
    """`names`: as ssh knows them. `config`: ssh's. `state`: where the state directories of the hosts are, by name."""

    names: tuple[str, ...]
    config: Path
    state: Path

    def ssh(self) -> str:
        """For NUMATUI_SSH."""
        return f"ssh -F {self.config}"


def _found(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


@contextmanager
def hosts(folder: Path, count: int = 3) -> Iterator[Hosts]:
    """`host1`, `host2` … ; skips where that cannot be made."""
    if os.geteuid() != 0 or not all(_found(one) for one in _NEEDED):
        without(f"hosts need root and {', '.join(_NEEDED)}")
    made = Hosts(tuple(f"host{number}" for number in range(1, count + 1)), folder / "ssh_config", folder / "state")
    for name in ("key", "hostkey"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "key.pub", folder / "authorized")
    Path("/run/sshd").mkdir(exist_ok=True)
    known, config = [], []
    with ExitStack() as stack:
        for number, name in enumerate(made.names, 1):
            address = stack.enter_context(_host(folder, number, name, made.state))
            known.append(f"{address} {(folder / 'hostkey.pub').read_text()}")
            config.append(_config(name, address, folder))
        (folder / "known").write_text("".join(known))
        made.config.write_text("".join(config))
        yield made


@contextmanager
def inner_host(folder: Path, made: Hosts) -> Iterator[str]:
    """One more host, `inner`, which only the first one reaches: ssh goes there through it (ProxyJump)."""
    first = _space(1)
    with _host(folder, 9, "inner", made.state, first) as address:
        with (folder / "known").open("a") as known:
            known.write(f"{address} {(folder / 'hostkey.pub').read_text()}")
        with made.config.open("a") as config:
            config.write(_config("inner", address, folder) + f"  ProxyJump {made.names[0]}\n")
        yield "inner"


def _space(number: int) -> str:
    return f"numatui-{os.getpid()}-{number}"


def _config(name: str, address: str, folder: Path) -> str:
    return (
        f"Host {name}\n  HostName {address}\n  User root\n  IdentityFile {folder / 'key'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder / 'known'}\n  StrictHostKeyChecking yes\n  IdentityAgent none\n"
    )


@contextmanager
def _host(folder: Path, number: int, name: str, state: Path, beside: str = "") -> Iterator[str]:
    """Its address. `beside`: the network namespace that its line ends in; this one by default."""
    space = _space(number)
    link = f"nt{os.getpid() % 100000}-{number}"
    net = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
    address, gateway = f"{net}.{4 * number + 2}", f"{net}.{4 * number + 1}"
    there = ["-n", beside] if beside else []
    conf = folder / f"sshd-{name}"
    conf.write_text(
        f"Port 22\nListenAddress {address}\nHostKey {folder / 'hostkey'}\nAuthorizedKeysFile {folder / 'authorized'}\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSetEnv XDG_STATE_HOME={state / name}\n"
    )
    with ExitStack() as stack:
        _ip("netns", "add", space)
        stack.callback(_ip, "netns", "del", space)
        _ip(*there, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        stack.callback(subprocess.run, ["ip", *there, "link", "del", link], capture_output=True)
        _ip(*there, "addr", "add", f"{gateway}/30", "dev", link)
        _ip(*there, "link", "set", link, "up")
        _ip("-n", space, "addr", "add", f"{address}/30", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "route", "add", "default", "via", gateway)
        start = f"hostname {name}; exec {_found('sshd')} -D -e -f {conf}"
        daemon = subprocess.Popen(
            ["ip", "netns", "exec", space, "unshare", "--uts", "sh", "-c", start], stderr=subprocess.DEVNULL
        )
        stack.callback(daemon.wait)
        stack.callback(daemon.kill)
        stack.callback(_end_all, space)
        _answers(address, beside)
        yield address


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _end_all(space: str) -> None:
    """All that runs in a namespace: sessions of sshd outlive it."""
    found = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True)
    for pid in found.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def _answers(address: str, space: str) -> None:
    """Until it does, asked from that namespace."""
    ask = ["ip", "netns", "exec", space] if space else []
    end = time.monotonic() + _PATIENCE
    while subprocess.run([*ask, sys.executable, "-IS", "-c", _ASK, address], capture_output=True).returncode:
        assert time.monotonic() < end, f"no sshd on {address}"


_ASK = "import socket, sys; socket.create_connection((sys.argv[1], 22), timeout=1).close()"
