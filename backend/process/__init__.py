"""Processes: who they are, where they run, and the calls on their pages."""
