"""The helper: root's rights, cut to size. It looks and moves for users whom its configuration names."""
