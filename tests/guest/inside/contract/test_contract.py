"""What holds on a real kernel with four nodes and on the emulated machine alike: the same tests on both."""

from __future__ import annotations

import errno
import threading
from array import array
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.errors import NotFound
from backend.job.outcome import Progress
from backend.kernel import MoveFlag
from backend.nodeset import NodeSet
from backend.placement.numa_maps import read_placement
from backend.plan.plan import Method
from backend.process.process import read_process
from tests.backend.job.running import plan_for, run_job
from tests.guest.inside.contract.boxes import Box, migrate_pages, query
from tests.guest.inside.rig import PAGE, USER, MiB

METHODS: tuple[Method, ...] = ("auto", "move_pages", "migrate_pages")


def outside_its_own_node(by_node: Mapping[Any, int]) -> dict[int, int]:
    """Bytes by node without node 3: victims run there, and a real one touches a page of its program now and then."""
    return {int(node): amount for node, amount in by_node.items() if int(node) != 3}


class TestMoving:
    """numatui migrate and what it reports."""

    @pytest.mark.parametrize("method", METHODS)
    def test_relative_positions_are_kept(self, box: Box, method: str) -> None:
        one = box.victim({0: 600, 1: 300})
        arguments = (one.pid, "--from", "0-1", "--to", "2-3", "--json")
        plan = box.numatui("plan", *arguments)
        assert plan.json["moves"] == [{"from": 0, "to": 2}, {"from": 1, "to": 3}]
        assert plan.json["pages"] == 900
        done = box.numatui("migrate", *arguments, "--yes", "--method", method)
        assert done.code == 0, done
        outcome = done.json["outcomes"][0]
        assert outcome["moved"] == 900 * PAGE
        assert outcome["left"] == {}
        assert one.pages() == {2: 600, 3: 300}
        read_again = read_placement(box.kernel, one.pid).bytes_by_node
        assert outside_its_own_node(outcome["after"]) == outside_its_own_node(read_again)
        one.verify()

    @pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
    @pytest.mark.parametrize(
        ("sources", "targets", "lands"),
        [("0-1", "1-2", {1: 40, 2: 30}), ("0-2", "1", {1: 70})],
    )
    def test_overlapping_sets(self, box: Box, method: str, sources: str, targets: str, lands: dict[int, int]) -> None:
        on = {0: 40, 1: 20, 2: 10}
        one = box.victim(on)
        arguments = (one.pid, "--from", sources, "--to", targets, "--json")
        foretold = box.numatui("plan", *arguments).json["processes"][0]["after"]
        done = box.numatui("migrate", *arguments, "--yes", "--method", method)
        assert done.code == 0, done
        assert one.pages() == lands
        assert outside_its_own_node(done.json["outcomes"][0]["after"]) == outside_its_own_node(foretold)
        one.verify()

    @pytest.mark.parametrize("method", METHODS)
    def test_what_does_not_fit_stays(self, box: Box, method: str) -> None:
        one = box.victim({0: 12288})
        with box.nearly_full(2, 8 * MiB):
            done = box.numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json", "--method", method)
            now = one.pages()
        assert done.code in (0, 6), "it is said before that about so much has no room"
        outcome = done.json["outcomes"][0]
        assert 0 < now[2] < 12288
        assert now[0] + now[2] == 12288
        assert outcome["moved"] == now[2] * PAGE
        assert outcome["left"] == {"no-room": now[0] * PAGE}
        one.verify()

    def test_cancelling_stops_after_the_batch(self, box: Box, tmp_path: Path) -> None:
        one = box.victim({0: 4096})
        cancel = threading.Event()

        def after_the_first(progress: Progress) -> None:
            cancel.set()

        process = read_process(box.kernel, one.pid)
        plan = plan_for(box.kernel, process, [0], [2], "move_pages")
        outcome = run_job(box.kernel, plan, tmp_path, after_the_first, cancel)
        now = one.pages()
        assert outcome.cancelled
        assert 0 < now[2] < 4096
        assert outcome.moved == now[2] * PAGE
        assert outcome.left == {"cancelled": now[0] * PAGE}
        one.verify()

    def test_a_process_that_ends_meanwhile(self, box: Box, tmp_path: Path) -> None:
        one = box.victim({0: 4096})
        process = read_process(box.kernel, one.pid)

        def end(progress: Progress) -> None:
            one.end()

        outcome = run_job(box.kernel, plan_for(box.kernel, process, [0], [2], "move_pages"), tmp_path, end)
        assert outcome.after == {}
        assert set(outcome.left) == {"process-ended"}
        assert outcome.moved + outcome.left["process-ended"] == 16 * MiB
        assert "ended" in outcome.error

    def test_a_recycled_pid_is_left_alone(self, box: Box, tmp_path: Path) -> None:
        one = box.victim({0: 16})
        process = read_process(box.kernel, one.pid)
        older = replace(process, identity=replace(process.identity, start_time=process.identity.start_time - 1))
        for method in METHODS:
            with pytest.raises(NotFound, match="another has its number"):
                run_job(box.kernel, plan_for(box.kernel, older, [0], [2], method), tmp_path)
        assert one.pages() == {0: 16}

    def test_users_move_their_own_processes_only(self, box: Box) -> None:
        own, other = box.victim({0: 16}, uid=USER), box.victim({0: 16})
        source, target = 0, 2
        for method in METHODS:
            arguments = (f"--from={source}", f"--to={target}", "--yes", "--json", "--method", method)
            assert box.numatui("migrate", own.pid, *arguments, uid=USER).code == 0
            assert own.pages() == {target: 16}
            refused = box.numatui("migrate", other.pid, "--from=0", "--to=2", *arguments[2:], uid=USER)
            refused.refused(3, str(other.pid), "another user")
            source, target = target, source
        box.numatui("migrate", own.pid, *arguments, "--all", uid=USER).refused(3, "CAP_SYS_NICE")
        assert other.pages() == {0: 16}
        own.verify()

    def test_pages_of_two_processes_stay(self, box: Box) -> None:
        one = box.victim({0: 64})
        one.fork()
        done = box.numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json")
        assert done.code == 0, done
        assert done.json["plan"]["stays"]["shared"] >= 64 * PAGE
        assert done.json["outcomes"][0]["left"] == {"shared": 64 * PAGE}

    def test_bad_input(self, box: Box) -> None:
        one = box.victim({0: 16})
        for command in (("plan",), ("migrate", "--yes")):
            box.numatui(*command, 3_999_999, "--from", "0", "--to", "1").refused(4, "no process 3999999")
            box.numatui(*command, 2, "--from", "0", "--to", "1").refused(5, "kernel thread")
            for sources, targets, code in (("0", "4", 4), ("9", "1", 4), ("", "1", 2), ("0", "1-", 2)):
                box.numatui(*command, one.pid, f"--from={sources}", f"--to={targets}").refused(code, "0-3")
        assert one.pages() == {0: 16}


