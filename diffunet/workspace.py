"""Where the folders raw, preprocessed and results lie, and which dataset a name means.

The names of the files and folders in them that more than one module knows stand here.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from diffunet.errors import WorkspaceError
from diffunet.names import is_number, name_problem, require_name

IMAGES_FOLDER, LABELS_FOLDER = "imagesTr", "labelsTr"
TEST_IMAGES_FOLDER, TEST_LABELS_FOLDER = "imagesTs", "labelsTs"

DATASET_FILE = "dataset.json"
"""Of a raw dataset, and a copy of it wherever its data, models or predictions lie."""

PATIENTS_FILE = "patients.csv"
SPLITS_FILE = "splits_final.json"
STATE_FILE = "dataset_state.json"
FINGERPRINT_FILE = "dataset_fingerprint.json"
DEFAULT_PLANS_NAME = "diffunet_plans"

FOLDERS = ("raw", "preprocessed", "results")
"""Of a workspace."""

RESOLVED_PLANS_FILE = "plans.resolved.json"
"""The plans that a fold was trained by, or that predictions were made by."""

ENSEMBLE_FILE = "ensemble.json"
"""What the predictions of a folder were joined from."""

POSTPROCESSING_FILE = "postprocessing.json"
"""Which components to keep, as it was decided on a folder of predictions."""

APPLIED_POSTPROCESSING_FILE = "applied_postprocessing.json"
"""The same, in a folder whose masks have been through it."""

CROSSVAL_FILE = "crossval.json"
"""Which folds the predictions of a folder were gathered from."""

METRICS_FILE = "metrics.jsonl"
LOG_FILE = "log.txt"

SUMMARY_FILE = "summary.json"
"""Scores of a folder of predictions."""

UNFINISHED_PSEUDO_LABELS = "unfinished_pseudo_labels"
"""Folder in a raw dataset of what its pseudo-masks are made from, until the dataset is whole."""

VALIDATION_SUMMARY = Path("validation") / SUMMARY_FILE
"""Scores of a fold's final validation."""

