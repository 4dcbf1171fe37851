"""Whose memory is far from where it runs, what to move, what that would bring and cost, and why not."""
