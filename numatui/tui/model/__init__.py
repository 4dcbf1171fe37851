"""Model is the data that screens show. Pure."""
