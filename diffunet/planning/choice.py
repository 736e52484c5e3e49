"""A value that a rule chose, with the reason in words."""

from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Choice(Generic[Value]):
    """What a planning rule returns.

    Attributes:
        value: goes into the plans.
        reason: a sentence or two for the user, beside the value.
        warning: what the user should look at before training; empty where there is nothing.
    """

    value: Value
    reason: str
    warning: str = ""
