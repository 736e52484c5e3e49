"""Several models as one: their samples joined into a mixture."""
