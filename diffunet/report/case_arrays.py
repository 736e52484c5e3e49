"""The files of one predicted case, and what they hold, turned the way it is shown."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from diffunet.data.image_io import (
    ImageGeometry,
    LabelMapReader,
    MapScale,
    StoredMap,
    map_file_ending,
    read_input,
    read_label_map,
    read_map,
)
from diffunet.data.prediction_samples import samples_of_case
from diffunet.errors import DatasetError
from diffunet.labels import LabelScheme
from diffunet.names import file_parts
from diffunet.report.case_inputs import CaseInputs
from diffunet.report.json_facts import list_at, mapping_at
from diffunet.report.orientation import Orientation
from diffunet.report.pictures import RATER_COLOURS

_NUM_STEPS = 4096
_MOST_RATERS = len(RATER_COLOURS)


@dataclass(frozen=True, kw_only=True)
class CaseFiles:
    """The files of a case in a folder of predictions; what is not there is None or empty.

    Attributes:
        scales: how the numbers of `saliencies` stand in their files.
        num_drawn: samples that were drawn, saved or not; 0 where the mask is the only answer.
    """

    mask: Path | None
    uncertainty: Path | None
    probabilities: tuple[Path, ...]
    saliencies: Mapping[str, Path]
    samples: tuple[StoredMap, ...]
    scales: Mapping[str, MapScale] = field(default_factory=dict)
    num_drawn: int = 0


def files_of_case(
    folder: Path, case: str, labels: LabelScheme, *, file_ending: str, record: Mapping[str, Any]
) -> CaseFiles:
    """Return what a prediction wrote for a case."""
    map_ending = map_file_ending(file_ending)
    parts = [""] if len(labels.names) == 1 else [f"_{part}" for part in file_parts(labels.names)]

    def there(name: str, ending: str) -> Path | None:
        path = folder / f"{case}{name}{ending}"
        return path if path.is_file() else None

    maps = {
        kind: {
            label: path
            for label, part in zip(labels.names, parts, strict=True)
            if (path := there(f"_{kind}{part}", map_ending))
        }
        for kind in ("probability", "saliency")
    }
    noted = record.get("labels")
    about = noted if isinstance(noted, Mapping) else {}
    scales = {
        label: MapScale(offset=float(scale["offset"]), factor=float(scale["factor"]))
        for label, content in about.items()
        if isinstance(content, Mapping)
        and isinstance(scale := content.get("saliency_file"), Mapping)
        and {"offset", "factor"} <= set(scale)
    }
    return CaseFiles(
        mask=there("", file_ending),
        uncertainty=there("_uncertainty", map_ending),
        probabilities=tuple(maps["probability"].values()),
        saliencies=maps["saliency"],
        samples=samples_of_case(folder, case, file_ending=file_ending),
        scales=scales,
        num_drawn=max(
            (len(list_at(volume, "samples")) for volume in mapping_at(record, "volumes").values()),
            default=0,
        ),
    )


def names_of_colours(labels: LabelScheme) -> tuple[str, ...]:
    """Return what each number of a colour means, from 1 on.

    That is a label, or, where regions overlap, an integer of the mask.
    """
    if not labels.is_regions:
        return labels.names
    return tuple(f"{value} in the mask" for value in _values_of_colours(labels))


def _values_of_colours(labels: LabelScheme) -> list[int]:
    """Return the integers that are shown: those of the tables for viewers first, in their order."""
    written = list(labels.written)
    return written + [
        value
        for value in labels.all_values
        if value not in (0, labels.ignore_value) and value not in written
    ]


@final
class CaseArrays:
    """Reads the files of a case when they are asked for, each as (slice, row, column).

    Label maps are given as numbers of colours, from 1 (`names_of_colours`); 0 is not outlined.

    Raises:
        DatasetError: by every method; a file cannot be read, or has another shape than the others.
    """

    def __init__(self, files: CaseFiles, inputs: CaseInputs, labels: LabelScheme):
        self._files = files
        self._inputs = inputs
        self._num_labels = len(labels.names)
        values = _values_of_colours(labels)
        self._colour_of = np.zeros(max(values) + 1, np.uint8)
        self._colour_of[values] = np.arange(1, len(values) + 1)

    @property
    def orientation(self) -> Orientation | None:
        """How the case is shown; None where it has no file."""
        return None if self._grid is None else self._grid[1]

    def mask(self) -> np.ndarray | None:
        """Return the consensus, or the only mask."""
        return (
            None
            if self._stored_mask is None
            else self._colours(self._stored_mask[0], self._files.mask)
        )

    def references(self) -> dict[str, np.ndarray]:
        """Return the masks of the first raters, by name."""
        paths = list(self._inputs.references.items())[:_MOST_RATERS]
        return {name: self._colours(read_label_map(path)[0], path) for name, path in paths}

    def samples(self) -> Iterator[np.ndarray]:
        """Yield the saved samples, one after the other."""
        read = LabelMapReader()
        for stored in self._files.samples:
            yield self._colours(read(stored)[0], stored.path)

    def image(self) -> np.ndarray | None:
        """Return the first channel, or (slice, row, column, 3) of colours."""
        if not self._inputs.images:
            return None
        image, _ = read_input(self._inputs.images)
        if self.orientation is None or image.ndim - 1 != len(self.orientation.axes):
            return None
        is_coloured = len(image) == 3 and image.dtype == np.uint8
        if not is_coloured:
            return self.orientation.seen(image[0])
        return np.stack([self.orientation.seen(channel) for channel in image], axis=-1)

    def uncertainty(self) -> np.ndarray | None:
        """Return the disagreement of the samples, in [0, 1]."""
        path = self._files.uncertainty
        return None if path is None else self._map(path)

    def share(self, *, mask: np.ndarray | None, uncertainty: np.ndarray | None) -> Any:
        """Return the share of samples that mark a voxel, in [0, 1]; None where no file tells.

        Of a single label, the consensus and its uncertainty say what the share was.
        """
        if self._files.probabilities:
            return np.max([self._map(path) for path in self._files.probabilities], axis=0)
        if self._num_labels != 1 or mask is None or uncertainty is None:
            return None
        return share_of(uncertainty, is_marked=mask > 0)

    def saliencies(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the labels with a signed map, and this."""
        for label, path in self._files.saliencies.items():
            yield label, self._files.scales.get(label, MapScale()).restore(self._map(path))

    @cached_property
    def _grid(self) -> tuple[ImageGeometry, Orientation] | None:
        geometry = self._geometry()
        return None if geometry is None else (geometry, Orientation.of(geometry))

    def _geometry(self) -> ImageGeometry | None:
        files = self._files
        if self._stored_mask is not None:
            return self._stored_mask[1]
        if self._inputs.images:
            return read_input(self._inputs.images)[1]
        for path in self._inputs.references.values():
            return read_label_map(path)[1]
        maps = [files.uncertainty, *files.probabilities, *files.saliencies.values()]
        return next((read_map(path)[1] for path in maps if path is not None), None)

    @cached_property
    def _stored_mask(self) -> tuple[np.ndarray, ImageGeometry] | None:
        return None if self._files.mask is None else read_label_map(self._files.mask)

    def _map(self, path: Path) -> np.ndarray:
        return self._seen(read_map(path)[0], path)

    def _colours(self, label_map: np.ndarray, path: Path | None) -> np.ndarray:
        """Return numbers of colours; unknown integers are not shown."""
        values = self._seen(label_map, path)
        is_known = (values >= 0) & (values < len(self._colour_of))
        return self._colour_of[np.where(is_known, values, 0)]

    def _seen(self, array: np.ndarray, path: Path | None) -> np.ndarray:
        if self._grid is None:
            return array
        geometry, orientation = self._grid
        if array.shape != geometry.shape:
            raise DatasetError(
                f"'{path}': expected the shape {geometry.shape} of the other files of the case, "
                f"found {array.shape}"
            )
        return orientation.seen(array)


def share_of(uncertainty: np.ndarray, *, is_marked: np.ndarray) -> np.ndarray:
    """Return the share of samples that mark a voxel, from the entropy of their votes in bits.

    Args:
        uncertainty: in [0, 1], of a single label.
        is_marked: where more than half of the samples mark.
    """
    shares = np.linspace(0, 0.5, _NUM_STEPS)
    inside = np.clip(shares, 1e-12, 1)
    entropy = -(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside))
    below = np.interp(uncertainty, entropy, shares)
    return np.where(is_marked, 1 - below, below).astype(np.float32)
