"""Which fields of a plans file the user changed since the planner wrote it."""

from pathlib import Path

from diffunet.errors import PlansError
from diffunet.jsonio import as_json
from diffunet.plans.differences import differences
from diffunet.plans.plans import Plans

PLANNED_SUFFIX = ".planned.json"
"""Of the copy, in place of `.json`: the plans as the planner wrote them."""


def save_planned(plans: Plans, path: Path) -> None:
    """Write new plans, and the copy that tells later edits from choices.

    The former copy is deleted first: if a run is killed in between, nothing counts as edited.
    """
    _copy_of(path).unlink(missing_ok=True)
    plans.save(path)
    plans.save(_copy_of(path))


def edited_fields(path: Path, *, configuration: str | None) -> tuple[str, ...]:
    """Return the paths of a configuration's fields that differ from what the planner wrote.

    Args:
        path: of a plans file. One without a copy, as written by hand, counts as unchanged.
        configuration: None for the recommended one.
    """
    if not knows_edits(path):
        return ()
    plans = Plans.load(path)
    name = configuration or plans.recommended_configuration
    try:
        planned = Plans.load(_copy_of(path)).configuration(name)
    except PlansError:  # a configuration of the user's own, or a copy that is damaged
        return ()
    return tuple(differences(as_json(planned), as_json(plans.configuration(name))))


def knows_edits(path: Path) -> bool:
    """Whether `edited_fields` can tell what was changed in a plans file."""
    return _copy_of(path).is_file()


def _copy_of(path: Path) -> Path:
    return path.with_suffix(PLANNED_SUFFIX)
