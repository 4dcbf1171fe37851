"""Control groups: hierarchies, names, memory by node, and the tree of cpusets."""
