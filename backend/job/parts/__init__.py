"""One process of a job: its pages found, moved, and counted again."""
