"""numatui: see where the memory of processes lies on a NUMA machine, and move it."""

__version__ = "0.1.0"
