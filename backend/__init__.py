"""What numatui knows about NUMA placement and migration. Knows no screen.

Everything goes through one `backend.kernel.Kernel`: the live one (`backend.live`), an emulated machine
(`backend.emulator`) or a recorded tree (`backend.recording`).
"""
