"""Gives a shiv archive a start of our own: `python scripts/pyz_start.py ARCHIVE`.

shiv unpacks into ~/.shiv and runs what lies there. With the HOME of somebody else (sudo that keeps it) that would be
their code. Where nothing can be unpacked it ends in a traceback, and with another Python than the one that it was built
with, in NumPy's 84 lines."""

from __future__ import annotations

import os
import platform
import sys
import zipfile
from pathlib import Path

START = '''"""Unpacks numatui where nobody else can put anything, and runs it."""
import os
import platform
import pwd
import sys

_FOR = BUILT_WITH
_IS = (sys.implementation.name, "%d.%d" % sys.version_info[:2], platform.system(), platform.machine())
if _IS != _FOR:
    sys.stderr.write(
        "numatui: this file is for %s %s on %s %s, but %s is %s %s on %s %s; "
        "run it as python%s %s, or install numatui with pip\\n"
        % (_FOR + (sys.executable,) + _IS + (_FOR[1], sys.argv[0]))
    )
    sys.exit(1)


def _root():
    named = os.environ.get("SHIV_ROOT")
    if named:
        return named
    home = os.path.expanduser("~")
    if not _own(home):
        try:
            home = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            home = "/nonexistent"
    return os.path.join(home, ".shiv")


def _own(path):
    try:
        return os.stat(path).st_uid == os.geteuid()
    except OSError:
        return False


def _stop(why):
    sys.stderr.write("numatui: it cannot be unpacked: %s; set SHIV_ROOT to a folder of yours\\n" % why)
    sys.exit(1)


def _check(folder):
    """Nobody else can put another in its place, or in that of a folder above it."""
    while True:
        facts = os.stat(folder)
        sticky = folder != root and facts.st_mode & 0o1000
        if facts.st_uid not in (0, os.geteuid()) or facts.st_mode & 0o022 and not sticky:
            _stop("%s is not a folder of yours alone" % folder)
        if folder == "/":
            return
        folder = os.path.dirname(folder)


# Without links: what is checked is what is used.
root = os.path.realpath(_root())
try:
    there = root
    while not os.path.isdir(there) and there != "/":
        there = os.path.dirname(there)
    _check(there)
    os.makedirs(root, mode=0o700, exist_ok=True)
    _check(root)
    if not _own(root) or not os.access(root, os.W_OK):
        _stop("%s is not a folder of yours alone" % root)
except OSError as exc:
    _stop("%s (%s)" % (root, exc.strerror))
os.environ["SHIV_ROOT"] = root

from _bootstrap import bootstrap

bootstrap()
'''


def main(archive: Path) -> None:
    version = "{}.{}".format(*sys.version_info)
    built_with = (sys.implementation.name, version, platform.system(), platform.machine())
    raw = archive.read_bytes()
    shebang = raw[: raw.index(b"\n") + 1]
    new = archive.with_suffix(".new")
    with zipfile.ZipFile(archive) as old, new.open("wb") as file:
        file.write(shebang)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
            for info in old.infolist():
                if info.filename != "__main__.py":
                    out.writestr(info, old.read(info), zipfile.ZIP_DEFLATED)
            out.writestr("__main__.py", START.replace("BUILT_WITH", repr(built_with)))
    new.chmod(0o755)
    os.replace(new, archive)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
