"""Running commands in this process, as scripts see them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from numatui.cli.app import run
from tests.schemas import check


class Cli:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        self.capsys.readouterr()
        code = run(list(arguments))
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        got, out, err = self(*arguments, "--json")
        assert got == code, err
        return check(json.loads(out))


def one_line(err: str) -> bool:
    return err.startswith("numatui: ") and err.count("\n") == 1 and err.rstrip("\n").isprintable()
