"""Jobs: carry out plans, journal and undo them, list past ones, measure migration (bench)."""
