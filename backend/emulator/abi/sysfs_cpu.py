"""CPU topology: /sys/devices/system/cpu and /proc/cpuinfo. Each node with CPUs is a package; each CPU is a core with
one thread (Documentation/ABI/stable/sysfs-devices-system-cpu)."""

from __future__ import annotations

import re
from collections.abc import Callable

from backend.emulator.machine import Machine
from backend.nodeset import CpuSet

CPU_DIR = "/sys/devices/system/cpu"
_CPU = re.compile(re.escape(CPU_DIR) + r"/cpu(\d+)(?:/topology(?:/(\w+))?)?\Z")


def read(m: Machine, path: str) -> bytes | None:
    """Contents of a topology file; None for other paths."""
    match = _CPU.match(path)
    if not match or int(match[1]) not in m.node_of_cpu:
        return None
    render = _TOPOLOGY.get(match[2] or "")
    return render(m, int(match[1])) if render else None


def listdir(m: Machine, path: str) -> list[str]:
    """Names of CPU directories and topology files in a directory; empty for other paths."""
    if path == CPU_DIR:
        return [f"cpu{cpu}" for cpu in sorted(m.node_of_cpu)]
    match = _CPU.match(path)
    if not match or match[2] or int(match[1]) not in m.node_of_cpu:
        return []
    return [*_TOPOLOGY] if path.endswith("/topology") else ["topology"]


def cpuinfo(m: Machine) -> bytes:
    """/proc/cpuinfo, with only the fields from which programs count CPUs and cores."""
    return "".join(
        f"processor\t: {cpu}\nphysical id\t: {m.node_of_cpu[cpu]}\ncore id\t\t: {_core(m, cpu)}\n\n"
        for cpu in sorted(m.node_of_cpu)
    ).encode()


def hexmask(m: Machine, cpus: CpuSet) -> bytes:
    """A CPU mask in the kernel's format (bitmap_print_to_pagebuf()): groups of 32 bits, as wide as the machine."""
    bits = sum(1 << cpu for cpu in cpus)
    words = range(max(m.node_of_cpu, default=0) // 32 + 1)
    return (",".join(f"{bits >> 32 * word & 0xFFFFFFFF:08x}" for word in reversed(words)) + "\n").encode()


def _core(m: Machine, cpu: int) -> int:
    return list(m.nodes[m.node_of_cpu[cpu]].cpus).index(cpu)


def _package(m: Machine, cpu: int) -> CpuSet:
    return m.nodes[m.node_of_cpu[cpu]].cpus


def _number(number: int) -> bytes:
    return b"%d\n" % number


_TOPOLOGY: dict[str, Callable[[Machine, int], bytes]] = {
    "physical_package_id": lambda m, cpu: _number(m.node_of_cpu[cpu]),
    "core_id": lambda m, cpu: _number(_core(m, cpu)),
    "thread_siblings": lambda m, cpu: hexmask(m, CpuSet([cpu])),
    "thread_siblings_list": lambda m, cpu: _number(cpu),
    "core_cpus": lambda m, cpu: hexmask(m, CpuSet([cpu])),
    "core_cpus_list": lambda m, cpu: _number(cpu),
    "core_siblings": lambda m, cpu: hexmask(m, _package(m, cpu)),
    "core_siblings_list": lambda m, cpu: f"{_package(m, cpu)}\n".encode(),
    "package_cpus": lambda m, cpu: hexmask(m, _package(m, cpu)),
    "package_cpus_list": lambda m, cpu: f"{_package(m, cpu)}\n".encode(),
}
