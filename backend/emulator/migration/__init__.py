"""Page migration: isolation, the pass loop, sets of nodes."""
