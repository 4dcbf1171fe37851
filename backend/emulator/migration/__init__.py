"""Page migration: isolation, the pass loop, sets of nodes. Sections 2, 3 and 5 of the design."""
