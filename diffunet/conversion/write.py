"""The cases that a format found, written as a raw dataset, which is whole or absent."""

import csv
import io
import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from diffunet.conversion.case import Conversion, ConvertedCase, SourceCase
from diffunet.data.image_io import write_image, write_label_map
from diffunet.data.raw.dataset import open_dataset
from diffunet.data.raw.splits import write_splits
from diffunet.errors import DatasetError, WorkspaceError
from diffunet.jsonio import read_object, remove_unfinished, write_json, write_text
from diffunet.labels import LabelScheme
from diffunet.names import require_distinct, require_name
from diffunet.parallel import Progress, map_ordered
from diffunet.workspace import (
    DATASET_FILE,
    IMAGES_FOLDER,
    LABELS_FOLDER,
    PATIENTS_FILE,
    SPLITS_FILE,
    TEST_IMAGES_FOLDER,
    TEST_LABELS_FOLDER,
)

logger = logging.getLogger(__name__)

IMAGE_LABELS_FILE = "image_labels.csv"

_REQUEST_FILE = "conversion.json"
_DONE_FOLDER = "done"
_MOST_FAULTS = 20


@dataclass(frozen=True, kw_only=True)
class _Written:
    """What came of a `SourceCase`: what the tables say of its cases, or what is wrong with it.

    Attributes:
        cases: each with `name`, `is_test`, `patient`, `remarks`, and `rows` of its image-level
            labels.
    """

    cases: list[dict[str, Any]]
    fault: str = ""


def write_dataset(
    conversion: Conversion,
    folder: Path,
    *,
    request: Mapping[str, Any],
    num_processes: int,
    progress: Progress,
) -> None:
    """Write a raw dataset; `folder` appears once all of it is written.

    Until then its files lie in a hidden folder beside it. If this ends early, the same request
    continues there.

    Args:
        request: what was asked for, as JSON can hold it; another one begins anew.

    Raises:
        WorkspaceError: `folder` is there already.
        DatasetError: cases of the download have faults; all others are written, and stay.
        WriteError: the disk is full, or refuses.
    """
    if folder.exists():
        raise WorkspaceError(
            f"'{folder}' is there already; choose another number or name (-d), or remove it"
        )
    LabelScheme.from_dataset_json(conversion.dataset_json)
    _check_names([case.name for case in conversion.cases], folder)
    if all(case.is_test for case in conversion.cases):
        raise DatasetError(
            "the download holds no training case; expected at least one image with its labels: is "
            "all of it there, and unpacked?"
        )
    unfinished = folder.with_name(f".converting-{folder.name}")
    _begin(unfinished, request)
    work = partial(_convert_case, unfinished, conversion)
    written = map_ordered(
        work, conversion.cases, num_processes=num_processes, describe=lambda case: case.name
    )
    results = list(progress(written, len(conversion.cases), "converting"))
    _refuse_faults([result.fault for result in results if result.fault], len(results))
    cases = [case for result in results for case in result.cases]
    _refuse_doubles([case["name"] for case in cases])
    for case in cases:
        for remark in case["remarks"]:
            logger.warning("case '%s': %s", case["name"], remark)
    _write_tables(unfinished, conversion, cases)
    shutil.rmtree(unfinished / _DONE_FOLDER)
    (unfinished / _REQUEST_FILE).unlink()
    open_dataset(unfinished)
    unfinished.rename(folder)


def _check_names(names: Sequence[str], folder: Path) -> None:
    for name in names:
        require_name(name, where="a case of the download", error=DatasetError)
    _refuse_doubles(names)
    require_distinct(names, folder.parent, what="cases", error=DatasetError)


def _refuse_doubles(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        name = Counter(names).most_common(1)[0][0]
        raise DatasetError(
            f"the download holds the case '{name}' more than once; take one of them out of it"
        )


def _begin(unfinished: Path, request: Mapping[str, Any]) -> None:
    """Make the folder that is written to, or go on in it where it was left by this request."""
    path = unfinished / _REQUEST_FILE
    if path.is_file() and read_object(path, DatasetError) == request:
        logger.info("going on with the conversion in '%s'", unfinished)
    elif unfinished.exists():
        shutil.rmtree(unfinished)
    for name in (IMAGES_FOLDER, LABELS_FOLDER, TEST_IMAGES_FOLDER, TEST_LABELS_FOLDER):
        if (unfinished / name).is_dir():
            remove_unfinished(unfinished / name)
    write_json(path, request)


def _convert_case(unfinished: Path, conversion: Conversion, source: SourceCase) -> _Written:
    """Write what a source holds, unless that is done. One with a fault is begun anew next time."""
    record = unfinished / _DONE_FOLDER / f"{source.name}.json"
    if record.is_file():
        return _Written(cases=read_object(record, DatasetError)["cases"])
    cases = []
    try:
        for case in source.read():
            require_name(case.name, where=f"a case of '{source.name}'", error=DatasetError)
            _write_case(unfinished, conversion, case, is_test=source.is_test)
            rows = [["" if at is None else at, labels] for at, labels in case.image_labels.items()]
            described = {"name": case.name, "patient": case.patient, "rows": rows}
            described["remarks"] = list(case.remarks)
            cases.append({**described, "is_test": source.is_test})
    except DatasetError as fault:
        return _Written(cases=[], fault=str(fault))
    write_json(record, {"cases": cases})
    return _Written(cases=cases)


def _write_case(
    unfinished: Path, conversion: Conversion, case: ConvertedCase, *, is_test: bool
) -> None:
    ending = conversion.dataset_json["file_ending"]
    images = unfinished / (TEST_IMAGES_FOLDER if is_test else IMAGES_FOLDER)
    labels = unfinished / (TEST_LABELS_FOLDER if is_test else LABELS_FOLDER)
    files = [case.image] if conversion.is_colour else case.image[:, None]
    for index, channels in enumerate(files):
        write_image(images / f"{case.name}_{index:04d}{ending}", channels, case.geometry)
    for rater, mask in case.masks.items():
        stem = f"{case.name}_{rater}" if rater else case.name
        write_label_map(labels / f"{stem}{ending}", mask, case.geometry)


def _refuse_faults(faults: Sequence[str], num_cases: int) -> None:
    if faults:
        shown = "".join(f"\n- {fault}" for fault in faults[:_MOST_FAULTS])
        more = f"\n- and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise DatasetError(
            f"{len(faults)} of {num_cases} cases could not be converted:{shown}{more}\n"
            "mend them or take them out of the download, and run the same command again: the other "
            "cases are kept"
        )


def _write_tables(folder: Path, conversion: Conversion, cases: Sequence[dict[str, Any]]) -> None:
    """Write all that speaks of more than one case; dataset.json last."""
    patients = [[case["name"], case["patient"]] for case in cases if case["patient"]]
    if patients:
        _write_csv(folder / PATIENTS_FILE, ["case", "patient"], patients)
    content = {
        **conversion.dataset_json,
        "numTraining": sum(not case["is_test"] for case in cases),
    }
    rows = [(case["name"], *row) for case in cases for row in case["rows"]]
    if rows:
        names = list(rows[0][2])
        table = [[name, index, *(labels[each] for each in names)] for name, index, labels in rows]
        _write_csv(folder / IMAGE_LABELS_FILE, ["case", "slice", *names], table)
        content["image_labels"] = IMAGE_LABELS_FILE
    if conversion.splits:
        write_splits(folder / SPLITS_FILE, conversion.splits)
    write_json(folder / DATASET_FILE, content)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[list[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    ordered = sorted(rows, key=itemgetter(0))
    writer.writerows(ordered)
    write_text(path, text.getvalue())
