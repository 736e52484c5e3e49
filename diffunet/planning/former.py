"""Earlier plans: somebody may have edited them."""

import logging
from pathlib import Path

from diffunet.errors import DiffunetError
from diffunet.jsonio import as_json, read_json, write_bytes
from diffunet.plans import Plans
from diffunet.plans.differences import differences

logger = logging.getLogger(__name__)

_MOST_SHOWN = 8


def keep_former_plans(path: Path, plans: Plans) -> None:
    """Copy the plans in `path` to `NAME.former.json` if `plans` differ, and say so."""
    if not path.is_file():
        return
    try:
        changed = list(differences(read_json(path), as_json(plans)))
    except DiffunetError:
        changed = ["the whole file, which could not be read"]
    if not changed:
        return
    kept = path.with_suffix(".former.json")
    write_bytes(kept, path.read_bytes())
    more = f" and {len(changed) - _MOST_SHOWN} more" if len(changed) > _MOST_SHOWN else ""
    logger.warning(
        "'%s' was planned again and now differs in %s%s; the old one is kept as '%s'",
        path,
        ", ".join(changed[:_MOST_SHOWN]),
        more,
        kept.name,
    )
