"""The cases that a format found, written as a raw dataset, which is whole or absent."""

import hashlib
import io
import logging
import pickle
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

from diffunet.conversion.case import Conversion, ConvertedCase, SourceCase
from diffunet.conversion.tables import write_tables
from diffunet.conversion.tree import first_of
from diffunet.data.image_io import write_image, write_label_map
from diffunet.data.raw.dataset import open_dataset
from diffunet.errors import DatasetError, WorkspaceError
from diffunet.jsonio import read_object, remove_unfinished, write_json
from diffunet.labels import LabelScheme
from diffunet.names import canonical, require_name, require_names_on
from diffunet.parallel import Progress, map_ordered
from diffunet.workspace import (
    DATASET_FILE,
    IMAGES_FOLDER,
    LABELS_FOLDER,
    TEST_IMAGES_FOLDER,
    TEST_LABELS_FOLDER,
)

logger = logging.getLogger(__name__)

_UNFINISHED = ".converting-"
_REQUEST_FILE = "conversion.json"
_DONE_FOLDER = "done"
_FOLDERS = (IMAGES_FOLDER, LABELS_FOLDER, TEST_IMAGES_FOLDER, TEST_LABELS_FOLDER)


@dataclass(frozen=True, kw_only=True)
class _Written:
    """What came of a `SourceCase`: what the tables say of its cases, or what is wrong with it.

    Attributes:
        cases: each with `name`, `is_test`, `patient`, `remarks`, `files`, and `rows` of the shares
            of its slices.
    """

    cases: list[dict[str, Any]]
    fault: str = ""


