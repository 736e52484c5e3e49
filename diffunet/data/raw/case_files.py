"""Which files belong to which case: the names of nnU-Net, and one label map per rater."""

import difflib
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffunet.data.image_io import (
    LOSSY_FILE_ENDINGS,
    file_ending_of,
    is_photograph,
    supported_file_endings,
    takes_photographs,
)
from diffunet.data.raw.spellings import as_typed
from diffunet.names import canonical, name_problem
from diffunet.workspace import (
    IMAGES_FOLDER,
    LABELS_FOLDER,
    TEST_IMAGES_FOLDER,
    TEST_LABELS_FOLDER,
)

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>[0-9]{4})")
_OTHER_CHANNEL = re.compile(r"(?P<case>.+)[-_. ](?P<channel>[0-9]{3,5})")
"""A channel with other digits, or after another character: `CASE_000`, `CASE.0000`."""
_COPY = re.compile(r".+_[0-9]{4} ?(\([0-9]+\)|-? ?copy.*|_copy)", re.IGNORECASE)
"""A file that a file manager or a browser wrote beside another."""
_RATER = re.compile(r"(?P<case>.+)_(?P<rater>r[0-9]{2,})")
_OTHER_IMAGE_ENDINGS = (*LOSSY_FILE_ENDINGS, ".dcm", ".npy", ".npz", ".mat", ".mhd", ".hdr", ".img")
_ENDINGS_OF_FILES = (
    *(".gz", ".zip", ".tar", ".json", ".csv", ".txt", ".md", ".xml", ".pdf", ".html"),
    *(".h5", ".hdf5", ".pt", ".pth", ".pkl", ".vtk", ".stl", ".ply", ".svg", ".heic", ".dicom"),
)
_MOST_LISTED = 20
_FOLDERS = (IMAGES_FOLDER, LABELS_FOLDER, TEST_IMAGES_FOLDER, TEST_LABELS_FOLDER)
_SIMILAR = 0.8  # of difflib: a letter or an ending apart
_OF_DATASET = "'file_ending' of dataset.json"

OF_MODEL = "as those that the model was trained on"
"""Where the ending of images to predict comes from, in words."""


