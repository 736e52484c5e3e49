"""Training from image-level labels, and its validation."""
