"""State is shared by all screens: the last reading, jobs, the log, saved settings."""
