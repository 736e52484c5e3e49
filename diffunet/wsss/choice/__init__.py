"""Choose how maps and masks are made, without any mask."""
