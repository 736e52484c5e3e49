"""How maps and masks are made, chosen without a mask."""
