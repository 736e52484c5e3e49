"""A value that a rule chose, with the reason in words."""

import dataclasses
import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from diffunet.errors import PlansError
from diffunet.jsonio import as_json
from diffunet.plans import ConfigurationPlan, ResolvedPlans
from diffunet.records import record_from_json

Value = TypeVar("Value")


@dataclass(frozen=True)
class Choice(Generic[Value]):
    """What a planning rule returns.

    Attributes:
        value: goes into the plans.
        reason: a sentence or two for the user, beside the value.
        warning: what the user should look at before training; may be empty.
    """

    value: Value
    reason: str
    warning: str = ""


def with_choices(plans: ResolvedPlans, choices: Mapping[str, Choice[Any]]) -> ResolvedPlans:
    """Return the plans of a run with some values chosen anew, and why; the user's values stay.

    Args:
        choices: by the path of the field in the configuration ("weak.cdm.log_snr"). A value may
            also be a whole group ("weak.cdm") or an entry of a dictionary ("weak.masks.cdm").

    Raises:
        PlansError: there is no such field, or the value does not fit it.
    """
    content, reasons = as_json(plans.configuration), as_json(plans.reasons)
    for path, choice in choices.items():
        if plans.is_set_by_user(path):
            continue
        users = {each: _at(content, each) for each in plans.set_by_user if each.startswith(path)}
        *parents, last = path.split(".")
        values, below = content, reasons
        for parent in parents:
            if not isinstance(values.get(parent), dict):
                raise PlansError(f"'{path}' cannot be chosen: there is no group '{parent}'")
            values = values[parent]
            below = _group(below, parent)
        values[last] = as_json(choice.value)
        below[last] = choice.reason
        for each, value in users.items():
            *parents, last = each.split(".")
            _at(content, ".".join(parents))[last] = value
    where = f"chosen values of {plans.configuration_name}"
    chosen = record_from_json(ConfigurationPlan, content, where=where, error=PlansError)
    return dataclasses.replace(plans, configuration=chosen, reasons=reasons)


def _at(content: Any, path: str) -> Any:
    return functools.reduce(operator.getitem, path.split("."), content)


def _group(reasons: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the reasons of a group; they replace a single sentence for the whole group."""
    if not isinstance(reasons.get(name), dict):
        reasons[name] = {}
    return reasons[name]


def sentence(text: str) -> str:
    """Return `text` with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
