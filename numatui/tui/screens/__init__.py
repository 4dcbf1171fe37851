"""Whole screens: what one sees at a time."""
