"""What speaks of more than one case of a raw dataset: patients, image-level labels, folds, JSON."""

import csv
import io
from collections.abc import Mapping, Sequence, Set
from operator import itemgetter
from pathlib import Path
from typing import Any

from diffunet.conversion.case import Conversion
from diffunet.data.raw.splits import Split, write_splits
from diffunet.jsonio import write_json, write_text
from diffunet.workspace import DATASET_FILE, PATIENTS_FILE, SPLITS_FILE

IMAGE_LABELS_FILE = "image_labels.csv"


def write_tables(
    folder: Path,
    conversion: Conversion,
    cases: Sequence[dict[str, Any]],
    *,
    min_share: float,
    left_out: Mapping[str, str],
) -> None:
    """Write all that speaks of more than one case; dataset.json last.

    Args:
        cases: each with `name`, `is_test`, `patient`, and `rows`: slice, and its shares by label.
        min_share: an image-level label is 1 where the share is larger.
        left_out: case to what is wrong with it.
    """
    if any(case["patient"] for case in cases):
        patients = [[case["name"], case["patient"] or case["name"]] for case in cases]
        _write_csv(folder / PATIENTS_FILE, ["case", "patient"], patients)
    content = {
        **conversion.dataset_json,
        "numTraining": sum(not case["is_test"] for case in cases),
        **({"left_out": left_out} if left_out else {}),
    }
    rows = [(case["name"], *row) for case in cases for row in case["rows"]]
    if rows:
        names = list(rows[0][2])
        has_slices = any(index != "" for _, index, _ in rows)
        table = [
            [
                name,
                *([index] if has_slices else []),
                *(int(shares[each] > min_share) for each in names),
            ]
            for name, index, shares in rows
        ]
        columns = ["case", *(["slice"] if has_slices else []), *names]
        _write_csv(folder / IMAGE_LABELS_FILE, columns, table)
        content["image_labels"] = IMAGE_LABELS_FILE
    if conversion.splits:
        written = {case["name"] for case in cases}
        write_splits(folder / SPLITS_FILE, [_among(written, split) for split in conversion.splits])
    write_json(folder / DATASET_FILE, content)


def _among(cases: Set[str], split: Split) -> Split:
    return Split(
        train=tuple(case for case in split.train if case in cases),
        val=tuple(case for case in split.val if case in cases),
    )


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[list[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    ordered = sorted(rows, key=itemgetter(0))
    writer.writerows(ordered)
    write_text(path, text.getvalue())
