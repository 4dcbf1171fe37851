"""How large a recording may be. Whoever reads one refuses more, and whoever writes one stops before: a small file could
unpack to anything. Together they keep a refusal below two seconds and 100 MB."""

from __future__ import annotations

from backend.errors import ParseError

MIB = 1 << 20
MAX_BYTES = 384 * MIB
"""Of a whole tarball, unpacked, headers included."""
MAX_MEMBERS = 250_000
"""Files and folders. Ten thousand processes with their threads have two hundred thousand files."""
MAX_HEADERS = 300_000
"""The same with the headers that give long names: each takes as long as a file to read."""
MAX_FILE = 64 * MIB
MAX_NAME, MAX_DEPTH = 4096, 96
"""Bytes and folders of a path below proc/ or sys/. Users make cgroups, and with them names: what goes beyond is left
out when a machine is recorded."""
WRITTEN_NAME, WRITTEN_DEPTH = MAX_NAME + 512, MAX_DEPTH + 8
"""The same for a path in a tarball: before it stand the folder of the recording and that of the sample."""
MAX_NAMES = 48 * MIB
"""Bytes of the names of all files and folders."""
MAX_RECORDS = 300_000
"""Of all pax headers together: some three microseconds each."""


def too_large(what: str, limit: str) -> ParseError:
    """The error for a recording that goes beyond a limit."""
    return ParseError(f"{what} is too large for a recording", f"at most {limit} are read")


def fits(path: str) -> bool:
    """Whether a file of this path may be in a recording."""
    return len(path) <= MAX_NAME and path.count("/") <= MAX_DEPTH
