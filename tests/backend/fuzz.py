"""Every parser with what nobody wrote: whole examples, changed a little or much. `python -m tests.backend.fuzz
[--seconds 5] [--seed 0]` prints a table; anything but a NumatuiError ends it."""

from __future__ import annotations

import argparse
import io
import json
import random
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from backend.cgroup.cgroup_memory import parse_numa_stat
from backend.cgroup.cgroups import parse_mounts, parse_pids, parse_proc_cgroup
from backend.doctor.memory import parse_swaps
from backend.emulator.abi.proc_numatui import parse_zones
from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.shipped import FOLDER as SCENARIOS
from backend.errors import NumatuiError
from backend.files.text import decode
from backend.job.saved_plan import parse_plan
from backend.journal.journal import CHUNK
from backend.journal.journal_file import MAGIC, Kind, fact, frame
from backend.journal.page_runs import encode_pages
from backend.machine.activity import parse_cpu_times
from backend.machine.topology import parse_counters, parse_meminfo, parse_watermarks
from backend.mover.policy import parse_policy
from backend.nodeset import CpuSet, NodeSet
from backend.placement.numa_maps import join_maps, parse_numa_maps, parse_totals
from backend.placement.placement_walk import parse_maps
from backend.plan.remap import Move
from backend.process.hidepid import parse_hidepid
from backend.process.process import parse_stat, parse_status
from backend.recording.anonymise import Anonymiser
from backend.recording.kernel import RecordedKernel
from backend.recording.manifest import parse_manifest, parse_sample
from numatui.cli.app import run
from numatui.config import load as load_config
from numatui.exporter.server import is_meant
from numatui.theming import load as load_theme
from numatui.tui.model.filtering import Filter
from numatui.tui.state.saved_state import SavedState
from numatui.tui.state.saved_state import load as load_state
from tests import ROOT
from tests.backend.journal.journals import HEAD, HUGE, begin, everything, left, move_some, pages

NUMA_MAPS = (
    b"7f0000000000 default file=/usr/lib/libc.so\\040x mapped=3 mapmax=9 N0=1 N3=2 kernelpagesize_kB=4\n"
    b"7f0000010000 bind=static:0-1 heap anon=5 dirty=5 active=0 N1=5 kernelpagesize_kB=4\n7ffe00000000 prefer:2 "
    b"stack anon=1 N2=1\n"
    b"400000 interleave:0,2 huge file=/anon_hugepage dirty=2 N0=1 N2=1 kernelpagesize_kB=2048\n"
)
MAPS = (
    b"00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus daemon\n7f00-8f00 rw-s 00000000 00:01 9 "
    b"/dev/zero (deleted)\n"
    b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"
)
STAT = (
    b"42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 55 1000 20 18446744073709551615 1 2 3 0 0 0 0 "
    b"0 0 0 0 0 17 5 0 0 0 0 0 1 2 3 4 5 6 7 0\n"
)
STATUS = (
    b"Name:\ta\nState:\tS\nUid:\t1\t1\t1\t1\nVmSwap:\t 12 "
    b"kB\nCpus_allowed_list:\t0-3,7\nMems_allowed_list:\t0\nThreads:\t3\n"
)
MEMINFO = b"Node 0 MemTotal:  1024 kB\nNode 0 MemFree: 9 kB\nNode 0 HugePages_Total: 2\n"
ZONEINFO = (
    b"Node 0, zone   Normal\n  pages free 5\n        min      1\n        low      2\n        high     3\n    "
    b"    spanned  9\n  start_pfn: 4\n"
)
NUMA_STAT = b"anon N0=4096 N1=0\nfile N0=1 N1=2\ntotal=9 N0=3 N1=6\nhierarchical_total=9 N0=9\n"
MOUNTS = (
    b"cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\nnone /sys/fs/cgroup/cpuset\\040x cgroup "
    b"rw,cpuset,noprefix 0 0\n"
)
POLICY = (
    "interval: 5s\nquiet: ['08:00-18:00']\nallow: [{user: a, command: 'b*'}, {exe: /bin/x, unit: y.service, min: 4M}]\n"
    "stop: {errors: 3, pressure: 10%}\n"
)
CONFIG = b"theme: light\ninterval: 2s\nkeys: {migrate: 'm', quit: 'q,f10'}\n"
TUI_JSON = json.dumps(asdict(SavedState())).encode()
MANIFEST = (
    b'{"schema": "numatui/recording/1", "name": "x", "of": "live", "page_size": 4096, "interval": 1.0, '
    b'"anonymised": false}'
)
SAMPLE = b'{"at": 5, "wall": 1.5, "gone": ["/proc/1"], "users": {"0": "root"}}'
TIMES = b"cpu 1 2 3 4\ncpu0 10 20 30 40 50 60 70 80 90 100\ncpu11 1 2 3 4 5 6 7 8\n"


