"""Many hosts at once: real agents on this machine in the place of far ones, of which each has its processes, so what is
measured is the controller. For 10, 100 and 300 hosts: the time, the controller's own CPU time and memory, bytes.
`fleet.py [HOSTS …]`."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from backend.fleet.reach import ask_all
from backend.kernel import Kernel
from backend.machine.topology import read_topology
from backend.placement.survey import Surveyor

SSH = '#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n'


def nodes(kernel: Kernel) -> int:
    return len(read_topology(kernel).ids)


def processes(kernel: Kernel) -> int:
    return len(Surveyor(kernel, read_topology(kernel)).read())


def main() -> None:
    ssh = Path(tempfile.mkdtemp(prefix="numatui-fleet-")) / "ssh"
    ssh.write_text(SSH)
    ssh.chmod(0o755)
    os.environ["NUMATUI_SSH"] = str(ssh)
    print("hosts  asked for      time    own CPU   a host   most memory   received   a host")
    for count in [int(one) for one in sys.argv[1:]] or [10, 100, 300]:
        hosts = [f"host{number}" for number in range(count)]
        for what in (nodes, processes):
            before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
            answers = ask_all(hosts, what)
            took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
            assert all(one.value for one in answers), [one.error for one in answers if one.error][:3]
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            received = sum(one.received for one in answers)
            print(
                f"{count:5}  {what.__name__:9}  {took:7.2f} s  {cpu:7.2f} s  {cpu / count * 1e3:4.0f} ms  "
                f"{after.ru_maxrss >> 10:9} MiB  {received / 1e6:6.2f} MB  {received / count / 1e3:4.0f} kB"
            )


if __name__ == "__main__":
    main()
