"""Many machines: which ones, asking all of them, and moving on several at a time."""
