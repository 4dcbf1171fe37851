"""Reading reads kernels beside the screen, in threads."""
