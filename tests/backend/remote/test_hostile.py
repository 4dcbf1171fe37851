"""An agent that lies, hangs or dies: one clear line, nothing kept waiting, nothing believed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.agent import connection as wire
from backend.agent.connection import ConnectionLost
from backend.agent.serve import Server
from backend.errors import NotSupported, NumatuiError
from backend.kernel import read_ahead
from backend.remote.kernel import RemoteKernel
from tests.backend.remote.far import GREETING, linked, lying

HANGING = f"{GREETING}time.sleep(600)"
ASKED: dict[str, Callable[[RemoteKernel], object]] = {
    "read": lambda kernel: kernel.read("/proc/version"),
    "ahead": lambda kernel: read_ahead(kernel, "x", ["/proc/version"]),
    "move": lambda kernel: kernel.move_pages(1, array("Q", [4096]), None, array("i", [0]), 0),
    "scan": lambda kernel: kernel.pagemap_scan(1, 0, 4096, 1),
    "begin": lambda kernel: kernel.files.begin(kernel.files.jobs_dir(), ".job", b""),
    "open": lambda kernel: kernel.files.open(kernel.files.jobs_dir() / "1.job"),
    "pidfd": lambda kernel: kernel.pidfd_open(1),
}


def opened(body: str, what: str = "read") -> str:
    """What is said when something is asked of such an agent."""
    with linked(lying(body)) as link, pytest.raises((NumatuiError, OSError)) as caught:
        ASKED[what](RemoteKernel(link.connection, "db7"))
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    return str(caught.value)


class TestBeforeItSaysWhoItIs:
    def test_it_ends(self) -> None:
        assert opened('sys.stderr.write("sudo: a password is required\\n")') == (
            "db7 cannot be reached: sudo: a password is required; try: ssh db7 python3 --version"
        )

    def test_it_says_nothing_at_all(self) -> None:
        assert "nothing started there" in opened("")

    def test_login_scripts_may_print(self) -> None:
        body = 'print("Welcome!", flush=True)\n' + GREETING + 'r = ask()\nsay({"id": r["id"], "ok": None}, b"x")\n'
        with linked(lying(body)) as link:
            assert RemoteKernel(link.connection, "db7").read("/proc/version") == b"x"

    def test_but_not_without_end(self) -> None:
        assert "prints without end" in opened('while True: print("Welcome!", flush=True)')

    def test_one_endless_line(self) -> None:
        assert "cannot be reached" in opened('while True: sys.stdout.write("x" * 60000); sys.stdout.flush()')

    def test_another_version(self) -> None:
        assert "speaks another version" in opened('say({"numatui-agent": 7, "hello": {}})')

    @pytest.mark.parametrize(
        "change",
        [
            "hello = {}",
            "hello = []",
            "hello = None",
            'hello["page_size"] = "4096"',
            'hello["page_size"] = 4095',
            'hello["page_size"] = 1 << 60',
            'hello["page_size"] = True',
            'hello["name"] = ["x"]',
            'hello["name"] = "x" * 300',
            'hello["can"] = {"read": 1}',
            'hello["can"] = "x"',
            'hello["jobs"] = 7',
            'hello["uid"] = -1',
        ],
    )
    def test_what_it_says_of_itself_makes_no_sense(self, change: str) -> None:
        said = opened(f"{change}\n{GREETING}ask()")
        assert "no numatui" in said or "what no agent sends" in said

    def test_what_it_says_is_nested_without_end(self) -> None:
        assert "what no agent sends" in opened(
            "print('{\"numatui-agent\":1,\"hello\":' + '[' * 60000, flush=True)\nask()"
        )

    def test_the_other_byte_order(self) -> None:
        assert "other byte order" in opened('hello["big_endian"] = not hello["big_endian"]\n' + GREETING + "ask()")

    def test_names_are_harmless(self) -> None:
        with linked(
            lying('hello["name"] = "x\\x1b[31m\\n"\nhello["users"] = {"7": "a\\nb", "x": 1}\n' + GREETING)
        ) as link:
            kernel = RemoteKernel(link.connection, "db7")
            assert kernel.name == "x\\x1b[31m\\n"

    def test_where_jobs_are_is_no_path_of_this_machine(self) -> None:
        with linked(lying('hello["jobs"] = "../x"\nhello["problem"] = "no\\nhome"\n' + GREETING + "ask()")) as link:
            kernel = RemoteKernel(link.connection, "db7")
            with pytest.raises(NumatuiError, match=r"no\\nhome"):
                kernel.files.jobs_dir()


class TestAnswers:
    @pytest.mark.parametrize(
        ("what", "answer"),
        [
            ("read", "print('garbage', flush=True)"),
            ("read", 'say({"id": "x"})'),
            ("read", 'say({"id": -1})'),
            ("read", "say({})"),
            ("read", 'say({"id": r["id"], "errno": "x"})'),
            ("read", 'say({"id": r["id"], "errno": 1 << 40})'),
            ("read", 'say({"id": r["id"], "error": 7})'),
            ("read", 'say({"id": r["id"], "error": ["x"]})'),
            ("read", 'print("[" * 60000, flush=True)'),
            ("ahead", 'say({"id": r["id"], "ok": 7}, b"")'),
            ("ahead", 'say({"id": r["id"], "ok": {}}, b"")'),
            ("ahead", 'say({"id": r["id"], "ok": {"had": 0}}, b"\\xff" * 40)'),
            ("ahead", 'say({"id": r["id"], "ok": {"had": 0, "count": 1}}, bytes(8) + b"\\x01\\0\\0\\0" + b"\\0")'),
            ("move", 'say({"id": r["id"], "ok": [0, 0]}, b"")'),
            ("move", 'say({"id": r["id"], "ok": "x"}, bytes(4))'),
            ("move", 'say({"id": r["id"], "ok": [-1, 0]}, bytes(4))'),
            ("move", 'say({"id": r["id"], "ok": [0, 0]}, bytes(400))'),
            ("scan", 'say({"id": r["id"], "ok": 1 << 50}, b"")'),
            ("scan", 'say({"id": r["id"], "ok": 4096}, bytes(48))'),
            ("begin", 'say({"id": r["id"], "ok": ["../1", 3]})'),
            ("begin", 'say({"id": r["id"], "ok": [1, 3]})'),
            ("open", 'say({"id": r["id"], "ok": [3, -1, True, True]})'),
            ("open", 'say({"id": r["id"], "ok": [3]})'),
            ("pidfd", 'say({"id": r["id"], "ok": True})'),
        ],
    )
    def test_that_are_none(self, what: str, answer: str) -> None:
        said = opened(f"{GREETING}r = ask()\n{answer}\nask()", what)
        assert "Protocol error" in said or "is lost" in said

    def test_a_class_of_error_that_it_makes_up_is_an_error_only(self) -> None:
        body = f'{GREETING}r = ask()\nsay({{"id": r["id"], "error": ["SystemExit", "x\\x1b[2J" * 900, ""]}})\nask()'
        assert opened(body).startswith("x\\x1b[2J")

    def test_to_nobody(self) -> None:
        body = 'r = ask()\nsay({"id": 999, "ok": None}, b"no")\nsay({"id": r["id"], "ok": None}, b"yes")\nask()'
        with linked(lying(GREETING + body)) as link:
            assert RemoteKernel(link.connection, "db7").read("/proc/version") == b"yes"

    def test_more_than_was_asked_for_is_cut(self) -> None:
        body = f'{GREETING}r = ask()\nsay({{"id": r["id"], "ok": None}}, b"x" * 100)\nask()'
        with linked(lying(body)) as link:
            assert RemoteKernel(link.connection, "db7").read("/proc/1/pagemap", 0, 8) == b"x" * 8


class TestSilence:
    """The limits are seconds in use; here they are short, and what is waited for is the end, not a time."""

    def test_an_agent_that_hangs_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wire, "PING", 0.05)
        monkeypatch.setattr(wire, "SILENCE", 0.3)
        with (
            linked(lying(HANGING)) as link,
            pytest.raises(ConnectionLost, match="not answered for"),
        ):
            RemoteKernel(link.connection, "db7").read("/proc/version")

    def test_one_that_never_begins_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wire, "PING", 0.05)
        monkeypatch.setattr(wire, "FIRST", 0.3)
        with linked(lying("time.sleep(600)")) as link, pytest.raises(ConnectionLost, match="cannot be reached: it has"):
            RemoteKernel(link.connection, "db7")

    def test_a_call_may_take_as_long_as_it_takes_while_the_agent_lives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wire, "PING", 0.02)
        monkeypatch.setattr(wire, "SILENCE", 1.0)
        body = f"""{GREETING}
