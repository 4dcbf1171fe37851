"""A far machine's kernel, through an agent that is sent there."""
