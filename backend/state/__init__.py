"""The state directory: jobs, measurements, locks and what the screen keeps, private to the user."""
