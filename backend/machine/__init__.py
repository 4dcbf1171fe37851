"""The machine: its nodes, distances and access costs, memory tiers, activity and memory pressure."""
