"""Records of fleet jobs: what was begun is known after a crash; what anybody wrote there is read with care."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import Busy, NotFound, NumatuiError, ParseError
from backend.fleet.hosts import folded, parse_hosts
from backend.fleet.record import Record, find, folder


@pytest.fixture(autouse=True)
def state(private_state: Path) -> None: ...


def test_what_was_begun_and_did_not_end_is_known() -> None:
    record = Record("migrate 0 → 1", sudo=True)
    record.begins(["db1", "root@db2"])
    record.ended("db1", "7")
    record.begins(["db3", "db4"])
    record.ended("db4", "")
    record.close()
    found = find(None)
    assert (found.name, found.sudo, found.jobs) == ("1", True, {"db1": "7"})
    assert (found.hosts, found.unknown) == (["db1", "root@db2", "db3"], ["root@db2", "db3"])


def test_the_newest_that_was_not_taken_back() -> None:
    for host in ("db1", "db2"):
        record = Record("migrate", sudo=False)
        record.begins([host])
        record.ended(host, "1")
        record.close()
    assert find(None).hosts == ["db2"]
    back = Record("undo of 2", sudo=False, of="2")
    back.begins(["db2"])
    back.close()
    assert find(None).name == "2", "it has not ended well: it is what is to be taken back, not the undo"
    with pytest.raises(NotFound, match="took 2 back itself"):
        find("3")
    back = Record("undo of 2", sudo=False, of="2")
    back.complete()
    back.close()
    assert find(None).hosts == ["db1"]
    with pytest.raises(NotFound, match="taken back already"):
        find("2")
    with pytest.raises(NotFound, match="no fleet job 17"):
        find("17")


def test_one_that_is_still_moving_and_one_that_was_cut_off() -> None:
    record = Record("migrate", sudo=False)
    record.begins(["db1"])
    record.ended("db1", "1")
    with pytest.raises(Busy, match="still moving"):
        find(None)
    record.close()
    with (folder() / "1.fleet").open("ab") as file:
        file.write(b'{"begins": ["db')
    assert find(None).hosts == ["db1"]
    Record("x", sudo=False).close()
    (folder() / "2.fleet").write_bytes(b"nonsense\n")
    assert find(None).name == "1", "a damaged one keeps nobody from this one"


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"at": 1, "sudo": false, "title": "x", "of": ""}\n{"begins": ["-oProxyCommand=x"]}',
        b'{"at": 1, "sudo": false, "title": "x", "of": ""}\n{"begins": "db1"}',
        b'{"at": 1, "sudo": false, "title": "x", "of": ""}\n{"begins": ["db1"]}\n{"host": "db1", "job": "../1"}',
        b'{"at": 1, "sudo": false, "title": "x", "of": ""}\n{"host": "db9", "job": ""}',
        b'{"at": 1, "sudo": "yes", "title": "x", "of": ""}',
    ],
)
def test_a_record_that_nobody_wrote_so(lines: bytes) -> None:
    Record("x", sudo=False).close()
    (folder() / "1.fleet").write_bytes(lines + b"\n")
    with pytest.raises(NumatuiError) as caught:
        find("1")
    assert isinstance(caught.value, ParseError) or "is not a host" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sets_of_hosts() -> None:
    assert parse_hosts("db[1-3],web07") == ["db1", "db2", "db3", "web07"]
    assert parse_hosts("db[1-4]!db2") == ["db1", "db3", "db4"]
    assert parse_hosts("root@db[1-2]") == ["root@db1", "root@db2"]
    assert folded(["db2", "db1", "db3", "web07"]) == "db[1-3],web07"
    assert folded(["root@db1", "root@db2", "db9"]) == "root@db[1-2] db9"