def write_dataset(
    conversion: Conversion,
    folder: Path,
    *,
    request: Mapping[str, Any],
    min_share: float,
    skip_faulty: bool,
    num_processes: int,
    progress: Progress,
) -> None:
    """Write a raw dataset; `folder` appears once all of it is written.

    Until then its files lie in a hidden folder beside it. If this ends early, the same request
    continues there: a case whose files changed is written again, one that is no longer in the
    download is removed.

    Args:
        request: what was asked for, as JSON can hold it, with the path `source` of the download;
            another one begins anew.
        min_share: an image-level label is 1 where more than this share of a slice shows it.
        skip_faulty: leave out cases with faults; `left_out` of dataset.json tells which, and why.

    Raises:
        WorkspaceError: `folder` is there already.
        DatasetError: cases of the download have faults, or the dataset as a whole has one; what is
            written stays.
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
    unfinished = folder.with_name(f"{_UNFINISHED}{folder.name}")
    _begin(unfinished, request)
    work = partial(_convert_case, unfinished, conversion)
    written = map_ordered(
        work,
        [(case, _mark_of(case, conversion)) for case in conversion.cases],
        num_processes=num_processes,
        describe=lambda item: item[0].name,
    )
    results = list(progress(written, len(conversion.cases), "converting"))
    _make_whole(
        unfinished,
        conversion,
        results,
        source=request["source"],
        min_share=min_share,
        skip_faulty=skip_faulty,
    )
    shutil.rmtree(unfinished / _DONE_FOLDER)
    (unfinished / _REQUEST_FILE).unlink()
    unfinished.rename(folder)


def _make_whole(
    unfinished: Path,
    conversion: Conversion,
    results: Sequence[_Written],
    *,
    source: str,
    min_share: float,
    skip_faulty: bool,
) -> None:
    """Add the tables, once all cases were tried; nothing is lost where this refuses."""
    cases = [case for result in results for case in result.cases]
    faults = {
        case.name: result.fault
        for case, result in zip(conversion.cases, results, strict=True)
        if result.fault
    }
    if faults:
        can_skip = skip_faulty and not all(case["is_test"] for case in cases)
        _tell_faults(list(faults.values()), len(results), are_left_out=can_skip)
    _refuse_doubles([case["name"] for case in cases])
    for case in cases:
        for remark in case["remarks"]:
            logger.warning("case '%s': %s", case["name"], remark)
    _remove_others(unfinished, cases)
    left_out = {name: fault.replace(source, ".") for name, fault in faults.items()}
    write_tables(unfinished, conversion, cases, min_share=min_share, left_out=left_out)
    _check_whole(unfinished, cases)


def unfinished_in(raw: Path) -> dict[str, Any]:
    """Return the names of the datasets in `raw` that are not whole, each with its request."""
    return {
        path.parent.name.removeprefix(_UNFINISHED): read_object(path, DatasetError)
        for path in sorted(raw.glob(f"{_UNFINISHED}*/{_REQUEST_FILE}"))
    }


def _check_names(names: Sequence[str], folder: Path) -> None:
    for name in names:
        require_name(name, where="a case of the download", error=DatasetError)
    _refuse_doubles(names)
    require_names_on(folder.parent, names, what="cases", error=DatasetError)


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
        logger.warning(
            "'%s' holds an unfinished conversion of another request, which is removed", unfinished
        )
        shutil.rmtree(unfinished)
    for name in _FOLDERS:
        if (unfinished / name).is_dir():
            remove_unfinished(unfinished / name)
    write_json(path, request)


@final
class _Marker(pickle.Pickler):
    """Writes what a file is like in the place of its path."""

    def persistent_id(self, obj: Any) -> Any:
        """Return path, size and time of a file; None for all else, which is written as it is."""
        if not isinstance(obj, Path):
            return None
        state = obj.stat() if obj.is_file() else None
        return str(obj), state and (state.st_size, state.st_mtime_ns)


def _mark_of(source: SourceCase, conversion: Conversion) -> str:
    """Return a text that changes with the files of a case, and with how they are read."""
    content = io.BytesIO()
    form = (conversion.is_colour, conversion.dataset_json["file_ending"])
    _Marker(content).dump((source, form))
    return hashlib.blake2b(content.getvalue(), digest_size=16).hexdigest()


def _convert_case(
    unfinished: Path, conversion: Conversion, item: tuple[SourceCase, str]
) -> _Written:
    """Write what a source holds, unless that is done. One with a fault is begun anew next time."""
    source, mark = item
    record = unfinished / _DONE_FOLDER / f"{source.name}.json"
    if record.is_file() and (done := read_object(record, DatasetError))["mark"] == mark:
        return _Written(cases=done["cases"])
    cases = []
    try:
        for case in source.read():
            require_name(case.name, where=f"a case of '{source.name}'", error=DatasetError)
            files = _write_case(unfinished, conversion, case, is_test=source.is_test)
            rows = [["" if at is None else at, shares] for at, shares in case.shares.items()]
            described = {"name": case.name, "patient": case.patient, "rows": rows, "files": files}
            described["remarks"] = list(case.remarks)
            cases.append({**described, "is_test": source.is_test})
    except DatasetError as fault:
        return _Written(cases=[], fault=str(fault))
    write_json(record, {"mark": mark, "cases": cases})
    return _Written(cases=cases)


def _write_case(
    unfinished: Path, conversion: Conversion, case: ConvertedCase, *, is_test: bool
) -> list[str]:
    """Write the files of a case; returns their paths in the dataset."""
    ending = conversion.dataset_json["file_ending"]
    images = TEST_IMAGES_FOLDER if is_test else IMAGES_FOLDER
    labels = TEST_LABELS_FOLDER if is_test else LABELS_FOLDER
    written = []
    for index, channels in enumerate([case.image] if conversion.is_colour else case.image[:, None]):
        written.append(f"{images}/{case.name}_{index:04d}{ending}")
        write_image(unfinished / written[-1], channels, case.geometry)
    for rater, mask in case.masks.items():
        written.append(f"{labels}/{case.name}{rater and '_'}{rater}{ending}")
        write_label_map(unfinished / written[-1], mask, case.geometry)
    return written


def _tell_faults(faults: Sequence[str], num_cases: int, *, are_left_out: bool) -> None:
    shown = "".join(f"\n- {each}" for each in first_of(faults))
    told = f"{len(faults)} of {num_cases} cases could not be converted:{shown}"
    if are_left_out:
        logger.warning("%s\nthey are left out; 'left_out' of %s names them", told, DATASET_FILE)
        return
    raise DatasetError(
        f"{told}\nmend them, take them out of the download, or leave them out with --skip_faulty; "
        "then run the same command again: the other cases are kept"
    )


def _remove_others(unfinished: Path, cases: Sequence[dict[str, Any]]) -> None:
    """Remove the files of cases that have a fault, or that the download no longer holds."""
    kept = {canonical(file) for case in cases for file in case["files"]}
    for folder in _FOLDERS:
        for path in (unfinished / folder).glob("*"):
            if canonical(f"{folder}/{path.name}") not in kept:
                path.unlink()


def _check_whole(unfinished: Path, cases: Sequence[dict[str, Any]]) -> None:
    """Check what can be wrong with a dataset whose cases are right."""
    try:
        open_dataset(unfinished)
    except DatasetError as fault:
        advice = "all cases are converted, and kept: the same command goes on from here"
        largest: dict[str, float] = {}
        rows = [row for case in cases for row in case["rows"] if not case["is_test"]]
        for shares in (shares for index, shares in rows if index != ""):
            largest = {name: max(share, largest.get(name, 0)) for name, share in shares.items()}
        if largest:
            shown = ", ".join(f"{share:.3g} for '{name}'" for name, share in largest.items())
            advice += f", with another --min_share too; the largest share of a slice is {shown}"
        raise DatasetError([*fault.problems, advice]) from None
