"""What a user sets for one run: `--set path.to.field=value`, and how the plans remember it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from diffunet.errors import PlansError
from diffunet.jsonio import parse_json
from diffunet.plans.presets import PRESETS, SIZES, Size, presets_of

_SET_BY_USER = "set by the user to"


def without_size(settings: Sequence[str]) -> tuple[Size | None, list[str]]:
    """Return the size among settings, if there is one, and all other settings.

    Raises:
        PlansError: there are two sizes.
    """
    words = [setting.strip() for setting in settings]
    found = [size for size in get_args(Size) if size in words]
    if len(found) > 1:
        raise PlansError(f"{' and '.join(found)}: a training has one size; choose one of them")
    others = [setting for setting, word in zip(settings, words, strict=True) if word not in SIZES]
    return (found[0] if found else None), others


def apply_settings(content: dict[str, Any], settings: Sequence[str]) -> dict[str, str]:
    """Set fields of a configuration in place, and return the path of each, with the reason.

    Presets come first, wherever they stand: a field that is set by itself is never overwritten.

    Args:
        content: a configuration as nested dictionaries.
        settings: "path.to.field=value" each, the value as in JSON, a bare word is a string; or the
            name of a preset, for a whole group ("network=p1", "weak.network=p1") or for all that it
            sets ("p1").

    Raises:
        PlansError: one is not of that form, or there is no such field or preset.
    """
    presets = [(setting, _preset_values(content, setting)) for setting in settings]
    reasons = {}
    for setting, values in presets:
        for path, value in (values or {}).items():
            _set(content, path, value, setting=setting)
            reasons[path] = f"preset {setting.rpartition('=')[2].strip()}, set by the user"
    for setting in (setting for setting, values in presets if values is None):
        path, value = _parse(setting)
        _set(content, path, value, setting=setting)
        reasons[path] = f"{_SET_BY_USER} {value}"
    return reasons


def _preset_values(content: Mapping[str, Any], setting: str) -> dict[str, Any] | None:
    """Return what a setting that names a preset sets, by path; None of one that names a field.

    Raises:
        PlansError: there is no such preset.
    """
    dimensions = content["dimensions"]
    group, separator, name = (part.strip() for part in setting.partition("="))
    if not separator and group in PRESETS:
        groups = PRESETS[group](dimensions)
    elif separator and isinstance(value_at(content, group), dict):
        known = presets_of(group, dimensions=dimensions)
        if name not in known:
            more = f", or take a preset: {', '.join(known)}" if known else ""
            raise PlansError(f"--set {setting}: '{group}' is a group; set one of its fields{more}")
        groups = {group: known[name]}
    else:
        return None
    return {
        f"{group}.{field}": value
        for group, values in groups.items()
        for field, value in values.items()
    }


def value_at(content: Any, path: str) -> Any:
    """Return what stands at a path; None where there is no such path."""
    for name in path.split("."):
        content = content.get(name) if isinstance(content, Mapping) else None
    return content


def _set(content: dict[str, Any], path: str, value: Any, *, setting: str) -> None:
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


def with_settings_noted(reasons: Mapping[str, Any], settings: Mapping[str, str]) -> dict[str, Any]:
    """Return a configuration's reasons with those of `apply_settings` in them."""
    noted = json.loads(json.dumps(reasons))
    for path, reason in settings.items():
        *parents, last = path.split(".")
        block = noted
        for parent in parents:
            if not isinstance(block.get(parent), dict):
                block[parent] = {}
            block = block[parent]
        block[last] = reason
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
            f"--set {setting}: expected path.to.field=value, e.g. diffusion.input_scale=0.3, or "
            f"the name of a preset: {', '.join([*PRESETS, *SIZES])}"
        )
    try:
        return path.strip(), parse_json(text)
    except ValueError:  # a bare word, or what no field takes
        return path.strip(), text.strip()
