"""Jobs that are killed, stopped and taken back on a real kernel: the placement is then what it was, page by page."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.guest.inside import rig
from tests.guest.inside.rig import PAGE, LinuxVictim, MakeVictim, MiB, Numatui, Result, numatui

LAYOUT = {
    "first": {"on": {0: 1500, 1: 500, 2: 100}},
    "second": {"on": {1: 1200, 0: 300, 3: 50}},
    "huge": {"on": {0: 1024}, "kind": "thp"},
}
MOVE = ("--from", "0-1", "--to", "1-2", "--yes", "--json")
"""0 to 1 and 1 to 2: pages are on both targets already."""


def started(one: LinuxVictim, state: Path, *options: str, rate: str = "4MiB") -> Numatui:
    """A job of 18 MiB, in progress."""
    before = one.where()
    command = Numatui(("migrate", str(one.pid), *MOVE, "--max-rate", rate, *options), state=state)
    rig.wait_until(lambda: one.where() != before, "the first pages have moved")
    return command


def moved_pages(before: dict[str, list[int]], now: dict[str, list[int]]) -> int:
    return sum(a != b for name in before for a, b in zip(before[name], now[name], strict=True))


def jobs(state: Path) -> list[dict[str, Any]]:
    done = numatui("jobs", "--json", state=state)
    assert done.code == 0, done
    assert done.json["problems"] == []
    return done.json["jobs"]


def undo(state: Path, *options: str, **how: Any) -> Result:
    return numatui("undo", "--yes", "--json", *options, state=state, **how)


@pytest.mark.parametrize("workers", ["1", "2", "auto"])
def test_killed_at_any_moment_and_taken_back(victim: MakeVictim, tmp_path: Path, workers: str) -> None:
    one = victim(layout=LAYOUT)
    before = one.where()
    chance = random.Random(workers)
    for _ in range(2):
        command = started(one, tmp_path, "--workers", workers)
        time.sleep(chance.uniform(0, 1.5))
        os.kill(command.pid, signal.SIGKILL)
        assert command.wait().code == -signal.SIGKILL
        now = one.where()
        moved = moved_pages(before, now)
        assert 0 < moved < 4524
        newest = jobs(tmp_path)[0]
        assert newest["state"] == "interrupted"
        assert newest["moved"] <= moved * PAGE
        done = undo(tmp_path)
        assert done.code == 0, done
        assert one.where() == before
        assert done.json["outcome"]["moved"] == moved * PAGE
        assert [job["undone_by"] is not None for job in jobs(tmp_path)[:2]] == [False, True]
        one.verify()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_stop_it_cleanly_and_it_can_be_taken_back(
    victim: MakeVictim, tmp_path: Path, number: signal.Signals
) -> None:
    one = victim(layout=LAYOUT)
    before = one.where()
    command = started(one, tmp_path)
    os.kill(command.pid, number)
    done = command.wait()
    assert done.code == 130, done
    assert "Traceback" not in done.err
    (outcome,) = done.json["outcomes"]
    moved = moved_pages(before, one.where())
    assert outcome["cancelled"]
    assert outcome["moved"] == moved * PAGE
    assert outcome["moved"] + outcome["left"]["cancelled"] == 4524 * PAGE
    assert jobs(tmp_path)[0]["state"] == "cancelled"
    back = undo(tmp_path)
    assert back.code == 0, back
    assert back.json["outcome"]["moved"] == moved * PAGE
    assert one.where() == before
    one.verify()


def test_a_second_job_on_the_process_is_refused_while_one_runs(
    victim: MakeVictim, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    one = victim(layout=LAYOUT)
    elsewhere = tmp_path_factory.mktemp("another-state")
    before = one.where()
    command = started(one, tmp_path, rate="1MiB")
    numatui("migrate", one.pid, *MOVE, state=tmp_path).refused(8, "being moved already")
    numatui("migrate", one.pid, *MOVE, state=elsewhere).refused(8, "being moved already")
    (running,) = jobs(tmp_path)
    assert running["state"] == "running"
    undo(tmp_path, running["job"]).refused(1, "still running")
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    assert undo(tmp_path).code == 0
    assert one.where() == before
    undo(tmp_path, running["job"]).refused(1, "undone already")
    undo(tmp_path).refused(4, "no job to undo")
    undo(tmp_path, "20260101-000000-1-abcdef").refused(4, "no job")


def test_undo_after_the_process_has_gone(victim: MakeVictim, tmp_path: Path) -> None:
    one = victim({0: 50})
    assert numatui("migrate", one.pid, *MOVE, state=tmp_path).code == 0
    one.end()
    undo(tmp_path).refused(4, f"no process {one.pid}")


def test_undo_after_its_number_was_given_to_another(victim: MakeVictim, tmp_path: Path) -> None:
    one = victim({0: 50})
    assert numatui("migrate", one.pid, *MOVE, state=tmp_path).code == 0
    one.end()
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(one.pid - 1))
    other = victim({1: 50})
    assert other.pid == one.pid
    undo(tmp_path).refused(4, "another has its number")
    assert other.pages() == {1: 50}


def test_undo_after_another_program_has_begun_in_it(victim: MakeVictim, tmp_path: Path) -> None:
    one = victim({0: 50})
    assert numatui("migrate", one.pid, *MOVE, state=tmp_path).code == 0
    one.tell("exec")
    rig.wait_until(lambda: os.readlink(f"/proc/{one.pid}/exe").endswith("sleep"), "it runs another program")
    undo(tmp_path).refused(4, "another program")


def test_a_full_state_directory_is_one_line_before_anything_moves(victim: MakeVictim, tmp_path: Path) -> None:
    one = victim({0: 50})
    with rig.mounted("tmpfs", "size=64k", tmp_path / "disk") as disk:
        assert numatui("migrate", one.pid, *MOVE, state=disk).code == 0
        with open(disk / "ballast", "wb", 0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        undo(disk).refused(1, "the disk is full", "XDG_STATE_HOME")
        assert one.pages() == {1: 50}
        (disk / "ballast").unlink()
        assert undo(disk).code == 0
        assert one.pages() == {0: 50}


def test_an_undo_that_is_killed_is_gone_on_with(victim: MakeVictim, tmp_path: Path) -> None:
    one = victim(layout=LAYOUT)
    before = one.where()
    assert numatui("migrate", one.pid, *MOVE, state=tmp_path).code == 0
    after = one.where()
    (first,) = jobs(tmp_path)
    command = Numatui(("undo", "--yes", "--json", "--max-rate", "4MiB"), state=tmp_path)
    rig.wait_until(lambda: one.where() != after, "the first pages are back")
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    assert one.where() != before
    done = undo(tmp_path)
    assert done.code == 0, done
    assert done.json["undoes"] == first["job"]
    assert one.where() == before
    one.verify()


def test_a_process_with_its_children(victim: MakeVictim, tmp_path: Path) -> None:
    one = victim({0: 100})
    child = one.fork(0)
    pages = lambda pid: rig.region_pages(rig.LiveKernel(), pid, one.addresses())  # noqa: E731
    assert pages(child) == pages(one.pid) == {0: 100}
    done = numatui("migrate", one.pid, "--tree", "--from", 0, "--to", 2, "--yes", "--json", state=tmp_path)
    assert done.json["plan"]["processes"][1]["pid"] == child
    by_pid = {outcome["pid"]: outcome for outcome in done.json["outcomes"]}
    assert by_pid.keys() == {one.pid, child}
    assert pages(child) == pages(one.pid) == {2: 100}
    assert by_pid[child]["moved"] >= 100 * PAGE
    (job,) = jobs(tmp_path)
    assert [one["pid"] for one in job["processes"]] == [one.pid, child]
    back = undo(tmp_path)
    assert back.code == 0, back
    assert (pages(child), pages(one.pid)) == ({0: 100}, {0: 100})
    one.verify()


def test_a_sparse_terabyte_costs_one_pass_over_it(victim: MakeVictim, tmp_path: Path) -> None:
    """Before PAGEMAP_SCAN (Linux 6.7) nothing tells where in a mapping its pages are: it is looked for once, and
    numa_maps, which skips holes, tells the rest."""
    from backend.process.process import read_process
    from tests.backend.job.running import plan_for, run_job

    read: list[int] = []

    class Counting(rig.LiveKernel):
        def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
            raw = super().read(path, offset, size)
            if path.endswith("/pagemap"):
                read.append(len(raw))
            return raw

    one = victim(layout={})
    span = 64 << 30
    start = one.ask("sparse", span, 300, 0)
    one.regions = {f"page {n}": (start + span // 300 * n // PAGE * PAGE, PAGE) for n in range(300)}
    kernel = Counting()
    process = read_process(kernel, one.pid)
    plan = plan_for(kernel, process, [0], [2])
    began = time.monotonic()
    outcome = run_job(kernel, plan, tmp_path / "jobs")
    print(f"{span >> 30} GiB: {time.monotonic() - began:.2f} s, {sum(read) / MiB:.0f} MiB of pagemap")
    assert outcome.complete
    assert {node for nodes in one.where().values() for node in nodes} == {2}
    assert outcome.moved >= 300 * PAGE
    one.verify()
    assert sum(read) <= span // PAGE * 8 * 1.01
