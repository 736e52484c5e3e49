"""Values out of JSON that another version, another program or a user may have written."""

from collections.abc import Mapping
from typing import Any

_LARGEST = 1e100  # far above what networks count in; charts compute with differences of numbers


def at(content: Any, *keys: str | int) -> Any:
    """Return what stands below some keys; None where something on the way is missing."""
    for key in keys:
        if isinstance(content, Mapping) and key in content:
            content = content[key]
        elif isinstance(content, list) and isinstance(key, int) and -len(content) <= key:
            content = content[key] if key < len(content) else None
        else:
            return None
    return content


def number_at(content: Any, *keys: str | int) -> float | None:
    """Return the number below some keys; None where there is none, or none that can be drawn."""
    found = at(content, *keys)
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
    return float(found) if is_number and abs(found) < _LARGEST else None


def mapping_at(content: Any, *keys: str | int) -> Mapping[str, Any]:
    """Return the object below some keys; an empty one where there is none."""
    found = at(content, *keys)
    return found if isinstance(found, Mapping) else {}


def list_at(content: Any, *keys: str | int) -> list[Any]:
    """Return the list below some keys; an empty one where there is none."""
    found = at(content, *keys)
    return found if isinstance(found, list) else []


def numbers_at(content: Any, *keys: str | int) -> tuple[float, ...]:
    """Return the numbers of the list below some keys, without what is none."""
    found = list_at(content, *keys)
    return tuple(
        value for index in range(len(found)) if (value := number_at(found, index)) is not None
    )
