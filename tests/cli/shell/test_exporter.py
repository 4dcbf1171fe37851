"""Metrics: the format, what they say, how many there are at most, what a scrape costs."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from backend.emulator.scenario.open import open_scenario
from backend.emulator.tasks.life import spawn
from backend.kernel import Kernel
from backend.machine.topology import read_topology
from numatui.exporter.collector import NumatuiCollector
from numatui.exporter.server import MetricsServer, is_meant
from tests import ROOT
from tests.cli.running import Cli, one_line
from tests.emulator.machines import region
from tests.emulator.tasks.cpuset_machine import Admin
from tests.kernels.around import Around

pytestmark = pytest.mark.usefixtures("private_state")
HOSTILE = 'a"b\\c\n{x="y"} 1\x1b[31m\udce9'


def scrape(kernel: Kernel, **options: float) -> dict[str, Metric]:
    registry = CollectorRegistry()
    registry.register(NumatuiCollector(kernel, **options))  # type: ignore[arg-type]
    return parsed(generate_latest(registry).decode())


def parsed(text: str) -> dict[str, Metric]:
    """As promtool check metrics would: every line is understood, every family has its help and type, no series is there
    twice."""
    families = {one.name: one for one in text_string_to_metric_families(text)}
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    for name, family in families.items():
        assert re.fullmatch(r"numatui_[a-z0-9_]+", name)
        assert family.documentation.endswith("."), name
        assert family.type in ("gauge", "counter"), name
        keys = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert len(keys) == len(set(keys))
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert sample.value >= 0
            assert not set(sample.labels) & {"le", "quantile", "job", "instance"}
    return families


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    (found,) = [one for one in families[f"numatui_{name}"].samples if labels.items() <= one.labels.items()]
    return found.value


def test_the_numbers_are_the_kernels() -> None:
    kernel = open_scenario()
    families = scrape(kernel)
    for node in read_topology(kernel).nodes:
        assert value(families, "node_memory_bytes", node=str(node.id), kind="free") == node.free
        assert (
            value(families, "node_allocations_pages", node=str(node.id), counter="numa_hit")
            == node.numastat["numa_hit"]
        )
    names = {pid: kernel.read(f"/proc/{pid}/comm") for pid in kernel.machine.tasks}
    assert [pid for pid, name in names.items() if name == b"mysqld\n"] == [11]
    assert value(families, "command_memory_bytes", comm="mysqld", node="2") == 224 << 20
    assert value(families, "command_local_ratio", comm="mysqld") == pytest.approx(0.318, abs=1e-3)
    assert 0 < value(families, "local_ratio") < 1
    assert value(families, "up") == 1


def test_it_says_what_it_costs_itself() -> None:
    began = time.time()
    families = scrape(open_scenario())
    me = psutil.Process()
    times = me.cpu_times()
    assert 0 < value(families, "exporter_cpu_seconds") <= times.user + times.system
    assert abs(value(families, "exporter_start_time_seconds") - me.create_time()) < 1
    assert value(families, "exporter_start_time_seconds") <= began
    assert value(families, "exporter_resident_bytes") >= 1 << 20


def test_migrations_grow_the_counters() -> None:
    kernel = open_scenario()
    registry = CollectorRegistry()
    registry.register(NumatuiCollector(kernel, least=0))
    before = parsed(generate_latest(registry).decode())
    kernel.migrate_pages(11, 65, (1).to_bytes(8, "little"), (2).to_bytes(8, "little"))
    after = parsed(generate_latest(registry).decode())
    assert (
        value(after, "vm_migration_pages", counter="pgmigrate_success")
        - value(before, "vm_migration_pages", counter="pgmigrate_success")
        == (160 << 20) // 4096
    )


def test_names_are_harmless_and_series_bounded() -> None:
    machine = Admin(nodes=4, pages=4096)
    for number in range(30):
        name = HOSTILE.replace("\n", "") + str(number)
        machine.create(name, "0-3")
        task = spawn(machine.m, f"{number:02}" + HOSTILE, cpu=0)
        machine.write(name, "cgroup.procs", str(task.pid))
        region(machine.m, task, {0: 10 + number, 1: 1, 2: 1, 3: 1})
    families = scrape(machine.kernel, commands=5, cgroups=7)
    assert len({one.labels["comm"] for one in families["numatui_command_memory_bytes"].samples}) == 5
    assert len(families["numatui_command_memory_bytes"].samples) <= 5 * 4
    assert len({one.labels["cgroup"] for one in families["numatui_cgroup_memory_bytes"].samples}) == 7
    assert len(families["numatui_cgroup_memory_bytes"].samples) <= 7 * 4
    assert value(families, "processes") >= 30


def test_many_scrapes_cost_one_reading() -> None:
    kernel = open_scenario()
    now = [0.0]
    reads: list[str] = []
    inner = kernel.read
    kernel.read = lambda path, offset=0, size=-1: (reads.append(path), inner(path, offset, size))[1]  # type: ignore[method-assign]
    collector = NumatuiCollector(kernel, least=5, clock=lambda: now[0])
    list(collector.collect())
    once = len(reads)
    for _ in range(20):
        now[0] += 0.2
        list(collector.collect())
    assert len(reads) == once > 0
    now[0] += 2
    list(collector.collect())
    assert len(reads) > once


def test_a_kernel_that_cannot_be_read_is_down(tmp_path: Path) -> None:
    kernel = open_scenario()

    def broken(path: str, offset: int = 0, size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")

    kernel.read = broken  # type: ignore[method-assign]
    kernel.listdir = lambda path: broken(path)  # type: ignore[method-assign]
    assert value(scrape(kernel), "up") == 0


def test_processes_of_a_command_count_together() -> None:
    machine = Admin(nodes=4, pages=4096)
    for pages in (10, 20, 30):
        region(machine.m, spawn(machine.m, "worker", cpu=0), {1: pages})
    families = scrape(machine.kernel)
    assert value(families, "command_memory_bytes", comm="worker", node="1") == 60 * 4096


def test_what_proc_hides_is_not_told() -> None:
    class Hidden(Around):
        def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
            if path == "/proc/self/mounts":
                return b"proc /proc proc rw,hidepid=invisible 0 0\n"
            return super().read(path, offset, size)

    kernel: Any = Hidden(open_scenario())
    families = scrape(kernel)
    assert not families["numatui_command_memory_bytes"].samples
    assert value(families, "processes") > 0


@pytest.fixture
def served() -> Iterator[tuple[MetricsServer, int]]:
    """It waits longer than any test: how fast this machine is does not matter."""
    registry = CollectorRegistry()
    registry.register(NumatuiCollector(open_scenario()))
    server = MetricsServer(("127.0.0.1", 0), registry, ["db7.example.com"], longest=600)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server, server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def ask(port: int, path: str = "/metrics", host: str = "localhost") -> int:
    one = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    one.request("GET", path, headers={"Host": host})
    status = one.getresponse().status
    one.close()
    return status


def test_nothing_but_metrics_answers(served: tuple[MetricsServer, int]) -> None:
    _, port = served
    assert [ask(port, path) for path in ("/", "/metrics", "/metrics?x=1", "/favicon.ico", "/../etc/passwd")] == [
        200, 200, 200, 404, 404,
    ]  # fmt: skip


def test_it_answers_to_its_own_names(served: tuple[MetricsServer, int]) -> None:
    """A page of somebody else reaches even loopback by a name of theirs (DNS rebinding)."""
    _, port = served
    for host in ("10.0.0.1:9737", "[::1]:9737", "db7", "db7.example.com:9737", socket.gethostname()):
        assert ask(port, host=host) == 200
    for host in ("evil.example.net", "evil.example.net:9737", ""):
        assert ask(port, host=host) == 403


def test_who_sends_nothing_is_cut_off_and_keeps_nobody_out(served: tuple[MetricsServer, int]) -> None:
    server, port = served
    server.longest = 0.5
    slow = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(40)]
    for one in slow:
        with suppress(OSError):
            one.sendall(b"GET /metrics HTTP/1.1\r\nX-A: ")
    for one in slow:
        with suppress(ConnectionError):
            assert one.recv(1000) == b"", "closed without an answer"
        one.close()
    server.longest = 600
    assert ask(port) == 200


def test_silent_clients_keep_nobody_out() -> None:
    """Whoever has not asked for longest goes first."""
    registry = CollectorRegistry()
    registry.register(NumatuiCollector(open_scenario()))
    server = MetricsServer(("127.0.0.1", 0), registry, longest=600)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    port = server.server_address[1]
    slow = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(40)]
    assert ask(port) == 200
    for one in slow:
        one.close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("db7", True), ("db7:9737", True), ("10.0.0.1", True), ("[::1]:9737", True), ("db7.example.com", True),
        ("evil.com", False), ("evil.com:80:80", False), ("[evil.com]", False), ("\u00b2", False), ("", False),
        ("1.2.3.4.evil.com", False), ("db7:", False), ("1.2.3", False),
    ],
)  # fmt: skip
def test_hosts(host: str, meant: bool) -> None:
    assert is_meant(host, {"db7.example.com"}) == meant


def test_an_address_that_is_none_is_one_line(cli: Cli) -> None:
    code, _, err = cli("--demo", "exporter", "--listen", "\x1b]0;x\x07\u202e\n=1+1:1")
    assert code == 1
    assert one_line(err)


def test_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "numatui", "--demo", "exporter", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    assert child.stdout is not None
    line = child.stdout.readline()
    url = line.split()[-1]
    with urllib.request.urlopen(url, timeout=60) as answer:
        families = parsed(answer.read().decode())
    assert value(families, "up") == 1
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")


@pytest.mark.parametrize("listen", ["x", "1.2.3.4", "localhost:99999", "localhost:port", ":"])
def test_addresses_that_are_none(cli: Cli, listen: str) -> None:
    code, _, err = cli("--demo", "exporter", "--listen", listen)
    assert code == 2
    assert one_line(err)


def test_without_the_library_it_says_how_to_get_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    code, _, err = cli("--demo", "exporter")
    assert code == 5
    assert one_line(err)
    assert "numatui[exporter]" in err


@pytest.mark.parametrize("name", ["grafana.json", "grafana-fleet.json"])
def test_the_dashboard_asks_for_metrics_that_there_are(name: str) -> None:
    board = json.loads((ROOT / "docs" / name).read_text())
    machine = Admin(nodes=4, pages=4096)
    machine.create("group", "0")
    names: set[str] = set()
    labels = {"instance"}
    for kernel in (open_scenario(), machine.kernel):
        registry = CollectorRegistry()
        registry.register(NumatuiCollector(kernel, least=0))
        text = generate_latest(registry).decode()
        names |= set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) | set(
            re.findall(r"^(numatui_\w+)", text, re.MULTILINE)
        )
        labels |= set(re.findall(r'[{,](\w+)="', text))
    told = {one for panel in board["panels"] for target in panel["targets"]
            for one in re.findall(r"\{\{(\w+)\}\}|by \((\w+)\)", target["legendFormat"] + target["expr"])
            for one in one if one}  # fmt: skip
    assert told <= labels
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"numatui_\w+", target["expr"])
    }
    assert len(asked) > 7
    assert asked - names <= {"numatui_memory_pressure_ratio"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
