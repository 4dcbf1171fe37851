"""Small proc and sys trees for tests."""

from __future__ import annotations

from pathlib import Path

MEMINFO = (
    "Node {node} MemTotal:  {total} kB\nNode {node} MemFree:  {free} kB\nNode {node} AnonPages:  512 kB\nNode "
    "{node} HugePages_Total:  2\nNode {node} Strange_New: 5 kB\n"
)


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    """Files by path below `root`; returns it."""
    for name, contents in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    return root


def node_files(
    node: int, distance: str, cpulist: str = "", total: int = 1024, free: int = 512
) -> dict[str, str | bytes]:
    base = f"sys/devices/system/node/node{node}"
    return {
        f"{base}/distance": distance + "\n",
        f"{base}/cpulist": cpulist + "\n",
        f"{base}/meminfo": MEMINFO.format(node=node, total=total, free=free),
        f"{base}/numastat": "numa_hit 10\nnuma_miss 2\n",
    }


def two_nodes(root: Path) -> Path:
    return write(
        root,
        {
            "sys/devices/system/node/online": "0-1\n",
            **node_files(0, "10 21", "0-3"),
            **node_files(1, "21 10", "4-7"),
            "proc/sys/kernel/osrelease": "6.1.0\n",
            **process_files(7, b"postgres"),
        },
    )


NUMA_MAPS = (
    b"55d000000000 default file=/usr/bin/x mapped=3 mapmax=4 N0=3 kernelpagesize_kB=4\n"
    b"55d100000000 default heap anon=5 dirty=5 active=0 N0=2 N1=3 kernelpagesize_kB=4\n"
    b"7f0000000000 bind:1 huge anon=2 dirty=2 N1=2 kernelpagesize_kB=2048\n"
    b"7ffc00000000 default stack anon=1 dirty=1 N0=1 kernelpagesize_kB=4\n"
)


def process_files(
    pid: int, name: bytes, numa_maps: bytes = NUMA_MAPS, start: int = 100, cpu: int = 1
) -> dict[str, str | bytes]:
    fields = f"S 1 1 1 0 -1 0 0 0 0 0 5 6 0 0 20 0 1 0 {start} 0 11 " + "0 " * 13 + f"17 {cpu} 0 0 0\n"
    return {
        f"proc/{pid}/stat": b"%d (%s) " % (pid, name) + fields.encode(),
        f"proc/{pid}/status": b"Name:\tx\nUid:\t1000\t1000\t1000\t1000\nVmSwap:\t 8 kB\nMems_allowed_list:\t0-1\n",
        f"proc/{pid}/cmdline": name + b"\0-D\0",
        f"proc/{pid}/numa_maps": numa_maps,
        f"proc/{pid}/cpuset": "/\n",
        f"proc/{pid}/cgroup": "0::/system.slice/x.service\n",
    }
