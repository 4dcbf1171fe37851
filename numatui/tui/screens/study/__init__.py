"""Screens that study an emulated machine: microscope, follow, compare, scenarios, tour."""
