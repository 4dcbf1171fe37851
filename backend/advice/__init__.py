"""Placement advice: processes with far memory, what to move, its gain and cost, and reasons against it."""
