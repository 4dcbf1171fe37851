"""Placement: on which nodes the pages of processes lie, from numa_maps, pagemap or a sample."""
