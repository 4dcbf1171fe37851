"""Heat from DAMON: beside what emulated threads access in truth, and a kdamond that is nobody's but numatui's."""

from __future__ import annotations

import errno
import threading
from dataclasses import replace
from typing import Any

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.tasks.credentials import Caller
from backend.errors import Interrupted, NotFound, NotSupported
from backend.heat import damon, kdamond
from backend.heat.choosing import HeatWish, fits
from backend.heat.kdamond import ROOT, leftover, monitoring, unusable
from backend.heat.learn import learn
from backend.kernel import Traits
from backend.machine.topology import read_topology
from backend.placement.placement_walk import Mapping
from backend.process.process import Identity, Process
from tests.backend.heat.machines import judged, process_of, worker

MIB = 1 << 20
HALF = HeatWish("hot", seconds=0.5, windows=1)


def begin_of_data(kernel: EmulatedKernel, process: Process) -> int:
    maps = kernel.read(f"/proc/{process.pid}/maps").decode()
    return min(int(line.split("-")[0], 16) for line in maps.splitlines())


def count(kernel: EmulatedKernel) -> int:
    return int(kernel.read(f"{ROOT}/nr_kdamonds"))


@pytest.mark.parametrize("hot", [1, 5, 10, 25, 50])
def test_where_the_hot_part_of_a_mapping_is(hot: int) -> None:
    kernel, process = worker(f"hot: {hot}%, begin: 30%")
    found = damon.measure(kernel, process.identity, 1.0, 3)
    begin = begin_of_data(kernel, process) + int(64 * MIB * 0.3)
    precision, recall = judged(found, [(begin, begin + int(64 * MIB * hot / 100))])
    assert precision > 0.7
    assert recall > 0.8
    # The pages of a stretch are counted on their nodes, one by one.
    assert sum(found.by_node.values()) == found.resident >= 72 * MIB


def test_a_hot_part_that_moves_is_found_where_it_is_now() -> None:
    kernel, process = worker("hot: 10%, moves: 2%")
    for _ in range(3):
        kernel.machine.advance(10.0)
        found = damon.measure(kernel, process.identity, 1.0, 1)
        end = kernel.machine.now
        at = [int(64 * MIB * (0.02 * when % 1)) for when in (end - 1.0, end)]
        begin = begin_of_data(kernel, process)
        precision, recall = judged(found, [(begin + at[0], begin + at[1] + int(6.4 * MIB))])
        assert precision > 0.6
        assert recall > 0.6


def test_what_is_not_accessed_is_not_hot() -> None:
    kernel, process = worker("hot: 100%")
    kernel.machine.tasks[process.pid].stopped = True
    kernel.machine.advance(1.0)
    assert damon.measure(kernel, process.identity, 1.0, 2).hot == 0


def test_how_often_and_for_how_long() -> None:
    kernel, process = worker("hot: 50%")
    ranges = damon.measure(kernel, process.identity, 1.0, 3).ranges
    hottest = max(ranges, key=lambda one: one.rate or 0)
    assert 100 < (hottest.rate or 0) <= 200
    cold = min(ranges, key=lambda one: one.rate or 0)
    assert cold.rate == 0
    assert (cold.age or 0) > 1


def test_it_is_the_first_choice_and_says_why_not() -> None:
    kernel, process = worker("hot: 10%")
    topology = read_topology(kernel)
    assert learn(kernel, topology, process, HALF).way == "damon"
    assert learn(kernel, topology, process, replace(HALF, way="referenced")).way == "referenced"
    kernel.write(f"{ROOT}/nr_kdamonds", b"2")
    found = learn(kernel, topology, process, HALF)
    assert (found.way, found.why) == ("referenced", "DAMON is set up by somebody else")
    with pytest.raises(NotSupported, match="somebody else"):
        learn(kernel, topology, process, replace(HALF, way="damon"))
    assert count(kernel) == 2


def test_an_old_kernel_has_none() -> None:
    kernel, _ = worker("hot: 10%", profile="direct-v8")
    assert "no DAMON" in unusable(kernel)


def test_it_is_for_root() -> None:
    kernel, process = worker("hot: 10%")
    other = EmulatedKernel(kernel.machine, Caller(1000, False))
    assert unusable(other) == "DAMON is for root"
    with pytest.raises(NotSupported), monitoring(other, process.identity):
        pass
    assert count(kernel) == 0


def test_nothing_is_left_behind_whatever_happens() -> None:
    kernel, process = worker("hot: 10%")
    with pytest.raises(ZeroDivisionError), monitoring(kernel, process.identity):
        divmod(1, count(kernel) - 1)  # one is there
    assert count(kernel) == 0
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Interrupted):
        damon.measure(kernel, process.identity, 1.0, 1, cancel)
    assert count(kernel) == 0
    with pytest.raises(NotSupported), monitoring(kernel, Identity(99999, 1)):
        pass
    assert count(kernel) == 0


def test_a_process_that_ends_is_told() -> None:
    kernel, process = worker("hot: 10%")
    with monitoring(kernel, process.identity) as one:
        assert one.regions()
        fd = kernel.pidfd_open(process.pid)
        kernel.pidfd_send_signal(fd, 9)
        kernel.pidfd_close(fd)
        kernel.pause(500_000_000)
        assert not one.running
        with pytest.raises(NotFound):
            one.regions()
    assert count(kernel) == 0


class Outliving(EmulatedKernel):
    """A machine that outlives numatui, whose pid there is this."""

    traits = Traits(writable=True, keeps_jobs=True, own_pid=1)


