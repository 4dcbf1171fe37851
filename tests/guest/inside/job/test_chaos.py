"""Things go wrong in the middle of a job on a real kernel: nothing is lost, and what moved can be taken back.

`NUMATUI_CHAOS_ROUNDS` is how often each happens; tests/backend/job/chaos.py does the same to the emulated machine, many
times as often."""

from __future__ import annotations

import os
import random
import signal
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from backend.live.kernel import LiveKernel
from tests.guest.inside import rig
from tests.guest.inside.rig import PAGE, USER, MakeVictim, Numatui, Result, numatui

ROUNDS = int(os.environ.get("NUMATUI_CHAOS_ROUNDS", "1"))
COMES_AND_GOES = 3
"""The node whose memory can be plugged out."""
ANY_SETS = [("0", "2"), ("0", "3"), ("3", "2"), ("3", "0"), ("0,3", "2"), ("0,3", "2-3")]
SETS = {"source goes": [("3", "2"), ("3", "0"), ("0,3", "2")], "target goes": [("0", "3")]}
"""Nothing comes from node 2, where all else that a victim has is."""
Nodes = list[int]


class Round:
    """One job, in the middle of which something happens. `placement` is by page, as move_pages(2) says."""

    def __init__(self, victim: MakeVictim, folder: Path, kind: str, number: int) -> None:
        self.make, self.kind, self.chance = victim, kind, random.Random(f"{kind} {number}")
        self.uid = USER if kind == "permission lost" else 0
        self.state = folder / "state"
        self.state.mkdir()
        os.chown(self.state, self.uid, self.uid)
        layout = {node: self.chance.randint(1100, 2400) for node in (0, 2, 3)}
        self.one = victim(layout, uid=self.uid, home=2)
        self.sources, self.targets = self.chance.choice(SETS.get(kind, ANY_SETS))
        self.before = self.placement()
        self.over = ExitStack()

    def placement(self) -> Nodes:
        return self.one.where()["memory"]

    def changed(self) -> int:
        return different(self.before, self.placement())

    def start(self) -> Numatui:
        """The job (2 MiB a call: it cannot know that there are no transparent huge pages), after a part of its pages
        that chance chooses has moved."""
        goal = int(self.before.count(int(self.sources[0])) * self.chance.uniform(0, 0.5))
        workers = self.chance.choice(["1", "2", "auto"])
        words = ("migrate", self.one.pid, "--from", self.sources, "--to", self.targets, "--yes", "--json")
        command = Numatui(
            (*map(str, words), "--max-rate", "4MiB/s", "--workers", workers), uid=self.uid, state=self.state
        )
        rig.wait_until(lambda: self.changed() > goal, f"more than {goal} pages have moved")
        return command

    def undo(self) -> Result:
        return numatui("undo", "--yes", "--json", uid=self.uid, state=self.state)

    def undone(self, but: int = 0) -> None:
        """Taken back: every page but so many is where it was."""
        back = self.undo()
        assert back.code in ((0,) if not but else (0, 6)), back
        assert different(self.before, self.placement()) <= but, back
        self.one.verify()

    def told(self, done: Result) -> int:
        """The pages that a job says it has moved; it says it in one document, whatever became of it."""
        assert "Traceback" not in done.err, done
        (outcome,) = done.json["outcomes"]
        return outcome["moved"] // PAGE


def different(before: Nodes, after: Nodes) -> int:
    return sum(a != b for a, b in zip(before, after, strict=True))


@pytest.fixture
def everything_online() -> Iterator[None]:
    yield
    rig.set_online(COMES_AND_GOES, True)


