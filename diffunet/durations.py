"""Durations in words."""

_UNITS = (("second", 1.0, 90.0), ("minute", 60.0, 90.0), ("hour", 3600.0, 48.0))
"""Names, their lengths in seconds, and how many of them are said at most."""


def in_words(seconds: float) -> str:
    """Return a duration as one would say it: "40 seconds", "25 minutes", "3.5 hours", "6 days"."""
    fitting = (each for each in _UNITS if seconds / each[1] < each[2])
    unit, length, _ = next(fitting, ("day", 86400.0, 0.0))
    number = float(f"{seconds / length:.2g}")
    return f"{number:g} {unit}{'' if number == 1 else 's'}"
