"""The automatic mover (`numatui watch`): follows advice within the limits of a policy, and logs everything it does."""