@dataclass(frozen=True, kw_only=True)
class CaseFiles:
    """The files of one case.

    Attributes:
        images: one per channel in their order, or a single file that may hold all channels.
        labels: rater to label map, sorted by rater; empty where the case has none. A rater without
            a file was not asked; a rater whose label map is all background saw nothing.
    """

    case: str
    images: tuple[Path, ...]
    labels: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """Faults and doubts, collected while a dataset is checked.

    Attributes:
        left_out: cases that exist but have faults; tables may name them.
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)


def listing(names: Collection[str]) -> str:
    """Return "'a', 'b', 'c'"; of a long list only the first, and how many more there are."""
    shown = ", ".join(f"'{name}'" for name in sorted(names)[:_MOST_LISTED])
    return shown if len(names) <= _MOST_LISTED else f"{shown} and {len(names) - _MOST_LISTED} more"


def nearest(folder: Path, name: str) -> str:
    """Return what was found in `folder` in place of `name` and what to do, for a message.

    It is a name that differs little (`imagestr`, `dataset.json.txt`), `name` one folder deeper, or
    none.
    """
    names = {
        path.name.lower(): path.name
        for path in folder.iterdir()
        if path.name not in _FOLDERS  # each has its own meaning
    }
    similar = difflib.get_close_matches(name.lower(), names, n=1, cutoff=_SIMILAR)
    if similar:
        return f"'{names[similar[0]]}'; rename it"
    deeper = sorted(path.parent.name for path in folder.glob(f"*/{name}"))
    return f"it in the folder '{deeper[0]}'; move all of that up" if deeper else "none; create it"


def ending_of_a_file(path: Path) -> str | None:
    """Return the ending by which the name of `path` is that of a file, whether there is one or not.

    None for other names: those of folders may have dots too.
    """
    known = (*supported_file_endings(), *_OTHER_IMAGE_ENDINGS, *_ENDINGS_OF_FILES)
    name = path.name.lower()
    return next((ending for ending in known if name.endswith(ending)), None)


def as_cases(names: Collection[str], cases: Collection[str]) -> str | None:
    """Return the remedy for names that mean cases, as those of their files; None for others."""
    meant = {}
    for name in names:
        bare = re.split(r"[/\\]", name)[-1]
        bare = bare[: len(bare) - len(ending_of_a_file(Path(bare)) or "")]
        case = next((each for each in (bare, without_channel(bare)) if each in cases), None)
        if case is None:
            return as_typed(names, cases)
        meant[name] = case
    example = min(meant)
    return (
        "write cases, without folder, channel or file ending: "
        f"'{meant[example]}' for '{example}', and so on"
    )


def images_by_case(
    folder: Path,
    file_ending: str,
    num_channels: int,
    *,
    findings: Findings,
    ending_is: str = _OF_DATASET,
) -> dict[str, tuple[Path, ...]]:
    """Return the image files of each case in `folder`, sorted by case, channels in order.

    Cases whose channels are incomplete are left out, and every fault goes into `findings`.

    Args:
        ending_is: whose `file_ending` is, for messages.
    """
    channels: dict[str, dict[int, Path]] = defaultdict(dict)
    unnumbered = []
    files = files_by_stem(folder, file_ending, findings=findings, ending_is=ending_is)
    for stem, path in files.items():
        matched = _CHANNEL.fullmatch(stem)
        if matched is None:
            unnumbered.append(path.name)
            findings.left_out.add(stem)
        else:
            channels[matched["case"]][int(matched["channel"])] = path
    if not files and ending_is == _OF_DATASET and (deeper := folders_with(folder, file_ending)):
        findings.problems.append(
            f"{folder.name}: expected images CASE_0000{file_ending}, found none, but some in the "
            f"folders {listing(deeper)}; move them up"
        )
    if unnumbered:
        findings.problems.append(
            f"{folder.name}: expected names CASE_0000{file_ending} (the channel, four digits), "
            f"found {len(unnumbered)} without it: {listing(unnumbered)}; "
            f"{_unnumbered_remedy(unnumbered, file_ending, num_channels)}"
        )
    complete = {}
    for case in sorted(channels):
        if set(channels[case]) in ({0}, set(range(num_channels))):
            complete[case] = tuple(channels[case][index] for index in sorted(channels[case]))
        else:
            findings.left_out.add(case)
            remedy = (
                "add the missing files, or remove the case"
                if len(channels[case]) <= num_channels
                else "the four digits are the channel of a case: number the channels like that or, "
                f"if each file is a case of its own, rename '{case}_0001' to '{case}0001_0000', "
                "and the others likewise"
            )
            findings.problems.append(
                f"case '{case}': expected the channels {_numbers(range(num_channels))} in "
                f"{folder.name}, as 'channel_names' of dataset.json says, found "
                f"{_numbers(channels[case])}; {remedy}"
            )
    return complete


def _unnumbered_remedy(names: Sequence[str], file_ending: str, num_channels: int) -> str:
    """Return what to do about names of images without a channel, as `CASE_0000` has it."""
    stems = {name: name[: -len(file_ending)] for name in sorted(names)}
    example = next(iter(stems))
    if all(_COPY.fullmatch(stem) for stem in stems.values()):
        return "remove them if they are copies"
    written = {name: _OTHER_CHANNEL.fullmatch(stem) for name, stem in stems.items()}
    if all(found and int(found["channel"]) < num_channels for found in written.values()):
        found = written[example]
        meant = f"{found['case']}_{int(found['channel']):04d}" if found else ""
    else:
        meant = f"{stems[example]}_0000"
    return f"rename '{example}' to '{meant}{file_ending}', and the others likewise"


def folders_with(folder: Path, file_ending: str) -> list[str]:
    """Return the names of the folders in `folder` that hold files of this ending."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir()
        and not path.name.startswith(".")
        and any(each.name.lower().endswith(file_ending.lower()) for each in path.glob("*"))
    )


