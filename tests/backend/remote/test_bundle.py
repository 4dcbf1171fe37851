"""The agent is one text of the standard library's Python, for every version since 3.6."""

from __future__ import annotations

import ast
import base64
import os
import pwd
import shutil
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backend.agent.frames import decode, encode
from backend.remote import bundle
from backend.remote.bundle import BOOTSTRAP, MODULES, agent, stream

VERSIONS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def pythons() -> dict[str, str]:
    """Those that this machine has: on the path, or of pyenv."""
    out: dict[str, str] = {}
    for version in VERSIONS:
        kept = sorted(Path(pwd.getpwuid(os.geteuid()).pw_dir, ".pyenv/versions").glob(f"{version}.*/bin/python3"))
        found = str(kept[0]) if kept else shutil.which(f"python{version}")
        if found:
            out[version] = found
    return out


def sources() -> list[tuple[str, str]]:
    """Each module as it is sent."""
    tree = ast.parse(agent())
    calls = [one.value for one in tree.body if isinstance(one, ast.Expr) and isinstance(one.value, ast.Call)]
    loads = [one for one in calls if isinstance(one.func, ast.Name) and one.func.id == "load"]
    return [(ast.literal_eval(one.args[0]), ast.literal_eval(one.args[1])) for one in loads]


def test_all_of_it_is_there() -> None:
    assert tuple(name for name, _ in sources()) == MODULES


@pytest.mark.parametrize(("name", "text"), sources(), ids=MODULES)
def test_it_is_python_3_6(name: str, text: str) -> None:
    ast.parse(text, feature_version=(3, 6))


def test_it_uses_nothing_newer_of_the_library(tmp_path: Path) -> None:
    for name, text in sources():
        (tmp_path / f"{name}.py").write_text(text)
    done = subprocess.run(
        [str(Path(sys.executable).parent / "vermin"), "--quiet", "--violations", "-t=3.6-", str(tmp_path)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("name", "text"), sources(), ids=MODULES)
def test_it_needs_the_standard_library_alone(name: str, text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        named = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            named = [node.module or ""]
        for one in named:
            assert (
                one.partition(".")[0] in sys.stdlib_module_names
                or one == "backend.live"
                or one in MODULES
                or any(other.startswith(f"{one}.") for other in MODULES)
            ), one


def test_it_is_small() -> None:
    """It is sent at every connection."""
    assert len(stream()) < 24_000


def test_what_is_sent_is_what_is_printed() -> None:
    length, _, text = stream().partition(b"\n")
    assert int(length) == len(text)
    packed = text.partition(b"b85decode('")[2].partition(b"')")[0]
    assert zlib.decompress(base64.b85decode(packed)).decode() == agent()


def test_there_is_an_old_one_to_try_it_with() -> None:
    if sorted(pythons(), key=VERSIONS.index)[:1] != ["3.6"]:
        pytest.skip("no Python 3.6 here")


@pytest.mark.parametrize("version", VERSIONS)
def test_it_runs_and_answers(version: str, tmp_path: Path) -> None:
    python = pythons().get(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    requests = [
        encode({"id": 1, "op": "read", "args": ["/proc/self/stat", 0, -1]}),
        encode({"id": 2, "op": "batch", "args": ["k", True]}, b"/proc/sys/kernel/osrelease\0/proc/self/"),
        encode({"id": 3, "op": "state_begin", "args": ["jobs", ".job"]}, b"head"),
        encode({"id": 4, "op": "read", "args": ["/nowhere", 0, -1]}),
        encode({"id": 5, "op": "pidfd_open", "args": [os.getpid()]}),
    ]
    with subprocess.Popen(
        [python, "-IS", "-c", BOOTSTRAP], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stream() + b"".join(requests))
        process.stdin.flush()
        hello = decode(process.stdout)
        assert hello is not None
        answers: dict[int, tuple[dict[str, Any], bytes | None]] = {}
        for _ in requests:
            frame = decode(process.stdout)
            assert frame is not None
            answers[frame[0]["id"]] = frame
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(30) == 0
    assert hello[0]["hello"]["python"] == version
    assert sorted(answers) == [1, 2, 3, 4, 5]
    assert (answers[1][1] or b"").split()[1].startswith(b"(python3")
    assert answers[4][0]["errno"] == 2
    assert answers[3][0]["ok"][0] == "1"
    assert (tmp_path / "numatui/jobs/1.job").read_bytes() == b"head"
    assert (answers[5][0].get("ok") or 0) >= 0


def test_many_threads_that_want_it_at_once_have_it_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by several at a time it failed now and then (CPython issue 106905), and a host was said to be mad."""
    at_work, most, made = 0, 0, 0
    whole = bundle.agent

    def slow() -> str:
        nonlocal at_work, most, made
        at_work += 1
        most, made = max(most, at_work), made + 1
        time.sleep(0.02)
        at_work -= 1
        return whole()

    monkeypatch.setattr(bundle, "agent", slow)
    bundle._stream.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert len({*pool.map(lambda _: stream(), range(16))}) == 1
    assert (most, made) == (1, 1)
