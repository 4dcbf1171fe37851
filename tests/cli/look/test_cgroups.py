"""numatui cgroups and numatui cpuset as users and scripts see them, on emulated and recorded machines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.nodeset import NodeSet
from numatui.cli.app import run, with_optional_values
from numatui.cli.source import KernelChoice
from tests.emulator.machines import region
from tests.emulator.tasks.cpuset_machine import Admin
from tests.schemas import check
from tests.trees import node_files, write

DEMO = ["--demo", "cpuset-keeps-interleave"]
HOSTILE = "\x1b[2J\n\u202eevil\udcff"
MiB = 1 << 20


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command: (exit code, stdout, stderr)."""

    def go(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    """A machine that all commands talk to: /A (0-1) with a page on each node, /A/hostile below it with two on node
    3."""
    made = Admin()
    made.create("A", "0-1")
    made.create(HOSTILE, "0", "A")
    for path, layout in (("A/" + HOSTILE, {3: 2}), ("", {0: 1, 1: 1})):
        task = made.spawn(path)
        region(made.m, task, layout)
    monkeypatch.setattr(KernelChoice, "open", lambda _: EmulatedKernel(made.m))
    return made


def document(cli: Cli, *arguments: str) -> dict[str, Any]:
    code, out, err = cli(*arguments, "--json")
    assert code == 0, err
    assert out.isascii()
    return json.loads(out)


def one_line(err: str) -> bool:
    return err.startswith("numatui: ") and err.count("\n") == 1 and err.rstrip("\n").isprintable()


class TestCgroups:
    def test_the_document(self, cli: Cli) -> None:
        said = document(cli, *DEMO, "cgroups")
        assert said["schema"] == "numatui/cgroups/1"
        assert (said["version"], said["nodes"]) == ("v2", [0, 1, 2, 3])
        left = next(one for one in said["cgroups"] if one["path"] == "/left")
        assert left["memory"] == 48 * MiB
        assert left["nodes"] == {"0": 24 * MiB, "1": 24 * MiB, "2": 0, "3": 0}
        assert left["effective_mems"] == [0, 1]
        assert left["kinds"]["anon"] == left["nodes"]
        assert left["outside"] == {}

    def test_csv_has_the_same(self, cli: Cli) -> None:
        code, out, _ = cli(*DEMO, "cgroups", "--csv", "--kinds")
        assert code == 0
        rows = {row["path"]: row for row in csv.DictReader(io.StringIO(out))}
        assert rows["/left"]["nodes.1_bytes"] == rows["/left"]["nodes.0_bytes"] == str(24 * MiB)
        assert rows["/left"]["anon_bytes"] == str(48 * MiB)
        assert rows["/right"]["effective_mems"] == "2-3"

    def test_the_processes_of_each(self, cli: Cli) -> None:
        said = {one["path"]: one for one in document(cli, *DEMO, "cgroups", "--pids")["cgroups"]}
        ps = {one["pid"]: one["cpuset"] for one in document(cli, *DEMO, "ps")["processes"]}
        assert said["/left"]["pids"] == [pid for pid in sorted(ps) if ps[pid] == "/left"] != []
        _, out, _ = cli(*DEMO, "cgroups", "--pids", "--csv")
        rows = {row["path"]: row["pids"] for row in csv.DictReader(io.StringIO(out))}
        assert {path: [int(pid) for pid in pids.split()] for path, pids in rows.items()} == {
            path: one["pids"] for path, one in said.items()
        }
        heads, *lines = cli(*DEMO, "cgroups", "--pids", "--flat")[1].splitlines()
        assert heads.split()[-1] == "PIDS"
        assert lines[-1].split()[-1] in ("-", *map(str, ps))
        assert "pids" not in document(cli, *DEMO, "cgroups")["cgroups"][0]

    def test_watched(self, cli: Cli) -> None:
        code, out, _ = cli(*DEMO, "cgroups", "--watch", "2", "--count", "3", "--json")
        assert code == 0
        assert [check(json.loads(line))["at"] for line in out.splitlines()] == [0, 2, 4]
        code, out, _ = cli(*DEMO, "cgroups", "left", "--watch", "2", "--count", "3", "--csv")
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [(row["at"], row["path"]) for row in rows] == [("0.0", "/left"), ("2.0", "/left"), ("4.0", "/left")]
        out = cli(*DEMO, "cgroups", "--watch", "2", "--count", "2")[1]
        assert [line for line in out.splitlines() if line.startswith("at")] == ["at 0.0 s", "at 2.0 s"]
        code, _, err = cli(*DEMO, "cgroups", "--count", "2")
        assert (code, one_line(err)) == (2, True)

    def test_a_tree_within_80_columns(self, cli: Cli) -> None:
        code, out, err = cli(*DEMO, "cgroups")
        lines = out.splitlines()
        assert code == 0
        assert err == ""
        assert lines[0].split() == ["CGROUP", "MEMORY", "N0", "N1", "N2", "N3", "MEMS", "OUTSIDE"]
        assert lines[1].startswith("/ ")
        assert lines[2].startswith("  left ")
        assert max(map(len, lines)) <= 80
        _, out, _ = cli(*DEMO, "cgroups", "--kinds")
        assert out.splitlines()[0].split()[2:] == [
            "ANON",
            "FILE",
            "SHMEM",
            "HUGE",
            "KERNEL",
            "LOCKED",
            "OUTSIDE",
        ]
        assert out.splitlines()[2].split() == ["left", "48M", "48M", *"......"]

    def test_sorting_filtering_and_depth(self, cli: Cli, admin: Admin) -> None:
        def paths(*options: str) -> list[str]:
            return [one["path"] for one in document(cli, "cgroups", *options)["cgroups"]]

        hostile = "/A/" + HOSTILE[:-1] + "\\xff"
        assert paths("--sort", "name") == ["/", "/A", hostile]
        assert paths("--depth", "1") == ["/", "/A"]
        assert paths("--min", "10K") == ["/"]
        assert paths("evil") == [hostile]
        assert paths("--sort", "N3")[0] == "/"
        assert paths("--sort", "outside")[0] in ("/A", hostile)
        _, out, _ = cli("cgroups", "evil")
        assert [line.split()[0] for line in out.splitlines()] == [
            "CGROUP",
            "/",
            "A",
            "\\x1b[2J\\n\\u202eevil\\xff",
        ]

    def test_outside_is_marked(self, cli: Cli, admin: Admin) -> None:
        code, out, err = cli("cgroups", "--flat", "--sort", "outside")
        assert code == 0
        assert "8.0K!" in out
        assert err == "! = outside of the cpuset: 2 cgroups have memory on nodes that they may not use\n"
        _, _, quiet = cli("cgroups", "--depth", "0")
        assert quiet == "", "nothing of what is shown lies outside"
        inner = next(one for one in document(cli, "cgroups")["cgroups"] if one["depth"] == 2)
        assert inner["outside"] == {"3": 8192}

    @pytest.mark.parametrize("options", [(), ("--flat",), ("--kinds",), ("--csv",), ("--json",)])
    def test_hostile_names_reach_no_terminal(self, cli: Cli, admin: Admin, options: tuple[str, ...]) -> None:
        for command in (("cgroups",), ("cpuset", "list")):
            if "list" in command and options in (("--flat",), ("--kinds",)):
                continue
            code, out, _ = cli(*command, *options)
            assert code == 0
            assert all(line.isprintable() for line in out.splitlines())
            assert "evil" in out
            assert "\x1b" not in out

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [(["--sort", "size"], 2, "cannot sort by"), (["--sort", "N9"], 4, "no node 9"), (["--min", "much"], 2, "not "
                                                                                                               "a "
                                                                                                               "size"),
         (["nothing-like-it"], 4, "no cgroup matches"), (["--depth", "-1"], 2, "--depth: -1 is not possible")],
    )  # fmt: skip
    def test_errors_are_one_line(self, cli: Cli, arguments: list[str], code: int, words: str) -> None:
        got, out, err = cli(*DEMO, "cgroups", *arguments)
        assert got == code
        assert out == ""
        assert one_line(err)
        assert words in err

    def test_no_cgroups_and_no_memory_controller(
        self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path, {"sys/devices/system/node/online": "0\n", **node_files(0, "10", "0"), "proc/x": ""})
        code, out, err = cli("--replay", str(tmp_path), "cgroups")
        assert (code, out) == (5, "")
        assert one_line(err)
        assert "no cgroups" in err
        monkeypatch.setattr(KernelChoice, "open", lambda _: Admin(cgroups="v1").kernel)
        code, out, err = cli("cgroups")
        assert (code, out) == (5, "")
        assert "memory controller" in err