r = ask()
for _ in range(40):
    line = sys.stdin.buffer.readline()
    say({{"id": json.loads(line)["id"]}})
say({{"id": r["id"], "ok": None}}, b"late")
ask()"""
        with linked(lying(body)) as link:
            assert RemoteKernel(link.connection, "db7").read("/proc/version") == b"late"

    def test_one_that_does_not_even_read_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wire, "PING", 0.05)
        monkeypatch.setattr(wire, "SILENCE", 0.5)
        with linked(lying(HANGING)) as link:
            kernel = RemoteKernel(link.connection, "db7")
            with pytest.raises(ConnectionLost):  # more than a pipe holds
                kernel.write("/proc/x", os.urandom(1 << 20))

    def test_all_who_wait_are_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wire, "PING", 0.05)
        monkeypatch.setattr(wire, "SILENCE", 0.3)
        said: list[str] = []
        with linked(lying(HANGING)) as link:
            kernel = RemoteKernel(link.connection, "db7")

            def ask() -> None:
                try:
                    kernel.read("/proc/version")
                except ConnectionLost as exc:
                    said.append(exc.what)

            threads = [threading.Thread(target=ask) for _ in range(5)]
            for one in threads:
                one.start()
            for one in threads:
                one.join(60)
        assert len(said) == 5

    def test_an_agent_that_hears_nothing_gives_its_locks_back(self, private_state: Path) -> None:
        """A laptop that was closed: its line is not."""
        assert Server.silence == 60.0
        code = "import sys; from backend.agent import serve; serve.Server.silence = 0.3; serve.main()"
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as agent:
            assert agent.wait(60) == 1


def test_a_program_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotSupported, match="there is no /nowhere/ssh"), linked(["/nowhere/ssh"]):
        pass


def test_ctrl_c_is_for_numatui_alone() -> None:
    """ssh would die of it, and a job with it that was to end in order."""
    body = f'{GREETING}os.kill(os.getpid(), 2)\nr = ask()\nsay({{"id": r["id"], "ok": None}}, b"alive")\nask()'
    with linked(lying(body)) as link:
        assert RemoteKernel(link.connection, "db7").read("/proc/version") == b"alive"


def test_a_process_that_holds_its_reader_up_holds_nobody_else_up() -> None:
    """The agent gives such a read up, as it is here; the others are answered meanwhile."""
    code = """
import time, threading
from backend.agent import serve
from backend.live.host import Host
class Hung(Host):
    def __init__(self):
        super().__init__()
        self.patience.seconds = 0.2
    def _read(self, path, offset, size):
        if path == "/proc/1/numa_maps":
            threading.Event().wait()
        return super()._read(path, offset, size)
import sys
sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
serve.main(Hung())
"""
    with linked([sys.executable, "-c", code]) as link:
        kernel = RemoteKernel(link.connection, "db7")
        for _ in range(20):
            with pytest.raises(TimeoutError):
                kernel.read("/proc/1/numa_maps")
        near = read_ahead(kernel, "x", ["/proc/1/numa_maps", "/proc/version"])
        assert near.read("/proc/version")
        with pytest.raises(TimeoutError):
            near.read("/proc/1/numa_maps")
