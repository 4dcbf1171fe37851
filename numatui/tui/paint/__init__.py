"""Paint draws: it turns data into text with roles and styles. Pure."""
