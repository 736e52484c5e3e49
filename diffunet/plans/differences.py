"""Where two plans differ, field by field."""

from collections.abc import Mapping
from typing import Any


def differences(old: Any, new: Any, *, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the leaves, by dotted path, in which two trees of plain values differ.

    Reasons are words, and do not count.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = {}
        for key in [*old, *(key for key in new if key not in old)]:
            if key != "reasons":
                below = f"{path}.{key}" if path else str(key)
                found |= differences(old.get(key), new.get(key), path=below)
        return found
    return {} if old == new else {path: (old, new)}
