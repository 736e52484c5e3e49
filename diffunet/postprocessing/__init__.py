"""What is done to finished masks: decided on cases whose masks are known, applied to others."""
