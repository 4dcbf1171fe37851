"""`numatui fleet`: many machines at once."""
