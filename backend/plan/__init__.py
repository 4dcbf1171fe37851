"""Plans: which pages move where by the remap rule, room, estimated time and warnings."""
