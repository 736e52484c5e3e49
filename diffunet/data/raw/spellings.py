"""Names of cases as a spreadsheet, or a hand, wrote them in a table."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection

_NUMBER = re.compile(r"[0-9]+(\.0*)?|[0-9]+(\.[0-9]*)?e\+?[0-9]{1,3}")


def as_typed(names: Collection[str], cases: Collection[str]) -> str | None:
    """Return the remedy for names that are cases but for their spelling; None where none is."""
    by_spelling = defaultdict(list)
    for case in cases:
        by_spelling[_spelling(case)].append(case)
    for name in sorted(names):
        if len(meant := by_spelling[_spelling(name)]) == 1:
            shown = f"'{name}'" if _visible(name) == name else ascii(name)
            return (
                f"write '{meant[0]}' for {shown}, as the files are called (a spreadsheet drops "
                "zeros in front and rewrites numbers, unless the column is formatted as text "
                "before the names are put in)"
            )
    return None


def _spelling(name: str) -> str:
    """Return a name without invisible characters, quotes, upper case and the form of a number."""
    bare = _visible(name).strip(" =\"'").casefold()
    return repr(float(bare)) if _NUMBER.fullmatch(bare) else bare


def _visible(name: str) -> str:
    return "".join(each for each in name if unicodedata.category(each) not in ("Cf", "Cc"))