@pytest.fixture(params=range(ROUNDS))
def chaos(
    request: pytest.FixtureRequest, victim: MakeVictim, tmp_path: Path, everything_online: None
) -> Iterator[Callable[[str], Round]]:
    """Makes the round of that kind."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    made: list[Round] = []

    def make(kind: str) -> Round:
        made.append(Round(victim, tmp_path, kind, request.param))
        return made[0]

    yield make
    made[0].over.close()


def test_the_process_exits(chaos: Callable[[str], Round]) -> None:
    it = chaos("process exits")
    command = it.start()
    it.one.end()
    done = command.wait()
    assert done.code == 4, done
    assert "ended" in done.err + done.out
    it.undo().refused(4, str(it.one.pid))


def test_its_number_is_given_to_another(chaos: Callable[[str], Round]) -> None:
    it = chaos("pid is used again")
    command = it.start()
    it.one.end()
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(it.one.pid - 1))
    other = it.make({0: 60, 2: 60, 3: 60}, home=2)
    there = other.where()
    done = command.wait()
    assert other.pid == it.one.pid
    assert done.code == 4, done
    it.undo().refused(4, "another has its number")
    assert other.where() == there
    other.verify()


def test_another_program_begins_in_it(chaos: Callable[[str], Round]) -> None:
    it = chaos("another program")
    command = it.start()
    it.one.tell("exec")
    done = command.wait()
    assert done.code == 4, done
    assert "Traceback" not in done.err
    it.undo().refused(4, "another program")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_is_stopped(chaos: Callable[[str], Round], number: signal.Signals) -> None:
    it = chaos(number.name)
    command = it.start()
    os.kill(command.pid, number)
    done = command.wait()
    if number == signal.SIGTERM:
        assert done.code == 130, done
        assert it.told(done) == it.changed()
    assert it.changed() > 0
    it.undone()


def test_permission_is_lost(chaos: Callable[[str], Round]) -> None:
    it = chaos("permission lost")
    command = it.start()
    it.one.ask("set_dumpable", False)
    done = command.wait()
    assert done.code in (3, 6), done
    moved = it.changed()
    assert it.told(done) == moved
    it.undo().refused(3, str(it.one.pid))
    assert it.changed() == moved
    it.one.ask("set_dumpable", True)
    it.undone()


@pytest.mark.parametrize("step", [-86_400, 86_400, -1_700_000_000], ids=["back", "ahead", "decades back"])
def test_the_clock_is_set(chaos: Callable[[str], Round], step: int) -> None:
    it = chaos(f"clock {step}")
    began, ran = time.time(), time.monotonic()
    it.over.callback(lambda: time.clock_settime(time.CLOCK_REALTIME, began + time.monotonic() - ran))
    command = it.start()
    time.clock_settime(time.CLOCK_REALTIME, time.time() + step)
    done = command.wait()
    assert done.code == 0, done
    assert it.told(done) == it.changed()
    assert done.json["outcomes"][0]["seconds"] < rig.PATIENCE
    it.undone()


def test_the_state_directory_fills_up(chaos: Callable[[str], Round]) -> None:
    it = chaos("state directory full")
    it.over.enter_context(rig.mounted("tmpfs", "size=256k", it.state))
    command = it.start()
    with open(it.state / "ballast", "wb", 0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(4096))
    done = command.wait()
    assert "Traceback" not in done.err
    if done.code == 0:
        assert it.told(done) == it.changed()
    else:
        assert "disk is full" in done.err + done.out, done
    (it.state / "ballast").unlink()
    it.undone()


def test_somebody_else_moves_pages(chaos: Callable[[str], Round]) -> None:
    it = chaos("somebody else moves")
    command = it.start()
    addresses = it.one.addresses()
    mine = sorted(it.chance.sample(range(len(addresses)), 20))
    kernel, targets = LiveKernel(), [it.chance.choice((0, 2, 3)) for _ in mine]
    status = array("i", [0] * len(mine))
    pages = array("Q", [addresses[number] for number in mine])
    kernel.move_pages(it.one.pid, pages, array("i", targets), status, 2)
    done = command.wait()
    assert done.code in (0, 6, 7), done
    assert "Traceback" not in done.err
    it.undone(but=len(mine))


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_node_goes(chaos: Callable[[str], Round], which: str) -> None:
    """The kernel empties it by itself: what it moved so is nobody's to take back, all else is."""
    it = chaos(f"{which} goes")
    command = it.start()
    rig.set_online(COMES_AND_GOES, False)
    done = command.wait()
    assert done.code in (0, 6, 7), done
    assert "Traceback" not in done.err
    if done.code and which == "target":
        assert "node 3 has no memory any more" in done.json["outcomes"][0]["error"]
    it.one.verify()
    now = it.placement()
    assert not {COMES_AND_GOES} & set(now)
    assert min(now) >= 0
    emptied = [number for number, node in enumerate(it.before) if node == 3]
    back = it.undo()
    assert "Traceback" not in back.err
    if which == "target":
        """What had arrived was moved on by the kernel."""
        assert back.code == 0, back
        assert back.json["outcome"]["left"] == {"elsewhere": it.told(done) * PAGE}
        return
    if back.code:
        assert back.code in (6, 7), back
        assert "node 3 has no memory any more" in back.json["outcome"]["error"]
        rig.set_online(COMES_AND_GOES, True)
        assert it.undo().code == 0
    assert it.changed() <= len(emptied)
    now = it.placement()
    assert [node for node in it.before if node != 3] == [
        node for node, old in zip(now, it.before, strict=True) if old != 3
    ]
    it.one.verify()
