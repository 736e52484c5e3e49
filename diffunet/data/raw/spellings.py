"""Names of cases as a spreadsheet, or a hand, wrote them in a table or in the names of files."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection

_NUMBER = re.compile(r"[0-9]+(\.0*)?|[0-9]+(\.[0-9]*)?e\+?[0-9]{1,3}")
_NUMBER_IN_NAME = re.compile(r"[0-9]+")
_WORDS_BESIDE = re.compile(
    r"(?<![a-z])(images?|img|scan|masks?|labels?|lbl|segmentation|seg|ground_?truth|gt)(?![a-z])"
)


def as_named(names: Collection[str], cases: Collection[str]) -> dict[str, str] | None:
    """Return the case that each name of a file means, though it is written in another way.

    Upper case, zeros in front of a number, the characters between words, and words for "image" and
    "mask" may differ.

    Returns:
        None unless each name means one of `cases`, and no two mean the same.
    """
    by_key: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        by_key[_key_of_file(case)].append(case)
    meant = {name: by_key[_key_of_file(name)] for name in names}
    if any(len(found) != 1 for found in meant.values()):
        return None
    found = {name: each[0] for name, each in meant.items()}
    return found if len(set(found.values())) == len(found) else None


def _key_of_file(name: str) -> str:
    bare = _WORDS_BESIDE.sub(" ", _visible(name).casefold())
    numbered = _NUMBER_IN_NAME.sub(lambda found: str(int(found.group())), bare)
    return " ".join(re.split(r"[\W_]+", numbered.strip("_ -.")))


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
