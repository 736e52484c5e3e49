"""From maps to masks, and what is unsure about them."""
