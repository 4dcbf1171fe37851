"""The terminal UI. `start` opens it; `app` puts screens, reading and jobs together."""