def test_what_a_killed_numatui_left_behind_is_taken_down(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, process = worker("hot: 10%")
    outliving = Outliving(kernel.machine)
    me = process_of(kernel, "worker")
    outliving.traits = replace(Outliving.traits, own_pid=me.pid)
    with monkeypatch.context() as patch:
        patch.setattr(kdamond, "_take_down", lambda kernel, mark: None)  # as after kill -9
        with monitoring(outliving, process.identity):
            pass
    assert count(kernel) == 1
    # While its owner lives it is left alone.
    assert f"numatui ({me.pid})" in unusable(outliving)
    assert leftover(outliving) is None
    with pytest.raises(NotSupported), monitoring(outliving, process.identity):
        pass
    assert count(kernel) == 1
    # Another process with that number is not its owner.
    kernel.machine.tasks[me.pid].start_time += 1
    assert leftover(outliving) == me.identity
    other = replace(process, identity=replace(process.identity, start_time=process.identity.start_time + 1))
    assert damon.measure(outliving, other.identity, 0.5, 1).way == "damon"
    assert count(kernel) == 0


def test_another_ones_is_left_alone_whatever_state_it_is_in() -> None:
    kernel, process = worker("hot: 10%")
    kernel.write(f"{ROOT}/nr_kdamonds", b"1")
    kernel.write(f"{ROOT}/0/contexts/nr_contexts", b"1")
    kernel.write(f"{ROOT}/0/contexts/0/schemes/nr_schemes", b"1")
    kernel.write(f"{ROOT}/0/contexts/0/schemes/0/access_pattern/sz/max", b"4096")
    with pytest.raises(NotSupported), monitoring(kernel, process.identity):
        pass
    assert leftover(kernel) is None
    assert kernel.read(f"{ROOT}/0/contexts/0/schemes/0/access_pattern/sz/max") == b"4096\n"


def test_one_that_others_put_up_while_ours_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking and writing, somebody else's has begun to run: it refuses, and keeps running."""
    kernel, process = worker("hot: 10%")
    monkeypatch.setattr(kdamond, "unusable", lambda kernel: "")
    kernel.write(f"{ROOT}/nr_kdamonds", b"1")
    context = f"{ROOT}/0/contexts/0"
    kernel.write(f"{ROOT}/0/contexts/nr_contexts", b"1")
    kernel.write(f"{context}/targets/nr_targets", b"1")
    kernel.write(f"{context}/targets/0/pid_target", b"%d" % process.pid)
    kernel.write(f"{context}/schemes/nr_schemes", b"1")
    kernel.write(f"{ROOT}/0/state", b"on")
    with pytest.raises(NotSupported, match="another part"), monitoring(kernel, process.identity):
        pass
    assert kernel.read(f"{ROOT}/0/state") == b"on\n"


def test_one_that_waits_in_vain_leaves_another_numatui_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked before either has written."""
    kernel, process = worker("hot: 10%")
    with monitoring(kernel, process.identity) as one:
        monkeypatch.setattr(kdamond, "unusable", lambda kernel: "")
        monkeypatch.setattr(kdamond, "_mark", lambda kernel: None)
        with pytest.raises(NotSupported), monitoring(kernel, process.identity):
            pass
        monkeypatch.undo()
        assert one.running
        assert one.regions()
    assert count(kernel) == 0


def test_one_that_is_replaced_is_not_taken_for_ours() -> None:
    kernel, process = worker("hot: 10%")
    with monitoring(kernel, process.identity) as one:
        kernel.write(f"{ROOT}/0/state", b"off")
        kernel.write(f"{ROOT}/nr_kdamonds", b"1")
        kernel.write(f"{ROOT}/0/contexts/nr_contexts", b"1")
        kernel.write(f"{ROOT}/0/contexts/0/schemes/nr_schemes", b"1")
        with pytest.raises(NotSupported, match="taken DAMON over"):
            one.regions()
    assert kernel.read(f"{ROOT}/0/contexts/0/schemes/nr_schemes") == b"1\n"


def test_nothing_is_written_where_it_cannot_be_told_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, process = worker("hot: 10%")
    kernel.write(f"{ROOT}/nr_kdamonds", b"1")
    read = kernel.read

    def failing(path: str, offset: int = 0, size: int = -1) -> bytes:
        if path.endswith("nr_kdamonds"):
            raise OSError(errno.EIO, "")
        return read(path, offset, size)

    monkeypatch.setattr(kernel, "read", failing)
    with pytest.raises(NotSupported), monitoring(kernel, process.identity):
        pass
    kdamond._take_down(kernel, 1 << 62)
    monkeypatch.undo()
    assert count(kernel) == 1


@pytest.mark.parametrize("window", [6.0, 30.0])
def test_what_is_used_now_and_then_is_not_cold(window: float) -> None:
    """Busy for a second of every six: between two looks."""
    kernel, process = worker("hot: 50%")
    m = kernel.machine
    task = m.tasks[process.pid]

    def now_and_then() -> Any:
        while True:
            task.stopped = True
            yield m.env.timeout(5.0)
            task.stopped = False
            yield m.env.timeout(1.0)

    m.start(now_and_then(), "now and then")
    found = damon.measure(kernel, process.identity, window, 1)
    assert found.hot > 24 * MIB
    never = [one for one in found.ranges if one.hot == 0]
    assert sum(one.resident for one in never) > 24 * MIB


def test_what_was_never_looked_at_is_neither_hot_nor_cold() -> None:
    stretch = damon._range(0, 4096, Mapping(0, 4096, b"rw-p", (b"0", 0), b""), None, {0: 4096})
    assert not stretch.seen
    assert not any(fits(stretch, HeatWish(which)) for which in ("hot", "cold"))