UNTOUCHED: dict[str, dict[str, Any]] = {"untouched": {"on": {}, "untouched": 1}}


def hole(box: Box) -> int:
    """What move_pages says of a page that was never touched: Linux looks at page tables by itself since 6.12."""
    return -errno.ENOENT if box.version >= (6, 12) else -errno.EFAULT


class TestCalls:
    """The two system calls themselves."""

    def test_a_query_tells_nodes_and_efault(self, box: Box) -> None:
        one = box.victim({1: 2, 3: 1}, more=UNTOUCHED)
        addresses = one.addresses()
        assert query(box, one.pid, list(addresses)) == [1, 1, 3]
        assert query(box, one.pid, [addresses[1] + 123]) == [1]
        assert query(box, one.pid, [one.addresses("untouched")[0], PAGE]) == [hole(box), -errno.EFAULT]
        assert box.kernel.move_pages(one.pid, array("Q"), None, array("i"), 0) == 0

    def test_a_move_writes_where_each_page_went(self, box: Box) -> None:
        one = box.victim({0: 3}, more=UNTOUCHED)
        pages = array("Q", [*one.addresses(), one.addresses("untouched")[0]])
        status = array("i", [99] * 4)
        assert box.kernel.move_pages(one.pid, pages, array("i", [1, 2, 0, 1]), status, 2) == 0
        assert list(status) == [1, 2, 0, hole(box)]
        assert one.pages() == {0: 1, 1: 1, 2: 1}

    def test_a_bad_node_ends_the_call_after_what_came_before_it(self, box: Box) -> None:
        one = box.victim({0: 3})
        status = array("i", [99] * 3)
        with pytest.raises(OSError) as caught:
            box.kernel.move_pages(one.pid, array("Q", one.addresses()), array("i", [1, 7, 1]), status, 2)
        assert caught.value.errno == errno.ENODEV
        assert list(status) == [1, 99, 99]
        assert one.pages() == {0: 2, 1: 1}

    def test_refused_moves_move_nothing(self, box: Box) -> None:
        one = box.victim({0: 1})
        for pid, flags, number in (
            (3_999_999, MoveFlag.MOVE, errno.ESRCH),
            (2, MoveFlag.MOVE, errno.EINVAL),
            (one.pid, MoveFlag.STRICT, errno.EINVAL),
            (one.pid, 8, errno.EINVAL),
        ):
            with pytest.raises(OSError) as caught:
                box.kernel.move_pages(pid, array("Q", one.addresses()), array("i", [1]), array("i", [0]), int(flags))
            assert caught.value.errno == number, (pid, flags)
        assert one.pages() == {0: 1}

    def test_migrate_pages_with_absent_and_empty_sets(self, box: Box) -> None:
        one = box.victim({0: 4})
        for old, new, moves in (
            ([0], [1], True),
            ([0], [1, 9], True),
            ([0, 9], [1], True),
            ([], [1], False),
            ([2], [1], False),
        ):
            assert migrate_pages(box, one.pid, old, new) == 0, (old, new)
            assert one.pages() == ({1: 4} if moves else {0: 4}), (old, new)
            migrate_pages(box, one.pid, [1], [0])
        one.verify()

    def test_refused_migrations_move_nothing(self, box: Box) -> None:
        one = box.victim({0: 4})
        for pid, old, new, number in (
            (one.pid, [0], [], errno.EINVAL),
            (one.pid, [0], [9], errno.EINVAL),
            (2, [0], [1], errno.EINVAL),
            (3_999_999, [0], [1], errno.ESRCH),
        ):
            with pytest.raises(OSError) as caught:
                migrate_pages(box, pid, old, new)
            assert caught.value.errno == number, (pid, old, new)
        for maxnode in (0, 1):
            with pytest.raises(OSError) as caught:
                box.kernel.migrate_pages(one.pid, maxnode, NodeSet([0]).mask(), NodeSet([1]).mask())
            assert caught.value.errno == errno.EINVAL
        assert one.pages() == {0: 4}
