"""A label has one colour: on pages, and in the tables that viewers read."""

from pathlib import Path

import numpy as np
import pytest

from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.data.label_tables import ITK_SNAP_FILE, write_label_tables
from diffunet.labels import LabelScheme
from diffunet.report.case_arrays import CaseArrays, CaseFiles, names_of_colours
from diffunet.report.case_inputs import CaseInputs
from diffunet.report.pictures import outline_colours

OUT_OF_ORDER = {"labels": {"background": 0, "rim": 3, "core": 1, "edema": 2}}
OVERLAPS = {
    "labels": {"background": 0, "left": [1, 3], "right": [3, 4], "rim": 2},
    "regions_class_order": [1, 4, 2],
}
REGIONS = {
    "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3},
    "regions_class_order": [2, 1, 3],
}


def _table(folder: Path, labels: LabelScheme) -> dict[int, tuple[str, str]]:
    """Return colour and name of each integer in the table for ITK-SNAP."""
    write_label_tables(folder, labels)
    rows = (line.split(maxsplit=7) for line in (folder / ITK_SNAP_FILE).read_text().splitlines())
    found = [row for row in rows if row[0] not in ("#", "0")]
    return {
        int(row[0]): ("#" + "".join(f"{int(part):02x}" for part in row[1:4]), row[7].strip('"'))
        for row in found
    }


@pytest.mark.parametrize("content", [OUT_OF_ORDER, REGIONS, OVERLAPS])
def test_pages_and_tables_for_viewers_agree(tmp_path, content):
    labels = LabelScheme.from_dataset_json(content)
    table = _table(tmp_path, labels)
    values = np.array([[0, *table]], np.uint8)
    path = tmp_path / "case.png"
    geometry = ImageGeometry(shape=values.shape, spacing_mm=(1.0, 1.0))
    write_label_map(path, values, geometry)
    files = CaseFiles(mask=path, uncertainty=None, probabilities=(), saliencies={}, samples=())
    (numbers,) = CaseArrays(files, CaseInputs(), labels).mask()
    names = names_of_colours(labels)
    colours = outline_colours(len(names))
    assert numbers[0, 0] == 0
    for value, number in zip(table, numbers[0, 1:], strict=True):
        assert colours[number - 1] == table[value][0]
        named = f"{value} in the mask" if labels.is_regions else table[value][1]
        assert names[number - 1] == named
