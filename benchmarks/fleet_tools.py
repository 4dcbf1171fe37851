"""The same question to several hosts by numatui's fleet, and by clush, ansible and pyinfra around numastat: real sshds
in network namespaces on this machine (root). Of two runs each the faster one: time, CPU on both sides of ssh, bytes on
the wire, lines to read. A tool that is not on PATH is left out. `fleet_tools.py [HOSTS]`."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.backend.remote.hosts import Hosts, hosts  # noqa: E402

ALL = 'numastat -p $(ls /proc | grep -E "^[0-9]+$")'


def commands(made: Hosts, folder: Path) -> dict[str, list[str]]:
    names, config = ",".join(made.names), str(made.config)
    ini, inventory = folder / "hosts.ini", folder / "hosts.py"
    ini.write_text(
        "\n".join(made.names) + f"\n[all:vars]\nansible_ssh_common_args=-F {config}\n"
        "ansible_python_interpreter=/usr/bin/python3\n"
    )
    inventory.write_text(f"hosts = {[(name, {'ssh_config_file': config}) for name in made.names]!r}\n")
    out: dict[str, list[str]] = {}
    for what, mine, shell in (("nodes", "nodes", "numastat -m"), ("processes", "ps", ALL)):
        out[f"numatui fleet {mine}"] = ["numatui", "fleet", "--hosts", names, mine]
        out[f"clush, {what}"] = ["clush", "-w", names, "-o", f"-F {config}", "-b", shell]
        out[f"ansible, {what}"] = ["ansible", "-i", str(ini), "all", "-m", "shell", "-a", shell]
        out[f"pyinfra, {what}"] = ["pyinfra", "-y", str(inventory), "exec", "--", "sh", "-c", f"'{shell}'"]
    return out


def on_the_wire() -> int:
    """Bytes of the lines to the hosts."""
    mine = Path("/sys/class/net").glob(f"nt{os.getpid() % 100000}-*")
    return sum(int((one / "statistics" / name).read_text()) for one in mine for name in ("rx_bytes", "tx_bytes"))


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float, int, int]:
    """Seconds, CPU seconds, bytes, lines."""
    wire, before, began = on_the_wire(), resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu, on_the_wire() - wire, len((done.stdout or done.stderr).splitlines())


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    folder = Path(tempfile.mkdtemp(prefix="numatui-fleet-"))
    with hosts(folder, count) as made:
        environment = {**os.environ, "NUMATUI_SSH": made.ssh(), "ANSIBLE_HOST_KEY_CHECKING": "0"}
        print(f"{count} hosts                  time      CPU       bytes   lines")
        for name, command in commands(made, folder).items():
            if shutil.which(command[0]) is not None:
                took, cpu, wire, lines = min(run(command, environment) for _ in range(2))
                print(f"{name:22} {took:6.1f} s  {cpu:5.1f} s  {wire / 1000:7.0f} kB  {lines:6}")


if __name__ == "__main__":
    main()
