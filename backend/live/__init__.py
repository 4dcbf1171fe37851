"""This Linux: /proc, /sys, cgroups and the five system calls."""
