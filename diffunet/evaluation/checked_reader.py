"""Reads label maps that are compared with each other, and tells all that is wrong with them."""

from pathlib import Path
from typing import final

import numpy as np

from diffunet.data.file_state import FileState
from diffunet.data.image_io import ImageGeometry, LabelMapReader, StoredMap, grid_difference
from diffunet.data.prediction_records import RECORDS_FOLDER
from diffunet.data.raw.label_checks import value_problems
from diffunet.errors import DatasetError
from diffunet.labels import LabelScheme

_COMPARED = ("shape", "spacing", "origin", "direction")


@final
class CheckedReader:
    """Reads label maps and tells all that is wrong with them."""

    def __init__(self, labels: LabelScheme):
        self._labels = labels
        self._read = LabelMapReader()
        self._compared: set[Path] = set()

    def read(
        self,
        stored: StoredMap,
        *,
        case: str,
        like: tuple[Path, ImageGeometry] | None,
        written: FileState | None,
        problems: list[str],
        is_reference: bool = False,
    ) -> tuple[np.ndarray, ImageGeometry] | None:
        """Return a label map of a case and its geometry; None where it cannot be read.

        Args:
            like: the file whose grid it must have, and that grid.
            written: what its file was when it was drawn; None where that is not known.
            problems: gets every fault of the map.
            is_reference: whether it is what an expert drew, of which some must be annotated.
        """
        path = stored.path
        try:
            label_map, geometry = self._read(stored)
        except DatasetError as error:
            problems += error.problems
            return None
        if written is not None and path not in self._compared and not written.is_of(path):
            problems.append(
                f"case '{case}': '{path}' has changed since it was drawn, so samples of two "
                "predictions may be mixed; predict the case again, or remove "
                f"'{RECORDS_FOLDER}/{case}.json' and its like if you changed them yourself"
            )
        self._compared.add(path)
        if like and (difference := grid_difference(geometry, like[1], attributes=_COMPARED)):
            problems.append(
                f"case '{case}': expected the {difference.what} {difference.expected} of "
                f"'{like[0].name}', found {difference.found} in '{path}'; masks of a case are "
                "compared voxel by voxel: export them in its geometry"
            )
        if not _is_sound(label_map, self._labels):
            found = {int(value) for rows in label_map for value in np.unique(rows)}
            problems += [
                f"case '{case}': {text}"
                for text in value_problems(
                    found, str(path), self._labels, must_be_annotated=is_reference
                )
            ]
        return label_map, geometry


def _is_sound(label_map: np.ndarray, labels: LabelScheme) -> bool:
    """Whether all integers are known, and some voxel is annotated."""
    # row by row: numpy looks up in eight bytes for each voxel
    is_known = all(np.isin(rows, labels.all_values).all() for rows in label_map)
    return is_known and not (labels.has_ignore_label and labels.ignored(label_map).all())