_OF_FLAG = "the flag --workspace"
_DATASET_FOLDER = re.compile(r"Dataset([0-9]{3})_(.+)")


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The three folders, and in words where they come from.

    Attributes:
        origin: "the flag --workspace", "environment variables ...", or "the default ...".
    """

    raw: Path
    preprocessed: Path
    results: Path
    origin: str

    @classmethod
    def resolve(
        cls, *, folder: Path | None, environment: Mapping[str, str], current_folder: Path
    ) -> "Workspace":
        """Choose the folders: a given folder, then environment variables, then a default.

        Each of `diffunet_raw`, `diffunet_preprocessed` and `diffunet_results` that is set replaces
        that one folder of the default.

        Args:
            folder: holds the three folders; None where the user gave none.
            environment: the environment variables.
            current_folder: the default workspace is `diffunet_workspace` in it.

        Raises:
            WorkspaceError: a variable has quotation marks or spaces around its path.
        """
        if folder is not None:
            root, origin, chosen = folder.absolute(), _OF_FLAG, {}
        else:
            root = current_folder / "diffunet_workspace"
            chosen = {name: environment.get(f"diffunet_{name}") for name in FOLDERS}
            for name, path in chosen.items():
                _require_bare_path(f"diffunet_{name}", path or "")
            chosen = {name: path_of(path).absolute() for name, path in chosen.items() if path}
            variables = ", ".join(f"diffunet_{name}" for name in chosen)
            origin = f"environment: {variables}" if chosen else "the default"
        return cls(
            raw=chosen.get("raw", root / "raw"),
            preprocessed=chosen.get("preprocessed", root / "preprocessed"),
            results=chosen.get("results", root / "results"),
            origin=origin,
        )

    def __str__(self) -> str:
        return (
            f"workspace ({self.origin}): raw '{self.raw}', preprocessed '{self.preprocessed}', "
            f"results '{self.results}'"
        )

    @property
    def words(self) -> list[str]:
        """What a command needs to be told to find this workspace again, from the same folder."""
        return ["--workspace", str(self.raw.parent)] if self.origin == _OF_FLAG else []

    def dataset_name(self, dataset: int | str | Path) -> str:
        """Return the folder name that an id (1, "1", "001"), a name or a path means.

        A name may come with or without its `DatasetXXX_`; the dataset may lie in any of the three
        folders. A dataset that was planned by its path has the name of that folder, whatever it is.

        Raises:
            WorkspaceError: none, or several, match; the message lists what is there. Or a path ends
                in what can be no name.
        """
        text = str(dataset).rstrip("/")
        if folder := _folder_of(dataset):
            return folder.name
        if self._was_planned(text):
            return text
        known = self.known_datasets()
        matches = [name for name in known if _means(text, name)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise WorkspaceError(
                f"dataset '{text}' is ambiguous: it may be {', '.join(matches)}; give the full name"
            )
        listing = ", ".join(known) if known else "none"
        others = self._other_raw_folders()
        misnamed = (
            f" (not taken for datasets, since a name is Dataset, three digits, _ and a name: "
            f"{', '.join(others)})"
            if others
            else ""
        )
        raise WorkspaceError(
            f"there is no dataset '{text}' in {self}; found: {listing}{misnamed}. "
            f"Put it into '{self.raw}'{'' if self.raw.is_dir() else ', which does not exist,'} as "
            "DatasetXXX_NAME, or say where with --workspace"
        )

    def _was_planned(self, name: str) -> bool:
        """Whether there is a preprocessed or trained dataset with exactly this name."""
        if is_number(name) or name_problem(name):
            return False
        return any((folder / name).is_dir() for folder in (self.preprocessed, self.results))

    def _other_raw_folders(self) -> list[str]:
        """Return folders beside the raw datasets that hold a dataset under another name."""
        if not self.raw.is_dir():
            return []
        return sorted(
            path.name
            for path in self.raw.iterdir()
            if not _DATASET_FOLDER.fullmatch(path.name) and (path / DATASET_FILE).is_file()
        )

    def new_dataset_name(self, wanted: int | str, *, default: str) -> str:
        """Return the folder name for a dataset that is to be made; it may be there already.

        Args:
            wanted: a number from 0 to 999, or a whole name such as Dataset503_Tumour.
            default: the name behind the number where `wanted` is one.

        Raises:
            WorkspaceError: `wanted` is something else, or its number is another dataset's.
        """
        text = str(wanted)
        name = text
        if is_number(text):
            name = f"Dataset{text.lstrip('0').zfill(3)}_{default}"
        matched = _DATASET_FOLDER.fullmatch(name)
        if matched is None or name_problem(name):
            raise WorkspaceError(
                f"a new dataset needs a number from 0 to 999, or a name like Dataset503_NAME; "
                f"got '{text}'"
            )
        same_number = [known for known in self.known_datasets() if _means(matched[1], known)]
        if others := [known for known in same_number if known != name]:
            raise WorkspaceError(
                f"the number {matched[1]} is that of {', '.join(others)}; choose another one"
            )
        return name

    def first_free_number(self, *, also_taken: Iterable[str] = ()) -> int:
        """Return the lowest number from 1 that no dataset has, and none of the names `also_taken`.

        Raises:
            WorkspaceError: none is left.
        """
        known = (*self.known_datasets(), *also_taken)
        for number in range(1, 1000):
            if not any(_means(str(number), name) for name in known):
                return number
        raise WorkspaceError(f"all numbers up to 999 are those of datasets in {self}; remove one")

    def known_datasets(self) -> tuple[str, ...]:
        """Return the names of all datasets in the three folders, sorted.

        A link is one, though the disk that it leads to may not be there now.
        """
        folders = [self.raw, self.preprocessed, self.results]
        return tuple(
            sorted(
                {
                    path.name
                    for folder in folders
                    if folder.is_dir()
                    for path in folder.iterdir()
                    if _DATASET_FOLDER.fullmatch(path.name) and (path.is_dir() or path.is_symlink())
                }
            )
        )

    def raw_folder(self, dataset: int | str | Path) -> Path:
        """Return the raw dataset folder; a path to a folder is taken as it is.

        Raises:
            WorkspaceError: there is none.
        """
        if folder := _folder_of(dataset):
            return folder
        folder = self.raw / self.dataset_name(dataset)
        if folder.is_symlink() and not folder.exists():
            raise WorkspaceError(
                f"the raw dataset '{folder}' is a link to '{folder.readlink()}', which is not "
                "there: connect or mount that disk, or make the link anew"
            )
        if not folder.is_dir():
            raise WorkspaceError(f"the raw dataset '{folder}' does not exist ({self})")
        return folder

    def preprocessed_folder(self, dataset: int | str | Path) -> Path:
        """Return the folder of the preprocessed dataset, which need not exist."""
        return self.preprocessed / self.dataset_name(dataset)

    def model_folder(
        self, dataset: int | str | Path, *, method: str, plans: str, configuration: str
    ) -> Path:
        """Return `results/DATASET/METHOD__PLANS__CONFIGURATION`, which need not exist.

        Raises:
            WorkspaceError: there is no such dataset, or a name is none that a folder can have.
        """
        names = {"method": method, "plans": plans, "configuration": configuration}
        for what, name in names.items():
            require_name(name, where=what, error=WorkspaceError)
        return self.results / self.dataset_name(dataset) / f"{method}__{plans}__{configuration}"


def path_of(text: str) -> Path:
    """Return the path that a user wrote; `~` at its beginning is the home folder.

    Shells replace it in a word of its own alone: not in quotes, after `=`, or in a container's file
    of variables. Taken as it is, it would become a folder of that name.
    """
    return Path(os.path.expanduser(text))  # noqa: PTH111 (leaves it where there is no home)


def bare_name(name: str) -> str:
    """Return the name of a dataset without its `DatasetXXX_`."""
    matched = _DATASET_FOLDER.fullmatch(name)
    return matched[2] if matched else name


def _folder_of(dataset: int | str | Path) -> Path | None:
    """Return the folder that a path to a dataset means; None for a number or a name.

    Raises:
        WorkspaceError: its name cannot be that of what is made from the dataset.
    """
    text = str(dataset)
    if is_number(text) or not os.path.isdir(text):  # noqa: PTH112 (too long for a path: none)
        return None
    folder = Path(text).resolve()
    problem = "it is a number" if is_number(folder.name) else name_problem(folder.name)
    if problem:
        raise WorkspaceError(
            f"'{folder}': expected a dataset folder whose name can be given to what is made from "
            f"it, found '{folder.name}': {problem}; rename the folder, for example to "
            "Dataset001_NAME"
        )
    return folder


def _require_bare_path(variable: str, path: str) -> None:
    bare = path.strip().strip("\"'").strip()
    if bare != path and not Path(path).exists():
        raise WorkspaceError(
            f"the environment variable {variable} is [{path}], with quotation marks or spaces "
            f"around the path; set it to [{bare}] (`set {variable}={bare}` in the Windows prompt "
            "keeps quotation marks as part of the path)"
        )
    if "$" in path and not Path(path).exists():
        raise WorkspaceError(
            f"the environment variable {variable} is [{path}], with the name of a variable that no "
            "shell has replaced by its value; set it to the whole path"
        )


def _means(text: str, name: str) -> bool:
    matched = _DATASET_FOLDER.fullmatch(name)
    if matched is None:
        return False
    number, bare_name = matched.groups()
    return text in (name, bare_name) or (is_number(text) and text.lstrip("0") == number.lstrip("0"))
