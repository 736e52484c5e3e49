"""Names that become paths: what a name may be, and which names are one file on some disks.

Names from a file, a flag or somebody else's model are checked here before they become part of a
path.
"""

import errno
import re
import sys
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import uuid4

from diffunet.errors import DiffunetError

_FOLD = re.compile(r"all|0|[1-9][0-9]{0,8}")
_MOST_BYTES = (
    200  # file systems take 255: endings, and what stands before unfinished files, are long
)
_LONGEST_PART = 60
_MAY_BE_REFUSED = re.compile(r'(?i).*[<>:"|?*].*|.*\.|(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?')
"""Names that disks for Windows do not take."""
_ABOUT_NAMES = (errno.EINVAL, errno.ENOENT, errno.EACCES)
"""How they say so."""


def canonical(text: str) -> str:
    """Return `text` in the one Unicode form, NFC, in which names are compared and written.

    An e with an accent may be one character or two; they look alike, and macOS writes the latter.
    """
    return unicodedata.normalize("NFC", text)


def undecoded_problem(name: str) -> str | None:
    """Return why a file's name or a word of a command is no text; None where it is.

    Python keeps bytes that are no text in the encoding of names as halves of characters, which no
    file in UTF-8 can hold.
    """
    if not any(unicodedata.category(character) == "Cs" for character in name):
        return None
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8":
        return "it is not written in UTF-8"
    return (
        f"it is not {encoding}, for which Python takes all names in this locale (set PYTHONUTF8=1 "
        "in the environment to have them read as UTF-8)"
    )


def name_problem(name: str) -> str | None:
    """Return why `name` cannot stand for one file or folder; None where it can."""
    if not name:
        return "it is empty"
    if "/" in name or "\\" in name:
        return "it would lead into another folder"
    if name.startswith("."):
        return "it begins with a dot"
    if name != name.strip():
        return "it begins or ends with a space"
    if problem := undecoded_problem(name):
        return problem
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "it holds a character that cannot be printed"
    if len(name.encode("utf-8")) > _MOST_BYTES:
        return f"it has more than {_MOST_BYTES} bytes"
    return None


def require_name(name: str, *, where: str, error: type[Exception]) -> str:
    """Return `name`, which may become part of a path.

    Args:
        where: the field, file or flag that gives it, for the message.

    Raises:
        error: it may not.
    """
    if problem := name_problem(name):
        raise error(
            f"{where}: expected a name that a file can have, found {name!r}: {problem}; choose "
            "another one"
        )
    return name


def is_number(text: str) -> bool:
    """Whether `text` is a whole number as usually written: "²" and full-width digits are none."""
    return text.isascii() and text.isdigit()


def is_fold(name: str) -> bool:
    """Whether `name` is a fold's: `0_old`, or `0 (copy)`, is what somebody keeps beside it."""
    return _FOLD.fullmatch(name) is not None


def require_fold(fold: int | str, *, error: type[DiffunetError]) -> str:
    """Return the name of a fold: a whole number, written as usual, or "all".

    `00`, and digits of other scripts, would be a second fold 0 beside the first.

    Raises:
        error: it is something else.
    """
    name = str(fold)
    if not is_fold(name):
        raise error(f"there is no fold '{name}'; expected 0, 1, 2, ... or all")
    return name


def shared_names(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of different names that are one file where upper and lower case are."""
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        groups[_key(name)].add(name)
    return [sorted(group) for _, group in sorted(groups.items()) if len(group) > 1]


def require_names_on(
    folder: Path, names: Iterable[str], *, what: str, error: type[DiffunetError]
) -> None:
    """Check that files of these names can stand beside each other on the disk of `folder`.

    A disk may not tell A from a, and one for Windows takes no `a:b` and no `con.png`.

    Args:
        what: the names are of, for the message.

    Raises:
        error: they cannot.
    """
    names = list(names)
    if refused := _refused(names, folder):
        raise error(
            f"'{folder}': the disk does not take {len(refused)} {what} by their names: "
            f'{", ".join(map(repr, refused[:10]))}; a disk for Windows has none with < > : " | ? '
            "or *, none that ends with a dot, and no con, nul and the like; rename them, or choose "
            "a folder on another disk"
        )
    groups = shared_names(names)
    if groups and not _tells_cases_apart(folder):
        pairs = "; ".join(" = ".join(f"'{name}'" for name in group) for group in groups[:10])
        raise error(
            f"'{folder}': the disk does not tell upper from lower case, and {len(groups)} {what} "
            f"differ only in case: {pairs}; rename them, or choose a folder on another disk"
        )


def file_parts(names: Sequence[str]) -> list[str]:
    """Return for each text a part of a file's name; no two of them are one file on any disk.

    Letters and digits of every script stay, all else becomes a dash. Where that leaves too little
    to tell the texts apart, the number of the text is added.
    """
    parts = [_part_of(name) for name in names]
    count = Counter(map(_key, parts))
    is_clear = [count[_key(part)] == 1 and any(map(str.isalnum, part)) for part in parts]
    taken = {_key(part) for part, alone in zip(parts, is_clear, strict=True) if alone}
    for number, alone in enumerate(is_clear):
        if not alone:
            parts[number] += f"-{number}"
            while _key(parts[number]) in taken:
                parts[number] += f"-{number}"
            taken.add(_key(parts[number]))
    return parts


def _key(name: str) -> str:
    """Return a key that two names share if they are one file where case does not count."""
    return canonical(canonical(name).casefold())


def _part_of(text: str) -> str:
    kept = (
        character if unicodedata.category(character)[0] in "LMN" or character in ".-" else " "
        for character in canonical(text)
    )
    return re.sub(r"\s+", "-", "".join(kept))[:_LONGEST_PART]


def _refused(names: Iterable[str], folder: Path) -> list[str]:
    """Return the names that the disk of `folder` refuses, or changes."""
    doubtful = [name for name in names if _MAY_BE_REFUSED.fullmatch(name)]
    if not doubtful:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    refused = []
    with tempfile.TemporaryDirectory(prefix=".names-", dir=folder) as probes:
        for name in doubtful:
            try:
                (Path(probes) / name).touch()
            except OSError as cause:
                if cause.errno not in _ABOUT_NAMES:
                    raise
                refused.append(name)
            else:
                made = list(Path(probes).iterdir())
                if [canonical(path.name) for path in made] != [canonical(name)]:
                    refused.append(name)
                for path in made:
                    path.unlink()
    return refused


def _tells_cases_apart(folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    name = f".unfinished-{uuid4().hex}-"
    probe = folder / f"{name}a"
    probe.touch()
    try:
        return not (folder / f"{name}A").exists()
    finally:
        probe.unlink()
