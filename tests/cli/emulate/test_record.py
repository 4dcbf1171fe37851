"""record, --replay and --at on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.recording import record as recording
from backend.recording.kernel import RecordedKernel
from backend.recording.manifest import CUT_OFF
from tests.cli.running import Cli, one_line


def test_a_recording_is_read_as_the_machine_was(cli: Cli, tmp_path: Path) -> None:
    path = str(tmp_path / "r.tar.gz")
    report = cli.json("--demo", "record", path, "--for", "12s", "--interval", "2s")
    assert report["schema"] == "numatui/record/1"
    assert (report["samples"], report["ended"]) == (7, "done")
    assert report["bytes"] == os.path.getsize(path)
    first = cli.json("--replay", path, "ps")["processes"]
    demo = cli.json("--demo", "ps")["processes"]
    assert first == demo
    last = cli.json("--replay", path, "--at", "last", "ps")["processes"]
    assert last != first
    assert cli.json("--replay", path, "--at", "7", "ps")["processes"] == last
    assert cli.json("--replay", path, "--at", "13s", "ps")["processes"] == last
    assert cli("--replay", path, "--at", "1m", "ps")[0] == 2
    assert cli.json("--replay", path, "--at", "1s", "ps")["processes"] == first
    assert cli.json("--replay", path, "--at", "0s", "ps")["processes"] == first
    assert cli("--demo", "--at", "0s", "ps")[0] == 0
    advice = cli.json("--replay", path, "advise", "--all")
    assert advice["readings"] > 1
    assert any(one["advice"] for one in advice["processes"])
    pid = max(first, key=lambda one: one["rss"])["pid"]
    plan = cli.json("--replay", path, "plan", str(pid), "--from", "all", "--to", "3")
    assert plan["bytes"] == cli.json("--demo", "plan", str(pid), "--from", "all", "--to", "3")["bytes"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--at", "1", "ps"), "give --replay"),
        (("--demo", "--at", "last", "ps"), "'last' is not a time"),
        (("--demo", "--at", "25h", "ps"), "too late for a demo"),
        (("--demo", "record", "x.zip"), "cannot be written as .zip"),
        (("--demo", "record", "--for", "soon"), "not a time"),
        (("--demo", "record", "--max-size", "1k"), "too small"),
        (("--replay", "nothing.tar", "ps"), "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*arguments)
    assert code != 0
    assert not out
    assert one_line(err)
    assert says in err
    assert not list(tmp_path.iterdir())


def test_places_that_are_not_there_are_refused(cli: Cli, tmp_path: Path) -> None:
    path = str(tmp_path / "r.tar")
    cli.json("--demo", "record", path, "--for", "once")
    for place in ("0", "2", "-1", "x", "99999999999999999999"):
        code, _, err = cli("--replay", path, "--at", place, "ps")
        assert code == 2
        assert one_line(err)
    code, _, err = cli("--replay", path, "record", str(tmp_path / "again.tar"))
    assert code == 5
    assert one_line(err)


def test_a_recording_stays_below_its_size(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "r.tar"
    report = cli.json("--demo", "record", str(path), "--for", "10m", "--max-size", "5M")
    assert report["ended"] == "size"
    assert path.stat().st_size <= 5 << 20
    assert len(RecordedKernel(path).samples) == report["samples"] > 1


def test_a_recording_ends_where_it_could_no_longer_be_read(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cli.json("--demo", "record", str(tmp_path / "one.tar"), "--for", "once")["first"]["files"]
    monkeypatch.setattr(recording, "MAX_MEMBERS", first + 400)
    path = tmp_path / "r.tar"
    report = cli.json("--demo", "record", str(path), "--for", "10m")
    assert report["ended"] == "full"
    assert len(RecordedKernel(path).samples) == report["samples"] > 1
    monkeypatch.setattr(recording, "MAX_MEMBERS", 4)
    code, _, err = cli("--demo", "record", str(tmp_path / "s.tar"), "--for", "10m")
    assert code == 1
    assert one_line(err)
    assert "at most 4 files" in err


def test_a_recording_is_named_after_its_machine(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = cli.json("--demo", "scheduler-moves", "record", "--for", "once")
    assert report["file"].startswith("numatui-scheduler-moves-")
    assert [one.name for one in tmp_path.iterdir()] == [report["file"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_the_samples_taken_are_kept(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "r.tar.gz"
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "numatui",
            "--live",
            "record",
            str(path),
            "--for",
            "10m",
            "-i",
            "50ms",
            "--json",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    def samples() -> int:
        try:
            return len(RecordedKernel(path).samples)
        except Exception:
            return 0

    end = time.monotonic() + 60
    while samples() < 3:
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    replayed = RecordedKernel(path)
    assert len(replayed.samples) >= 3
    assert str(os.getpid()) in replayed.listdir("/proc")
    if number == signal.SIGKILL:
        assert replayed.cut_off
    else:
        assert child.returncode == 0, err
        assert json.loads(out)["ended"] == "stopped"
        assert json.loads(out)["samples"] == len(replayed.samples)


@pytest.mark.parametrize("name", ["r.tar", "r.tar.gz"])
def test_a_full_disk_is_one_line(tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 8; exec {sys.executable} -m numatui --demo record {name} --for 10s"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == 1
    assert one_line(done.stderr)
    assert "large" in done.stderr


def test_files_that_the_kernel_hands_out_in_parts_are_recorded_whole(cli: Cli, tmp_path: Path) -> None:
    """A read of a file of /proc gives a page or so at once, whatever was asked for."""
    own = Path("/proc/self/maps").read_bytes()
    assert len(own) > 8192
    path = tmp_path / "r.tar"
    cli.json("--live", "record", str(path), "--for", "once")
    maps = RecordedKernel(path).read(f"/proc/{os.getpid()}/maps")
    assert maps.count(b"\n") >= own.count(b"\n") - 20


@pytest.mark.parametrize("name", ["r.tar", "r.tar.gz"])
def test_a_folder_that_is_not_there_is_named(cli: Cli, tmp_path: Path, name: str) -> None:
    code, out, err = cli("--demo", "record", str(tmp_path / "nosuch" / name), "--for", "once")
    assert (code, out) == (4, "")
    assert one_line(err)
    assert f"there is no folder {tmp_path / 'nosuch'}" in err


def test_one_that_was_cut_off_is_told_once_beside_the_output(cli: Cli, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.tar", tmp_path / "part.tar"
    assert cli("--demo", "record", str(whole), "--for", "3s", "--interval", "1s")[0] == 0
    raw = whole.read_bytes()
    part.write_bytes(raw[: raw.rindex(b"/sample.json") + 512])
    code, out, err = cli("--replay", str(part), "ps", "--json")
    assert code == 0
    assert json.loads(out)["processes"]
    assert err == CUT_OFF + "\n"
    assert CUT_OFF not in cli("--replay", str(whole), "ps", "--json")[2]
