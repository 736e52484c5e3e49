"""What a user sets for one run: `--set path.to.field=value`, and how the plans remember it."""

import json
from collections.abc import Mapping
from typing import Any

from diffunet.errors import PlansError
from diffunet.jsonio import parse_json

_SET_BY_USER = "set by the user to"


def apply_setting(content: dict[str, Any], setting: str) -> tuple[str, Any]:
    """Set one field of a configuration in place, and return its path and its value.

    Args:
        content: a configuration as nested dictionaries.
        setting: "path.to.field=value"; the value as in JSON, a bare word is a string.

    Raises:
        PlansError: it is not of that form, or there is no such field.
    """
    path, value = _parse(setting)
    *parents, last = path.split(".")
    for depth, name in enumerate([*parents, last]):
        if not isinstance(content, dict) or name not in content:
            reached = ".".join(path.split(".")[:depth]) or "the configuration"
            known = ", ".join(sorted(content)) if isinstance(content, dict) else "nothing below it"
            raise PlansError(f"--set {setting}: {reached} has no field '{name}'; known: {known}")
        if depth < len(parents):
            content = content[name]
    if isinstance(content[last], dict):
        raise PlansError(f"--set {setting}: '{path}' is a group; set one of its fields")
    content[last] = value
    return path, value


def with_settings_noted(reasons: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's reasons that say of each path in `values` that the user set it."""
    noted = json.loads(json.dumps(reasons))
    for path, value in values.items():
        *parents, last = path.split(".")
        block = noted
        for parent in parents:
            if not isinstance(block.get(parent), dict):
                block[parent] = {}
            block = block[parent]
        block[last] = f"{_SET_BY_USER} {value}"
    return noted


def paths_noted_as_set(reasons: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the paths of which a configuration's reasons say that the user set them.

    Only plans of version 0.1 need this; later ones have a field for it.
    """
    paths = []
    for name, reason in reasons.items():
        if isinstance(reason, dict):
            paths.extend(paths_noted_as_set(reason, f"{prefix}{name}."))
        elif isinstance(reason, str) and reason.startswith(_SET_BY_USER):
            paths.append(f"{prefix}{name}")
    return paths


def _parse(setting: str) -> tuple[str, Any]:
    path, separator, text = setting.partition("=")
    if not separator or not path:
        raise PlansError(
            f"--set {setting}: expected path.to.field=value, e.g. diffusion.input_scale=0.3"
        )
    try:
        return path.strip(), parse_json(text)
    except ValueError:  # a bare word, or what no field takes
        return path.strip(), text.strip()
