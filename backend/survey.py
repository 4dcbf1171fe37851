"""All processes with their pages per node, read again and again: what the process table and `ps` show."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from backend.errors import NotFound, NotPermitted, ParseError
from backend.kernel import Kernel
from backend.placement import local_share, parse_totals
from backend.process import Identity, Process, Stat, pids, process_error, read_process, read_stat
from backend.text import decode
from backend.topology import Topology

_POLICY = re.compile(rb"^[0-9a-f]+ (prefer \(many\)\S*|weighted interleave\S*|\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One process and where its memory lies. `by_node`: bytes, ascending by node; None where the kernel refuses to
    tell. `policy`: the one policy of its VMAs, or the first that is not the default, with `+` when there are more."""

    process: Process
    by_node: dict[int, int] | None
    node: int | None
    policy: str

    @property
    def local(self) -> float | None:
        """The share of its memory on the node it runs on."""
        return local_share(self.by_node, self.node) if self.by_node else None

    @property
    def resident(self) -> int:
        return sum(self.by_node.values()) if self.by_node else self.process.rss


class Surveyor:
    """Reads all processes; what changes slowly (name, user, command line) is kept by identity."""

    def __init__(self, kernel: Kernel, topology: Topology, kernel_threads: bool = False) -> None:
        self.kernel = kernel
        self.topology = topology
        self.kernel_threads = kernel_threads
        self._known: dict[Identity, Process] = {}

    def read(self, wanted: Callable[[Process], bool] = lambda _: True) -> list[Row]:
        """A row for each process that is `wanted` and still there, ascending by pid. Raises OSError, ParseError only
        where /proc itself cannot be listed."""
        rows: list[Row] = []
        seen: dict[Identity, Process] = {}
        for pid in pids(self.kernel):
            try:
                stat = read_stat(self.kernel, pid)
                if stat.is_kernel_thread and not self.kernel_threads:
                    continue
                process = self._process(stat)
                seen[stat.identity] = process
                if wanted(process):
                    rows.append(self._row(process))
            except (NotFound, NotPermitted, ParseError):
                continue
        self._known = seen
        return rows

    def _process(self, stat: Stat) -> Process:
        known = self._known.get(stat.identity)
        if known is None or known.comm != stat.comm:
            return read_process(self.kernel, stat.identity.pid, stat)
        return replace(
            known,
            ppid=stat.ppid,
            state=stat.state,
            threads=stat.threads,
            cpu=stat.cpu,
            rss=stat.rss * self.kernel.page_size,
        )

    def _row(self, process: Process) -> Row:
        node = self.topology.node_of_cpu.get(process.cpu)
        if process.is_kernel_thread:
            return Row(process, {}, node, "")
        try:
            raw = self.kernel.read(f"/proc/{process.pid}/numa_maps")
        except OSError as exc:
            error = process_error(self.kernel, process.pid, exc)
            if isinstance(error, NotPermitted):
                return Row(process, None, node, "?")
            raise error from None
        return Row(
            process, dict(sorted(parse_totals(raw, self.kernel.page_size).items())), node, _policy(raw)
        )


def _policy(raw: bytes) -> str:
    lines = raw.count(b"\n")
    if lines and raw.count(b" default ") + raw.count(b" default\n") == lines:
        return "default"
    policies = set(_POLICY.findall(raw))
    others = sorted(policies - {b"default"})
    if not others:
        return "default" if policies else ""
    return decode(others[0]) + ("+" if len(others) > 1 else "")