def is_rater(name: str) -> bool:
    """Whether `name` is a rater's: r00, r01, ..."""
    return _RATER.fullmatch(f"case_{name}") is not None


def rater_name(asked: str) -> str:
    """Return the name of a rater in the names of files, who is asked for by name or number."""
    return f"r{int(asked):02d}" if asked.isdecimal() else asked


def split_rater(stem: str) -> tuple[str, str] | None:
    """Return CASE and r00 of `CASE_r00`, None for a name without a rater."""
    matched = _RATER.fullmatch(stem)
    return (matched["case"], matched["rater"]) if matched else None


def split_channel(stem: str) -> tuple[str, int] | None:
    """Return (CASE, 0) of `CASE_0000`, None for a name without a channel."""
    matched = _CHANNEL.fullmatch(stem)
    return (matched["case"], int(matched["channel"])) if matched else None


def without_channel(stem: str) -> str | None:
    """Return CASE of `CASE_0000`, None for a name without a channel."""
    split = split_channel(stem)
    return split[0] if split else None


def files_by_stem(
    folder: Path, file_ending: str, *, findings: Findings, ending_is: str = _OF_DATASET
) -> dict[str, Path]:
    """Return the files of `folder` by their name without `file_ending`, in whatever case it is."""
    files: dict[str, Path] = {}
    others: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        name = path.name
        if name.startswith(".") or name in ("Thumbs.db", "desktop.ini"):
            continue
        if not name.lower().endswith(file_ending.lower()):
            others[_ending_of(path)].append(name)
            continue
        stem = canonical(name[: -len(file_ending)])
        if problem := name_problem(stem):
            findings.problems.append(
                f"{folder.name}: expected names that output files can share, found {name!r}: "
                f"{problem}; rename it"
            )
            continue
        if stem in files:
            same = files[stem].name
            is_form = canonical(same) == canonical(name)
            findings.problems.append(
                f"case '{stem}': expected one file, found both '{same}' and '{name}' "
                f"{'(the same text in two Unicode forms) ' if is_form else ''}in {folder.name}; "
                "remove one"
            )
        files[stem] = path
    _report_other_files(folder, others, file_ending, findings=findings, ending_is=ending_is)
    return files


def _report_other_files(
    folder: Path,
    others: Mapping[str, Sequence[str]],
    file_ending: str,
    *,
    findings: Findings,
    ending_is: str,
) -> None:
    for ending, names in sorted(others.items()):
        if ending == ".json" and file_ending_of(Path(f"x{file_ending}")) in (".tif", ".tiff"):
            continue  # the spacing of a volume
        if (
            ending_is == OF_MODEL
            and takes_photographs(file_ending)
            and is_photograph(Path(names[0]))
        ):
            continue  # which are predicted too
        if ending not in (*supported_file_endings(), *_OTHER_IMAGE_ENDINGS):
            findings.warnings.append(
                f"{folder.name}: {len(names)} other files or folders are ignored: {listing(names)}"
            )
            continue
        for name in names:
            stem = canonical(name[: len(name) - len(ending)])
            matched = _CHANNEL.fullmatch(stem) or _RATER.fullmatch(stem)
            findings.left_out.add(matched["case"] if matched else stem)
        remedy = (
            "convert the originals without loss: this format alters the values"
            if ending in LOSSY_FILE_ENDINGS
            else "convert or remove them, or give each on its own (-i FILE)"
            if ending_is == OF_MODEL
            else "convert or remove them, or correct 'file_ending'"
        )
        findings.problems.append(
            f"{folder.name}: expected files that end in '{file_ending}' ({ending_is}), "
            f"found {len(names)} that end in '{ending}': {listing(names)}; {remedy}"
        )


def _ending_of(path: Path) -> str:
    return file_ending_of(path) or path.suffix.lower()


def _numbers(channels: Collection[int]) -> str:
    return ", ".join(f"_{channel:04d}" for channel in sorted(channels))
