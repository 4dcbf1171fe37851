"""NUMA placement and page migration, without any user interface.

Everything goes through one `backend.kernel.Kernel`: the live kernel (`backend.live`), an emulated machine
(`backend.emulator`) or a recorded tree (`backend.recording`).
"""
