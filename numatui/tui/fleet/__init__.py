"""The fleet in the terminal UI: a line a host, any of them opened as if local, the same move on many of them."""
