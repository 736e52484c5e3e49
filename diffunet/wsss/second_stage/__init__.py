"""A dataset of pseudo-masks, for a student to learn from."""
