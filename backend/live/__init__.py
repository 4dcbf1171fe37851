"""The live kernel: /proc, /sys, cgroups and the five NUMA system calls of this Linux."""