def _journal() -> bytes:
    """As a job writes it."""
    journal = begin(Path(tempfile.mkdtemp(prefix="numatui-fuzz-")))
    move_some(journal, 5, 1)
    journal.after(journal.before(0, Move(1, 3), HUGE, pages(1 << 30, 2, HUGE), shared=True), left(2))
    journal.end("partly", moved=4206592, left={"busy": 4096}, error="", worst_call=5)
    return journal.path.read_bytes()


WHOLE_HEAD = {"at": 1.0, **HEAD}
CHUNK_OF_PAGES = CHUNK.pack(0, 0, 2, 4096, 0) + encode_pages(pages(0, 99)[::3], 4096)


def _sealed(kind: Kind, raw: bytes) -> bytes:
    """A journal with this frame: its checksum is right, whatever is in it."""
    return MAGIC + (b"" if kind == b"J" else fact(WHOLE_HEAD)) + frame(kind, raw)


def _tarball() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in {
            "r/proc/7/stat": STAT, "r/sys/devices/system/node/online": b"0\n", "r/numatui/manifest.json": MANIFEST,
            "r/numatui/samples/000000/sample.json": SAMPLE, "r/numatui/samples/000001/files/proc/7/stat": STAT,
            "r/numatui/samples/000001/sample.json": SAMPLE,
        }.items():  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _through_file(parse: Callable[[Path], Any], name: str) -> Callable[[bytes], Any]:
    folder = Path(tempfile.mkdtemp(prefix="numatui-fuzz-"))

    def run(raw: bytes) -> Any:
        path = folder / name
        path.write_bytes(raw)
        path.chmod(0o600)
        return parse(path)

    return run


def _walk(path: Path) -> None:
    kernel = RecordedKernel(path)
    for number in range(len(kernel.samples)):
        kernel.seek(number)
        kernel.settle()
        try:
            for pid in kernel.listdir("/proc"):
                kernel.read(f"/proc/{pid}/stat")
        except OSError:
            continue


def _anonymised(raw: bytes) -> None:
    for name in ("stat", "status", "cmdline", "comm", "cgroup", "cpuset", "maps", "numa_maps"):
        Anonymiser().file(f"/proc/7/{name}", raw)


def _saved(command: Literal["plan", "advise"]) -> bytes:
    """What that command prints with --json."""
    words = ("plan", "11", "--from", "2", "--to", "1") if command == "plan" else ("advise", "--observe", "2s")
    with redirect_stdout(io.StringIO()) as out:
        run(["--demo", *words, "--json"])
    return out.getvalue().encode()


