"""The agent: answers calls of the seam for a numatui elsewhere. Sent as one text to a Python of 3.6 or later."""
