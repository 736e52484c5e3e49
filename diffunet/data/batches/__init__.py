"""From stored cases to batches: which patch, what is read of it, how it is augmented."""