def _text(parse: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda raw: parse(raw.decode("utf-8", "replace"))


_JOB = _through_file(everything, "7.job")
NODES = NodeSet([0, 1, 2, 3])
THEMES = ROOT / "themes"
SCENARIO = (SCENARIOS / "huge-pages.yaml").read_bytes()
PARSERS: dict[str, tuple[Callable[[bytes], Any], bytes]] = {
    "numa_maps": (lambda raw: parse_numa_maps(raw, 4096), NUMA_MAPS),
    "numa_maps, totals": (lambda raw: parse_totals(raw, 4096), NUMA_MAPS),
    "numa_maps with maps": (lambda raw: join_maps(parse_numa_maps(NUMA_MAPS, 4096), raw), MAPS),
    "maps": (parse_maps, MAPS),
    "stat": (parse_stat, STAT),
    "status": (parse_status, STATUS),
    "meminfo": (parse_meminfo, MEMINFO),
    "counters": (parse_counters, b"numa_hit 5\npgmigrate_success 7\n"),
    "zoneinfo": (parse_watermarks, ZONEINFO),
    "CPU times": (parse_cpu_times, TIMES),
    "swaps": (parse_swaps, b"Filename\tType\tSize\tUsed\tPriority\n/dev/x partition 1 0 -2\n"),
    "mounts": (parse_mounts, MOUNTS),
    "cgroup": (parse_proc_cgroup, b"3:cpuset,memory:/a/b\n0::/c (deleted)\n"),
    "cgroup.procs": (parse_pids, b"1\n22\n0\n22\n"),
    "memory.numa_stat": (parse_numa_stat, NUMA_STAT),
    "cpulist, nodelist": (_text(CpuSet.parse_list), b"0-3,7,9-11"),
    "node strings": (_text(lambda text: NodeSet.parse(text, NODES)), b"!1-2,3"),
    "scenario": (_text(lambda text: parse_description(text, "f")), SCENARIO),
    "policy": (_text(parse_policy), POLICY.encode()),
    "theme": (
        _through_file(load_theme, "t.yaml"),
        (THEMES / "dark.yaml").read_bytes(),
    ),
    "filter": (
        _text(lambda text: Filter.parse(text, _topology())),
        b'user:a node:0-1 !local<50 n2>5M "cgroup:/a b" cpu>3',
    ),
    "journal": (_JOB, _journal()),
    "head of a journal": (lambda raw: _JOB(_sealed(b"J", raw)), json.dumps(WHOLE_HEAD).encode()),
    "pages of a journal": (lambda raw: _JOB(_sealed(b"C", raw)), CHUNK_OF_PAGES),
    "manifest": (parse_manifest, MANIFEST),
    "sample": (parse_sample, SAMPLE),
    "recording": (_through_file(_walk, "r.tar"), _tarball()),
    "hidepid": (parse_hidepid, b"proc /proc proc rw,nosuid,hidepid=invisible,gid=5 0 0\n"),
    "Host of a request": (_text(lambda text: is_meant(text, {"db7", "db7.example.com"})), b"db7.example.com:9737"),
    "configuration": (_through_file(load_config, "config.yaml"), CONFIG),
    "state of the screen": (_through_file(load_state, "tui.json"), TUI_JSON),
    "saved plan": (lambda raw: parse_plan(raw, ("high",)), _saved("plan")),
    "saved advice": (lambda raw: parse_plan(raw, ("low", "medium", "high")), _saved("advise")),
    "anonymising": (_anonymised, NUMA_MAPS + MAPS + STAT + STATUS),
    "zones": (parse_zones, b"0 1 2\n1 3 4\n"),
    "names": (decode, "caf\u00e9 進程".encode()),
}


def _topology(kept: list[Any] = []) -> Any:  # noqa: B006
    if not kept:
        from backend.emulator.scenario.open import open_scenario
        from backend.machine.topology import read_topology

        kept.append(read_topology(open_scenario("scheduler-moves")))
    return kept[0]


def changed(raw: bytes, rnd: random.Random) -> bytes:
    """A few changes: bytes, numbers, pieces taken away, doubled or put elsewhere."""
    out = bytearray(raw)
    for _ in range(rnd.choice((1, 1, 2, 4, 16))):
        at = rnd.randrange(len(out) + 1)
        what = rnd.randrange(7)
        if what == 0:
            out[at:at] = bytes([rnd.randrange(256)])
        elif what == 1 and out:
            out[min(at, len(out) - 1)] = rnd.randrange(256)
        elif what == 2:
            del out[at : at + rnd.randint(1, 20)]
        elif what == 3:
            out[at:at] = out[at : at + rnd.randint(1, 200)]
        elif what == 4:
            out[at:at] = rnd.choice(
                (
                    b"18446744073709551616",
                    b"-1",
                    b"9" * 400,
                    b"0x7f",
                    b"1e999",
                    b"\xff\xfe",
                    b"\0",
                    b"\n",
                    b"\x1b[",
                )
            )
        elif what == 5:
            out[at:at] = bytes(rnd.randrange(256) for _ in range(rnd.randint(1, 30)))
        else:
            other = rnd.randrange(len(out) + 1)
            piece = out[other : other + rnd.randint(1, 60)]
            out[at:at] = piece
    return bytes(out[: 1 << 20])


def fuzz(name: str, seed: int, go_on: Callable[[int], bool]) -> tuple[int, int]:
    """(tried, refused with a NumatuiError). Raises what a parser raises besides, with the input."""
    parse, example = PARSERS[name]
    rnd = random.Random(f"{name} {seed}")
    tried = refused = 0
    while go_on(tried):
        raw = changed(example, rnd) if tried else example
        tried += 1
        try:
            parse(raw)
        except NumatuiError:
            refused += 1
        except Exception as exc:
            raise AssertionError(f"{name}: {type(exc).__name__}: {exc}: {raw[:2000]!r}") from exc
    return tried, refused


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print("| parser | inputs | refused | seconds |\n|---|---|---|---|")
    total = 0
    for name in PARSERS:
        began = time.monotonic()
        tried, refused = fuzz(name, chosen.seed, lambda _, began=began: time.monotonic() - began < chosen.seconds)
        total += tried
        print(f"| {name} | {tried:,} | {refused:,} | {time.monotonic() - began:.0f} |", flush=True)
    print(f"| together | {total:,} | | |")


if __name__ == "__main__":
    main()
