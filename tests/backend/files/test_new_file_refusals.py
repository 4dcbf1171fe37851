"""Where a file cannot be made, the true reason is said."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from backend.errors import NotFound, NotPermitted, UsageError
from backend.files.new_file import NewFolder, open_new


def test_a_folder_that_takes_no_files_is_there() -> None:
    with pytest.raises(UsageError, match="no files can be made in /proc"):
        open_new(Path("/proc/x.yaml"))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no folder"):
        open_new(tmp_path / "nosuch" / "x")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(NotPermitted, match=os.strerror(number)) as caught:
            open_new(tmp_path / "x")
    assert caught.value.exit_code == 3
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refuse)
        with pytest.raises(NotPermitted, match="name a folder of your own"):
            NewFolder(tmp_path / "x")
