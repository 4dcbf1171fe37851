"""Metrics: the format, what they say, how many there are at most, what a scrape costs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from backend.emulator.scenario.open import open_scenario
from backend.emulator.tasks.life import spawn
from backend.kernel import Kernel
from backend.machine.topology import read_topology
from numatui.exporter.collector import NumatuiCollector
from tests import ROOT
from tests.cli.running import Cli, one_line
from tests.emulator.machines import region
from tests.emulator.tasks.cpuset_machine import Admin

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
    assert value(families, "process_memory_bytes", pid="11", node="2") == 224 << 20
    assert value(families, "process_local_ratio", pid="11") == pytest.approx(0.318, abs=1e-3)
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
        task = spawn(machine.m, HOSTILE + str(number), cpu=0)
        machine.write(name, "cgroup.procs", str(task.pid))
        region(machine.m, task, {0: 10 + number, 1: 1, 2: 1, 3: 1})
    families = scrape(machine.kernel, processes=5, cgroups=7)
    assert len({one.labels["pid"] for one in families["numatui_process_memory_bytes"].samples}) == 5
    assert len(families["numatui_process_memory_bytes"].samples) <= 5 * 4
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


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    board = json.loads((ROOT / "docs/grafana.json").read_text())
    machine = Admin(nodes=4, pages=4096)
    machine.create("group", "0")
    names: set[str] = set()
    for kernel in (open_scenario(), machine.kernel):
        registry = CollectorRegistry()
        registry.register(NumatuiCollector(kernel, least=0))
        text = generate_latest(registry).decode()
        names |= set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) | set(
            re.findall(r"^(numatui_\w+)", text, re.MULTILINE)
        )
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"numatui_\w+", target["expr"])
    }
    assert len(asked) > 8
    assert asked - names <= {"numatui_memory_pressure_ratio"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
