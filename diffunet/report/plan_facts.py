"""The values of plans with their reasons, as rows."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffunet.methods import METHODS, Supervision

_FIRST: Mapping[Supervision, Sequence[str]] = {
    "masks": (
        *("patch_size", "preprocessing.spacing_mm", "crop.policy", "diffusion.input_scale"),
        *("diffusion.loss_weighting_bias", "sampling.num_steps", "sampling.num_samples"),
        *("training.batch_size", "training.num_iterations", "network.channels"),
    ),
    "image_labels": (
        *("patch_size", "preprocessing.spacing_mm", "crop.policy", "weak.default_saliency"),
        *("weak.cdm.log_snr", "weak.cdm.num_steps", "weak.cdm.tau", "weak.clean_share"),
        *("training.batch_size", "training.num_iterations", "weak.network.channels"),
    ),
}
"""Fields that decide most, in the order in which to read them, by what a method learns from."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One field of the plans.

    Attributes:
        reason: empty where the plans give none.
        is_main: one of those that decide most.
    """

    path: str
    value: str
    reason: str
    is_main: bool


def chosen_values(
    values: Mapping[str, Any],
    reasons: Mapping[str, Any],
    *,
    method: str,
    only_reasoned: bool = False,
) -> tuple[Choice, ...]:
    """Return every field with its reason, the most important first.

    Args:
        method: that the plans are for; one of another version has the fields of masks.
        only_reasoned: leave out fields without a reason.
    """
    first = _FIRST[METHODS[method].learns_from if method in METHODS else "masks"]
    rows = list(_rows(values, reasons, path="", first=first))
    if only_reasoned:
        rows = [row for row in rows if row.reason]
    order = {path: index for index, path in enumerate(first)}
    return tuple(sorted(rows, key=lambda row: order.get(row.path, len(order))))


def _rows(values: Any, reasons: Any, *, path: str, first: Collection[str]) -> list[Choice]:
    if isinstance(values, Mapping) and (isinstance(reasons, Mapping) or not reasons):
        return [
            row
            for name, value in values.items()
            for row in _rows(
                value,
                reasons.get(name) if isinstance(reasons, Mapping) else None,
                path=f"{path}.{name}" if path else str(name),
                first=first,
            )
        ]
    return [Choice(path=path, value=_words(values), reason=_words(reasons), is_main=path in first)]


def _words(value: Any) -> str:
    """Return a value of JSON for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        if all(isinstance(each, str) for each in value):
            return " ".join(value)
        if value and all(isinstance(each, list) for each in value):
            return ", ".join(map(_words, value))
        if all(not isinstance(each, (list, Mapping)) for each in value):
            return (
                " × ".join(map(_words, value)) if len(value) <= 3 else ", ".join(map(_words, value))
            )
        return "; ".join(map(_words, value))
    if isinstance(value, Mapping):
        return ", ".join(
            f"{name} {_words(each)}" for name, each in value.items() if each is not None
        )
    return str(value)
