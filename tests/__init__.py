"""The tests, in the rooms of what they test; `guest` boots real kernels."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""
DATA = ROOT / "tests" / "data"
"""Tables measured on real kernels."""
