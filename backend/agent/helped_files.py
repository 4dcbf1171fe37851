"""What the helper reads for those who may not read it themselves: placement, and nothing else. One list for both
sides."""

from __future__ import annotations

import re

OF_A_PROCESS = re.compile(r"/proc/([1-9][0-9]{0,9})/(numa_maps|maps|smaps|smaps_rollup|pagemap)\Z")
PROGRAM = re.compile(r"/proc/([1-9][0-9]{0,9})/exe\Z")
"""Of this only which file it is: so that an exec in mid-job is noticed."""
OF_FRAMES = ("/proc/kpagecount", "/proc/kpageflags")
SOCKET = "/run/numatui-helper.sock"
