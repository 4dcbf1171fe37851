"""The automatic mover (`numatui watch`): follows advice by itself, within the limits of a policy, and writes down all
it does."""