class TestCpuset:
    def test_list(self, cli: Cli) -> None:
        said = document(cli, *DEMO, "cpuset", "list")
        assert said["schema"] == "numatui/cpuset-list/1"
        left = next(one for one in said["cpusets"] if one["path"] == "/left")
        assert (left["mems"], left["processes"], left["memory_migrate"]) == ([0, 1], 1, True)
        _, out, _ = cli(*DEMO, "cpuset", "list", "--csv")
        assert [row["path"] for row in csv.DictReader(io.StringIO(out))] == ["/", "/left", "/right", "/small"]

    def test_v1_shows_memory_migrate(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        admin = Admin(cgroups="v1")
        admin.create("A", "0", memory_migrate=True)
        monkeypatch.setattr(KernelChoice, "open", lambda _: admin.kernel)
        _, out, _ = cli("cpuset", "list")
        assert out.splitlines()[0].split()[-1] == "MIGRATES"
        assert out.splitlines()[-1].split() == ["A", "0", "0", "0-7", "0", "yes"]

    def test_set_mems_says_moves_and_says_what_moved(self, cli: Cli) -> None:
        said = document(cli, *DEMO, "cpuset", "set-mems", "left", "2-3", "--yes")
        assert said["schema"] == "numatui/cpuset-set-mems/1"
        (plan,), (outcome,) = said["plan"]["processes"], said["outcome"]["processes"]
        assert plan["moves"] == [
            {"from": 0, "to": 2, "bytes": 24 * MiB},
            {"from": 1, "to": 3, "bytes": 24 * MiB},
        ]
        assert plan["after"] == outcome["after"] == {"2": 24 * MiB, "3": 24 * MiB}
        assert said["outcome"]["effective_mems"] == [2, 3]
        code, out, err = cli(*DEMO, "cpuset", "set-mems", "left", "2-3", "--yes")
        assert code == 0
        assert "0→2 24M, 1→3 24M" in out
        assert "48M moved" in out
        assert out.splitlines()[-1] == "/left: mems in effect: 2-3"
        assert "interleave:0-1" in err

    def test_dry_run_changes_nothing(self, cli: Cli, admin: Admin) -> None:
        for arguments in (("set-mems", "A", "1"), ("attach", "A/" + HOSTILE, "1")):
            said = document(cli, "cpuset", *arguments, "--dry-run")
            assert said["outcome"] is None
        assert admin.read("A", "cpuset.mems") == "0-1"
        assert admin.read("A/" + HOSTILE, "cgroup.procs") != "1"

    def test_nobody_there_to_confirm(self, cli: Cli, admin: Admin) -> None:
        code, _, err = cli("cpuset", "set-mems", "A", "1")
        assert code == 2
        assert "--yes" in err
        assert admin.read("A", "cpuset.mems") == "0-1"

    def test_what_does_not_fit_is_said_and_is_exit_code_1(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        admin = Admin(pages=64)
        admin.create("A", "0")
        region(admin.m, admin.spawn("A"), {0: 40})
        region(admin.m, admin.spawn(), {1: 40})
        monkeypatch.setattr(KernelChoice, "open", lambda _: admin.kernel)
        code, out, err = cli("cpuset", "set-mems", "A", "1", "--yes")
        assert code == 1
        assert "left on node 0: busy, unmovable, or no room" in out
        assert "node 1 has less room than needed" in err

    def test_attach(self, cli: Cli, admin: Admin) -> None:
        admin.create("B", "2")
        mine = next(
            task for task in admin.m.tasks.values() if task.name == b"t" and task.cpuset is admin.m.cpusets.root
        )
        code, out, err = cli("cpuset", "attach", "B", str(mine.pid), "--yes")
        assert code == 0, err
        assert f"{mine.pid}: 8.0K moved" in out
        assert admin.read("B", "cgroup.procs") == str(mine.pid)
        assert admin.m.cpusets.mems_allowed(mine) == NodeSet([2])

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (["set-mems", "left", "7"], 4, "no node 7"),
            (["set-mems", "left", "3-1"], 2, "backwards"),
            (["set-mems", "/", "1"], 2, "root"),
            (["set-mems", "absent", "1"], 4, "no cgroup /absent"),
            (["set-mems", "../left", "1"], 2, "may not contain . or .."),
            (["attach", "left", "999"], 4, "no process 999"),
            (["attach", "left", "x"], 2, "'x' is not a number"),
            (["list", "nothing-like-it"], 4, "no cpuset matches"),
            ([], 2, "numatui cpuset --help"),
            (["set-mems", "left", "1", "--no-memory-migrate"], 2, "always moves"),
        ],
    )
    def test_errors_are_one_line(self, cli: Cli, arguments: list[str], code: int, words: str) -> None:
        got, out, err = cli(*DEMO, "cpuset", *arguments)
        assert got == code
        assert out == ""
        assert one_line(err), err
        assert words in err

    def test_the_demo_needs_no_name(self) -> None:
        for command in ("cpuset", "cgroups"):
            assert with_optional_values(["--demo", command]) == ["--demo", "default", command]
