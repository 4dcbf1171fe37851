"""Why pages do not move, on a real kernel: each reason from a real cause, with counts that add up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backend.live.kernel import LiveKernel
from backend.machine.topology import read_topology
from tests.guest.inside import facilities, rig
from tests.guest.inside.rig import PAGE, LinuxVictim, MakeVictim, MiB, Numatui, numatui


def migrate(pid: int, *options: object, source: object = 0, target: object = 2) -> dict[str, Any]:
    """The outcome of moving one process."""
    done = numatui("migrate", pid, "--from", source, "--to", target, "--yes", "--json", *options)
    assert "Traceback" not in done.err
    (outcome,) = done.json["outcomes"]
    stays = done.json["plan"]["stays"]
    gone = {"gone", "process-ended", "new-program"}
    announced = all(amount <= stays.get(reason, 0) for reason, amount in outcome["left"].items() if reason not in gone)
    wrong = bool(outcome["error"]) or not announced
    assert done.code == ((6 if outcome["moved"] else 7) if wrong else 0), done
    return outcome


def adds_up(outcome: dict[str, Any], pages: int) -> None:
    """So many pages were on the source: each has moved or has a reason, and the kernel shows the same afterwards."""
    left = sum(outcome["left"].values())
    assert outcome["moved"] + left == pages * PAGE, outcome
    assert outcome["before"].get("0", 0) == pages * PAGE, outcome
    gone = sum(outcome["left"].get(reason, 0) for reason in ("gone", "process-ended", "new-program"))
    assert outcome["after"].get("0", 0) == left - gone, outcome


def test_what_all_moves_of_two_processes_goes_back_for_both(victim: MakeVictim, tmp_path: Path) -> None:
    one = victim({0: 100}, kind="shared")
    child = one.fork()
    numatui("migrate", one.pid, "--from", 0, "--to", 2, "--yes", "--json", "--all", state=tmp_path)
    assert one.pages() == {2: 100}
    done = numatui("undo", "--yes", "--json", state=tmp_path)
    assert done.code == 0, done
    assert rig.region_pages(LiveKernel(), child, one.addresses()) == one.pages() == {0: 100}
    one.verify()


def test_program_text_that_others_run_too(victim: MakeVictim) -> None:
    one = victim({0: 10})
    before = {
        vma.start: vma.pages.get(3, 0) for vma in rig.region_vmas(LiveKernel(), one.pid, range(1 << 48)) if vma.file
    }
    outcome = migrate(one.pid, source=3)
    assert set(outcome["left"]) == {"shared"}, outcome
    assert outcome["left"]["shared"] <= sum(before.values()) * PAGE
    assert outcome["after"]["3"] == outcome["left"]["shared"] > MiB
    assert outcome["moved"] + outcome["left"]["shared"] == outcome["before"]["3"]
    one.verify()


def test_a_buffer_of_an_io_uring(victim: MakeVictim) -> None:
    one = victim({0: 200})
    one.ask("register", "memory", 8)
    outcome = migrate(one.pid)
    assert outcome["left"] == {"busy": 8 * PAGE}
    adds_up(outcome, 200)
    assert one.where()["memory"] == [0] * 8 + [2] * 192
    one.verify()


@contextmanager
def full(node: int) -> Iterator[None]:
    """Little free memory there, without a pool of huge pages that huge pages could go to."""
    Path("/proc/sys/vm/drop_caches").write_text("1")
    spare = read_topology(LiveKernel()).low_watermarks[node] * PAGE + 2 * MiB
    with rig.mounted("tmpfs", f"mpol=bind:{node},size=100%", Path("/run/air")) as folder:
        with open(folder / "air", "wb") as air:
            os.posix_fallocate(air.fileno(), 0, rig.free(node) - spare)
        yield


class TestRoom:
    def test_a_target_that_is_too_small(self, victim: MakeVictim, tmp_path: Path) -> None:
        one = victim({0: 16384})
        before = one.where()
        with rig.nearly_full(2, 4 * MiB):
            done = numatui("migrate", one.pid, "--from", 0, "--to", 2, "--yes", "--json", state=tmp_path)
            (outcome,) = done.json["outcomes"]
            assert set(outcome["left"]) == {"no-room"}, outcome
            adds_up(outcome, 16384)
            assert 0 < outcome["moved"] < 64 * MiB
            assert one.pages()[2] * PAGE == outcome["moved"]
        back = numatui("undo", "--yes", "--json", state=tmp_path)
        assert back.code == 0, back
        assert back.json["outcome"]["moved"] == outcome["moved"]
        assert one.where() == before
        one.verify()

    def test_huge_pages_with_room_in_the_pool_and_without(self, victim: MakeVictim) -> None:
        """Beyond the pool the kernel takes free memory, as long as there is some."""
        with rig.huge_pages(0, 40), rig.huge_pages(2, 2):
            one = victim({0: 40 * 512}, kind="huge")
            with full(2):
                outcome = migrate(one.pid)
                adds_up(outcome, 40 * 512)
                assert set(outcome["left"]) == {"no-room"}, outcome
                assert 2 * 2 * MiB <= outcome["moved"] < 40 * 2 * MiB
                assert one.pages()[2] * PAGE == outcome["moved"]
            one.verify()
            one.end()


def test_pages_merged_by_ksm(victim: MakeVictim) -> None:
    one = victim({0: 50})
    start, length = one.ask("merge", 64, 0)
    ksm = "/sys/kernel/mm/ksm"
    with (
        rig.setting(f"{ksm}/pages_to_scan", 10000),
        rig.setting(f"{ksm}/sleep_millisecs", 1),
        rig.setting(f"{ksm}/run", 1),
    ):
        rig.wait_until(lambda: int(Path(f"{ksm}/pages_sharing").read_text()) >= 63, "the pages are merged")
        Path(f"{ksm}/run").write_text("0")
    outcome = migrate(one.pid)
    assert outcome["left"] == {"shared": 64 * PAGE}, outcome
    adds_up(outcome, 114)
    assert rig.region_pages(LiveKernel(), one.pid, range(start, start + length)) == {0: 64}
    assert one.pages() == {2: 50}


def test_pages_in_swap_stay_there_and_are_said(victim: MakeVictim) -> None:
    with facilities.swap_on(32 * MiB):
        one = victim(layout={"out": {"on": {0: 300}}, "in": {"on": {0: 100}}})
        one.page_out("out")
        rig.wait_until(lambda: set(one.where()["out"]) == {-14} or set(one.where()["out"]) == {-2}, "they are in swap")
        outcome = migrate(one.pid)
        assert outcome["complete"]
        assert outcome["swapped"] >= 300 * PAGE
        assert outcome["moved"] == 100 * PAGE
        told = rig.numatui("migrate", one.pid, "--from", 2, "--to", 0, "--yes")
        assert "in swap" in told.err
        one.verify()
        one.end()


@pytest.mark.parametrize("filesystem", ["ext4", "tmpfs"])
def test_dirty_pages_of_files_move_without_being_written(victim: MakeVictim, filesystem: str) -> None:
    folder = facilities.ext4() if filesystem == "ext4" else Path("/dev/shm")
    path = str(folder / "engine")
    one = victim(layout={"memory": {"on": {0: 300}, "kind": "file", "path": path, "dirty": True}})
    with rig.setting("/proc/sys/vm/dirty_writeback_centisecs", 0):
        Path("/proc/sys/vm/stat_refresh").write_text("1")
        before = rig.vmstat(LiveKernel(), "nr_written")
        outcome = migrate(one.pid)
        Path("/proc/sys/vm/stat_refresh").write_text("1")
        assert rig.vmstat(LiveKernel(), "nr_written") == before
    assert outcome["complete"], outcome
    adds_up(outcome, 300)
    assert one.where()["memory"] == [2] * 300
    one.verify()
    os.unlink(path)


class TestHidden:
    """By NUMA balancing, small pages and huge ones (of which move_pages says EFAULT)."""

    @pytest.fixture(params=["anon", "thp"])
    def hidden(self, request: pytest.FixtureRequest, victim: MakeVictim):
        one = victim({0: 1024}, kind=request.param)
        assert one.pages() == {0: 1024}
        with rig.hidden_by_balancing(one):
            assert set(one.where()["memory"]) == ({-2} if request.param == "anon" else {-14})
            yield one

    def test_move_pages_alone_says_so(self, hidden: LinuxVictim) -> None:
        outcome = migrate(hidden.pid, "--method", "move_pages")
        assert outcome["left"] == {"hidden": 4 * MiB}, outcome
        adds_up(outcome, 1024)
        assert hidden.pages() == {0: 1024}

    def test_auto_moves_them_and_undo_takes_them_back(self, hidden: LinuxVictim, tmp_path: Path) -> None:
        done = numatui("migrate", hidden.pid, "--from", 0, "--to", 2, "--yes", "--json", "--all", state=tmp_path)
        (outcome,) = done.json["outcomes"]
        assert outcome["complete"], outcome
        assert outcome["method"] == "move_pages+migrate_pages"
        adds_up(outcome, 1024)
        assert hidden.pages() == {2: 1024}
        Path("/proc/sys/kernel/numa_balancing").write_text("0")
        hidden.verify()
        back = numatui("undo", "--yes", "--json", state=tmp_path)
        assert back.code == 0, back
        assert hidden.pages() == {0: 1024}
        hidden.verify()


class TestMeanwhile:
    """What the process does while it is moved."""

    def begun(self, one: LinuxVictim, region: str = "memory") -> Numatui:
        command = rig.slowly(one.pid)
        rig.wait_until(lambda: one.pages(region).get(2, 0) > 0, "the first pages have moved")
        return command

    def test_it_unmaps_memory(self, victim: MakeVictim) -> None:
        one = victim(layout={"first": {"on": {0: 2048}}, "second": {"on": {0: 2048}}})
        first, last = sorted(one.regions, key=lambda name: one.regions[name][0])
        command = self.begun(one, first)
        assert one.pages(last) == {0: 2048}
        one.ask("unmap", last)
        del one.regions[last]
        done = command.wait()
        (outcome,) = done.json["outcomes"]
        assert outcome["left"] == {"gone": 8 * MiB}, outcome
        assert outcome["moved"] == 8 * MiB
        adds_up(outcome, 4096)
        assert one.where() == {first: [2] * 2048}
        one.verify()

    def test_it_becomes_another_program(self, victim: MakeVictim) -> None:
        one = victim({0: 6144})
        command = self.begun(one)
        one.tell("exec")
        done = command.wait()
        assert done.code == 4, done
        (outcome,) = done.json["outcomes"]
        assert set(outcome["left"]) == {"new-program"}, outcome
        assert outcome["moved"] + outcome["left"]["new-program"] == 24 * MiB
        assert 0 < outcome["moved"] < 24 * MiB
        assert "another program" in outcome["error"]

    def test_it_exits(self, victim: MakeVictim) -> None:
        one = victim({0: 6144})
        command = self.begun(one)
        one.tell("exit")
        one.process.wait()
        done = command.wait()
        (outcome,) = done.json["outcomes"]
        assert set(outcome["left"]) == {"process-ended"}, outcome
        assert outcome["moved"] + outcome["left"]["process-ended"] == 24 * MiB
        assert outcome["after"] == {}

    @pytest.mark.parametrize(("workers", "kind"), [("1", "anon"), ("2", "thp"), ("auto", "anon")])
    def test_it_maps_unmaps_and_forks_wildly(self, victim: MakeVictim, workers: str, kind: str) -> None:
        one = victim({0: 4096}, kind=kind)
        one.ask("churn", 3, 2)
        done = numatui(
            "migrate",
            one.pid,
            "--from",
            0,
            "--to",
            2,
            "--yes",
            "--json",
            "--workers",
            workers,
            "--budget",
            "2ms",
        )
        calm = one.ask("calm")
        assert calm["wrong"] is None
        assert calm["rounds"] > 0
        (outcome,) = done.json["outcomes"]
        assert set(outcome["left"]) <= {"shared", "busy", "gone", "unmovable"}, outcome
        assert not outcome["error"]
        here = one.pages()
        assert here.keys() <= {0, 2}
        assert sum(here.values()) == 4096
        assert outcome["moved"] + sum(outcome["left"].values()) >= 16 * MiB
        assert here.get(0, 0) * PAGE <= sum(outcome["left"].values())
        one.verify()
        again = migrate(one.pid)
        assert one.pages() == {2: 4096}, again
        one.verify()
