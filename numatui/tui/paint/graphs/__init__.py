"""Graphs: braille with several rows, stacked areas, and what the screens draw with them. Pure."""
