"""Records of jobs on disk: written ahead of every change, read to list jobs and to take them back."""
