"""Where the samples of a prediction lie: `samples/`, one file per sample, or one per case.

No other module knows their names.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from diffunet.data.image_io import STACK_FILE_ENDINGS, StoredMap, stack_size
from diffunet.data.raw.case_files import listing
from diffunet.errors import DatasetError
from diffunet.names import canonical

SAMPLES_FOLDER = "samples"

_ALONE = re.compile(r"(?P<case>.+)_s(?P<number>[0-9]{2,})")
_TOGETHER = re.compile(r"(?P<case>.+)_samples")


def sample_path(folder: Path, case: str, sample: int, *, file_ending: str) -> Path:
    """Return the file of one sample in a folder of predictions."""
    return folder / SAMPLES_FOLDER / f"{case}_s{sample:02d}{file_ending}"


def stack_path(folder: Path, case: str, *, num_dimensions: int) -> Path:
    """Return the file of all samples of a case, an image or a volume."""
    return folder / SAMPLES_FOLDER / f"{case}_samples{STACK_FILE_ENDINGS[num_dimensions]}"


def is_sample(name: str) -> bool:
    """Whether a path in a folder of predictions is that of samples."""
    return name.startswith(f"{SAMPLES_FOLDER}/")


def sample_files(folder: Path, cases: Collection[str], *, file_ending: str) -> list[Path]:
    """Return all files of samples of some cases, in whatever form they were saved."""
    return [
        path
        for path in _files_in(folder / SAMPLES_FOLDER)
        if (found := _owner_of(path, file_ending)) and found[0] in cases
    ]


def samples_of(folder: Path, names: Iterable[str]) -> tuple[StoredMap, ...]:
    """Return the samples of a case in their order, of the files that its record names.

    Raises:
        DatasetError: a file of several samples cannot be read.
    """
    found: list[StoredMap] = []
    for name in sorted(filter(is_sample, names), key=lambda name: (len(name), name)):
        path = folder / name
        together = any(_stem(path, ending, _TOGETHER) for ending in STACK_FILE_ENDINGS.values())
        found += _all_in(path) if together else [StoredMap(path=path)]
    return tuple(found)


def samples_of_case(folder: Path, case: str, *, file_ending: str) -> tuple[StoredMap, ...]:
    """Return the samples of a case in their order, of the files that are there.

    Raises:
        DatasetError: a file of several samples cannot be read.
    """
    files = sample_files(folder, {case}, file_ending=file_ending)
    return samples_of(folder, [f"{SAMPLES_FOLDER}/{path.name}" for path in files])


def samples_by_case(
    folder: Path, file_ending: str, *, problems: list[str]
) -> dict[str, tuple[StoredMap, ...]]:
    """Return the samples of each case in their order; {} where a folder has none.

    Args:
        folder: of predictions.
        problems: gets every fault of the files.
    """
    numbered: dict[str, dict[int, Path]] = {}
    stacks: dict[str, list[Path]] = {}
    unnamed: list[str] = []
    where = folder / SAMPLES_FOLDER
    for path in _files_in(where):
        owner = _owner_of(path, file_ending)
        if owner is None and path.name.lower().endswith(file_ending.lower()):
            unnamed.append(path.name)
        elif owner and owner[1] is None:
            stacks.setdefault(owner[0], []).append(path)
        elif owner:
            numbered.setdefault(owner[0], {})[int(owner[1] or 0)] = path
    if unnamed:
        problems.append(
            f"'{where}': expected names CASE_s00{file_ending}, found {listing(unnamed)}; rename "
            "or remove them"
        )
    _report_gaps(numbered, where, problems=problems)
    found = {
        case: tuple(StoredMap(path=files[number]) for number in sorted(files))
        for case, files in numbered.items()
    }
    for case, paths in stacks.items():
        if case in found or len(paths) > 1:
            problems.append(
                f"case '{case}': expected its samples once in '{where}', found them in "
                f"{listing([path.name for path in [*paths, *numbered.get(case, {}).values()]])}; "
                "remove one form"
            )
            continue
        try:
            found[case] = tuple(_all_in(paths[0]))
        except DatasetError as error:
            problems += error.problems
    return found


def _report_gaps(
    numbered: Mapping[str, Mapping[int, Path]], where: Path, *, problems: list[str]
) -> None:
    for case, files in numbered.items():
        absent = sorted(set(range(len(files))) - set(files))
        if absent:
            problems.append(
                f"case '{case}': expected {len(files)} samples numbered from s00 in '{where}', "
                f"found no s{absent[0]:02d}; predict the case again"
            )


def _files_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "."]


def _owner_of(path: Path, file_ending: str) -> tuple[str, str | None] | None:
    """Return the case of a file of samples, and the number, or None for all of them."""
    if alone := _stem(path, file_ending, _ALONE):
        return alone["case"], alone["number"]
    for ending in STACK_FILE_ENDINGS.values():
        if together := _stem(path, ending, _TOGETHER):
            return together["case"], None
    return None


def _stem(path: Path, file_ending: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """Match the name of a file without its ending."""
    if not path.name.lower().endswith(file_ending.lower()):
        return None
    return pattern.fullmatch(canonical(path.name[: -len(file_ending)]))


def _all_in(path: Path) -> list[StoredMap]:
    return [StoredMap(path=path, number=number) for number in range(stack_size(path))]
