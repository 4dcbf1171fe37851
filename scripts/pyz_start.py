"""Gives a shiv archive a start of our own: `python scripts/pyz_start.py ARCHIVE`.

shiv unpacks into ~/.shiv and runs what lies there. With the HOME of somebody else (sudo that keeps it) that would be
their code; and where nothing can be unpacked it ends in a traceback."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

START = '''"""Unpacks numatui where nobody else can put anything, and runs it."""
import os
import pwd
import sys


def _root():
    named = os.environ.get("SHIV_ROOT")
    if named:
        return named
    home = os.path.expanduser("~")
    try:
        own = os.stat(home).st_uid == os.geteuid()
    except OSError:
        own = False
    if not own:
        try:
            home = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            home = "/nonexistent"
    return os.path.join(home, ".shiv")


def _stop(why):
    sys.stderr.write("numatui: it cannot be unpacked: %s; set SHIV_ROOT to a folder of yours\\n" % why)
    sys.exit(1)


root = _root()
try:
    os.makedirs(root, mode=0o700, exist_ok=True)
    facts = os.stat(root)
except OSError as exc:
    _stop("%s (%s)" % (root, exc.strerror))
if facts.st_uid != os.geteuid() or facts.st_mode & 0o022 or not os.access(root, os.W_OK):
    _stop("%s is not a folder of yours alone" % root)
os.environ["SHIV_ROOT"] = root

from _bootstrap import bootstrap

bootstrap()
'''


def main(archive: Path) -> None:
    raw = archive.read_bytes()
    shebang = raw[: raw.index(b"\n") + 1]
    new = archive.with_suffix(".new")
    with zipfile.ZipFile(archive) as old, new.open("wb") as file:
        file.write(shebang)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
            for info in old.infolist():
                if info.filename != "__main__.py":
                    out.writestr(info, old.read(info), zipfile.ZIP_DEFLATED)
            out.writestr("__main__.py", START)
    new.chmod(0o755)
    os.replace(new, archive)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
