"""The files around the pseudo-masks, which make them a raw dataset of the weak dataset's images."""

import csv
import io
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffunet.data.file_state import FileState
from diffunet.data.prediction_records import are_images_of, setting_differences
from diffunet.data.raw.case_files import CaseFiles, listing
from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.splits import Split, write_splits
from diffunet.errors import UsageError
from diffunet.jsonio import read_json, read_object, remove_unfinished, write_json, write_text
from diffunet.records import value_from_json
from diffunet.workspace import (
    DATASET_FILE,
    LABELS_FOLDER,
    PATIENTS_FILE,
    SPLITS_FILE,
    TEST_IMAGES_FOLDER,
    UNFINISHED_PSEUDO_LABELS,
)

RECORD_FILE = "pseudo_labels.json"
_SETTINGS_FILE = "settings.json"

_OF_THE_MASKS = ("raters", "image_labels", "numTest", "training", "test")
"""Keys of the weak dataset's dataset.json that its pseudo-masks do not share."""

logger = logging.getLogger(__name__)


def begin_dataset(
    folder: Path, settings: dict[str, Any], *, cases: Sequence[CaseFiles], continues: bool
) -> bool:
    """Prepare the folder; return whether its dataset is already complete.

    Args:
        cases: whose pseudo-masks it is to hold.

    Raises:
        UsageError: it is there and not to be continued, is not one of ours, has other settings, or
            is complete and was made from other images.
    """
    begun, made = folder / UNFINISHED_PSEUDO_LABELS / _SETTINGS_FILE, folder / RECORD_FILE
    files = (path for path in folder.rglob("*") if path.is_file())
    files = (path for path in files if not path.name.startswith("."))  # unfinished, lock, .DS_Store
    if not folder.is_dir() or not any(files):
        write_json(begun, settings)
        return False
    is_whole = (folder / DATASET_FILE).is_file()
    path = made if is_whole else begun
    if not path.is_file():
        raise UsageError(f"'{folder}' holds something other than pseudo-masks; choose another name")
    if not continues:
        state = "is there" if is_whole else "was begun"
        raise UsageError(
            f"the dataset '{folder}' {state}; go on with --continue, or choose another name"
        )
    found = read_json(path, UsageError)
    made_with = found.get("settings") if is_whole and isinstance(found, dict) else found
    if not isinstance(made_with, dict):
        raise UsageError(
            f"'{path}': expected the settings that a dataset was made with, found "
            f"{made_with!r:.80}; choose another name, or remove '{folder}'"
        )
    changes = setting_differences(made_with, settings)
    if changes:
        raise UsageError(
            f"'{folder}' was made with other settings ({'; '.join(changes)}); choose another name, "
            "or remove it"
        )
    if is_whole:
        _require_label_maps(folder)
        _require_images(path, found, cases)
    for each in (folder, folder / LABELS_FOLDER):
        remove_unfinished(each)
    return is_whole


def _require_label_maps(folder: Path) -> None:
    """Check that a whole dataset still has its label maps.

    Raises:
        UsageError: some are missing. They are not made again: others may have been corrected.
    """
    table = read_object(folder / DATASET_FILE, UsageError).get("dataset")
    entries = list(table.values()) if isinstance(table, dict) else [None]
    named = [str(each["label"]) for each in entries if isinstance(each, dict) and "label" in each]
    if len(named) < len(entries):
        raise UsageError(
            f"'{folder / DATASET_FILE}': expected in 'dataset' the image and the label map of each "
            f"case, found {table!r:.80}; choose another name, or remove '{folder}'"
        )
    missing = [name for name in named if not (folder / name).is_file()]
    if missing:
        raise UsageError(
            f"'{folder}': expected {len(named)} label maps, found {len(missing)} of them missing, "
            f"such as '{missing[0]}'; restore them from a copy, or remove the folder and make the "
            "dataset again"
        )


def _require_images(path: Path, record: Mapping[str, Any], cases: Sequence[CaseFiles]) -> None:
    """Check that a whole dataset was made from the images that are there now.

    Raises:
        UsageError: it was made from others, or its record is damaged.
    """
    made = value_from_json(
        dict[str, dict[str, Any]], record.get("cases"), where=f"'{path}': cases", error=UsageError
    )
    changed = []
    for files in cases:
        states = value_from_json(
            tuple[FileState, ...] | None,
            made.get(files.case, {}).get("input"),
            where=f"'{path}': cases.{files.case}.input",
            error=UsageError,
        )
        if states is not None and not are_images_of(files, states):  # None in older records
            changed.append(files.case)
    if changed:
        raise UsageError(
            f"'{path.parent}' is complete, but the images of {listing(changed)} have changed; "
            "put them back, or remove this folder and make it again"
        )


def student_content(raw: RawDataset, folder: Path, *, description: str) -> dict[str, Any]:
    """Return dataset.json for `folder`: images where they are, by nnU-Net's explicit table.

    The labels are those of `raw`, and "ignore" with the next free integer unless there is one.
    """
    labels = dict(raw.content["labels"])
    labels.setdefault("ignore", raw.labels.all_values[-1] + 1)
    kept = {key: value for key, value in raw.content.items() if key not in _OF_THE_MASKS}
    table = {
        files.case: {
            "images": [path_from(folder, path) for path in files.images],
            "label": f"{LABELS_FOLDER}/{files.case}{raw.file_ending}",
        }
        for files in raw.training_cases
    }
    return {
        **kept,
        "description": description,
        "labels": labels,
        "numTraining": len(table),
        "dataset": table,
    }


def write_companions(raw: RawDataset, folder: Path, *, splits: Sequence[Split]) -> None:
    """Write splits, patients and a link to the test images, as far as the weak dataset has them.

    A student's fold then never learns from an image that the same fold of the weak model was
    validated on, and no patient is on both sides.
    """
    if splits:
        write_splits(folder / SPLITS_FILE, splits)
    cases = [files.case for files in raw.training_cases]
    if raw.test_cases and _link(folder / TEST_IMAGES_FOLDER, raw.folder / TEST_IMAGES_FOLDER):
        cases += [files.case for files in raw.test_cases]
    if (raw.folder / PATIENTS_FILE).is_file():
        text = io.StringIO()
        rows = [(case, raw.patients[case]) for case in cases]
        csv.writer(text, lineterminator="\n").writerows([("case", "patient"), *rows])
        write_text(folder / PATIENTS_FILE, text.getvalue())


def path_from(folder: Path, path: Path) -> str:
    """Return how `folder`, a raw dataset that need not exist, names a file of another one.

    Relative where both lie in one folder of raw datasets, so that it can be moved; else absolute.
    Links to folders are followed, since ".." of a link is beside its target; a link to a file is
    not, since other files may be looked for beside it.
    """
    raw_folder = folder.parent.resolve()
    place = path.parent.resolve() / path.name
    if not place.is_relative_to(raw_folder):
        return place.as_posix()
    return Path(os.path.relpath(place, raw_folder / folder.name)).as_posix()


def _link(link: Path, target: Path) -> bool:
    """Make a link to a folder; where the disk takes none, say so and return False."""
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(path_from(link.parent, target), target_is_directory=True)
    except OSError as cause:
        logger.warning("'%s' cannot link to '%s' (%s); predict from there", link, target, cause)
        return False
    return True
