"""Heat by accessed bits: beside what emulated workloads do in truth, on this machine, and where it cannot be had."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from backend.emulator.scenario.open import open_scenario, open_text
from backend.errors import Interrupted, NotFound, NotPermitted, NotSupported, Refused
from backend.heat.heat import HeatRange
from backend.heat.referenced import check_hold, measure
from backend.live.kernel import LiveKernel
from backend.placement.numa_maps import read_placement
from backend.process.process import Identity, read_process
from tests.backend.heat.machines import process_of

MACHINE = """
machine:
  profile: linux-6
  nodes:
    - {{id: 0, memory: 64MiB, cpus: 0-1}}
    - {{id: 1, memory: 64MiB, cpus: 2-3}}
processes:
  - name: worker
    node: 0
    memory:
      - {{name: data, size: 8MiB, on: {{0: 75%, 1: 25%}}, access: {{hot: {hot}%, sample: 4096}}}}
      - {{name: cold, size: 4MiB, on: {{1: 100%}}, access: {{hot: 0.1%, sample: 1}}}}
run: 1s
"""


@pytest.mark.parametrize("hot", [1, 5, 25, 50, 100])
def test_what_the_workload_touches_is_hot_and_nothing_else(hot: int) -> None:
    kernel = open_text(MACHINE.format(hot=hot), "test")
    pid = process_of(kernel, "worker").pid
    found = measure(kernel, read_process(kernel, pid).identity, read_placement(kernel, pid), 2.0, 2)
    data, cold = sorted(found.ranges, key=lambda one: -one.resident)[:2]
    assert data.hot == pytest.approx(hot / 100 * (8 << 20), rel=0.05)
    assert cold.hot <= 2 * 4096
    assert found.steady > 0.95
    assert sum(found.hot_by_node.values()) == pytest.approx(found.hot, abs=8)


def test_this_machine() -> None:
    """A process that writes to 8 MiB of 40 all the time."""
    program = (
        "import mmap\ncold, hot = mmap.mmap(-1, 32 << 20), mmap.mmap(-1, 8 << 20)\n"
        "for one in (cold, hot):\n  for at in range(0, len(one), 4096): one[at] = 1\n"
        "print('ready', flush=True)\nwhile True:\n  for at in range(0, len(hot), 4096): hot[at] = 2\n"
    )
    kernel = LiveKernel()
    with subprocess.Popen([sys.executable, "-IS", "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            if not os.access(f"/proc/{child.pid}/clear_refs", os.W_OK):
                pytest.skip("no clear_refs here")
            process = read_process(kernel, child.pid)
            found = measure(kernel, process.identity, read_placement(kernel, child.pid), 1.0, 2)
        finally:
            child.kill()
    # These, whatever else Python touches.
    by_size = {one.end - one.start: one for one in found.ranges if one.name.startswith("/dev/zero")}
    assert by_size[32 << 20].hot == 0
    # A page that is in the TLB when its bit is cleared may go without: 1 of 2,048 was seen to.
    assert 0.99 * (8 << 20) <= by_size[8 << 20].hot <= 8 << 20


class Kernel:
    """An emulated one, of which some answers are replaced."""

    def __init__(self, **replaced: Any) -> None:
        self._inner: Any = open_scenario("scheduler-moves")
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def refusing(number: int) -> Any:
    def write(path: str, data: bytes) -> None:
        raise OSError(number, os.strerror(number))

    return write


def identity(kernel: Any) -> Identity:
    return read_process(kernel, 3).identity


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EACCES, NotPermitted), (errno.EPERM, NotPermitted), (errno.ENOENT, NotSupported),
        (errno.EINVAL, NotSupported), (errno.EROFS, NotSupported), (errno.ESRCH, NotFound),
        (errno.ETIMEDOUT, NotPermitted),
    ],
)  # fmt: skip
def test_where_it_cannot_be_had(number: int, error: type[Exception]) -> None:
    kernel: Any = Kernel(write=refusing(number))
    with pytest.raises(error) as caught:
        measure(kernel, identity(kernel), read_placement(kernel, 3), 0.1)
    assert "\n" not in str(caught.value)


def test_a_pid_that_is_anothers_now_is_left_alone() -> None:
    written: list[str] = []
    kernel: Any = Kernel(write=lambda path, data: written.append(path))
    with pytest.raises(NotFound, match="another has its number"):
        measure(kernel, Identity(3, 99), read_placement(kernel, 3), 0.1)
    assert not written


def test_a_process_that_ends_meanwhile() -> None:
    kernel = open_scenario("scheduler-moves")
    who, placement = identity(kernel), read_placement(kernel, 3)

    class Ending:
        def __getattr__(self, name: str) -> Any:
            return getattr(kernel, name)

        def pause(self, nanoseconds: int) -> None:
            kernel.pause(nanoseconds)
            kernel.machine.tasks.pop(3, None)

    ending: Any = Ending()
    with pytest.raises(NotFound):
        measure(ending, who, placement, 0.5)


def test_an_interrupt_ends_the_waiting() -> None:
    kernel: Any = Kernel()
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Interrupted):
        measure(kernel, identity(kernel), read_placement(kernel, 3), 3600.0, cancel=cancel)


def test_a_large_process_is_not_held_up_without_leave() -> None:
    kernel: Any = LiveKernel()
    with pytest.raises(Refused, match=r"about 2\.6 s at a time; allow it with --hold 3s"):
        check_hold(kernel, 100 << 30, 100_000_000)
    check_hold(kernel, 100 << 30, 3 * 10**9)
    check_hold(kernel, 1 << 30, 100_000_000)


@pytest.mark.parametrize("data", [b"0", b"6", b"", b"x", b"11"])
def test_the_emulator_refuses_what_the_kernel_refuses(data: bytes) -> None:
    kernel = open_scenario("scheduler-moves")
    with pytest.raises(OSError) as caught:
        kernel.write("/proc/3/clear_refs", data)
    assert caught.value.errno == errno.EINVAL


def test_files_and_anonymous_memory_are_cleared_apart() -> None:
    kernel = open_scenario("default")

    def referenced(pid: int) -> list[int]:
        who = read_process(kernel, pid)
        return [one.hot for one in measure_now(kernel, who.identity)]

    before = referenced(11)
    kernel.write("/proc/11/clear_refs", b"3\n")
    assert referenced(11) == before  # all of it is anonymous
    kernel.write("/proc/11/clear_refs", b"4")
    assert referenced(11) == before
    kernel.write("/proc/11/clear_refs", b"2")
    assert sum(referenced(11)) == 0


def measure_now(kernel: Any, who: Identity) -> list[HeatRange]:
    """What is referenced at this moment, without clearing."""
    from backend.heat.smaps import parse_smaps

    found = parse_smaps(kernel.read(f"/proc/{who.pid}/smaps"))
    return [HeatRange(one.start, one.end, one.name, one.rss, one.referenced, 0, 0, {}) for one in found]


def test_a_mapping_on_two_nodes_is_an_estimate_unless_all_or_nothing_is_hot() -> None:
    both = {0: 3 << 20, 1: 1 << 20}
    half = HeatRange(0, 4 << 20, "", 4 << 20, 2 << 20, 0, 0, both)
    assert half.hot_by_node == {0: 3 << 19, 1: 1 << 19}
    assert not half.exact
    assert HeatRange(0, 4 << 20, "", 4 << 20, 4 << 20, 0, 0, both).exact
    assert HeatRange(0, 4 << 20, "", 4 << 20, 0, 0, 0, both).exact
    assert HeatRange(0, 4 << 20, "", 4 << 20, 1 << 20, 0, 0, {1: 4 << 20}).exact
