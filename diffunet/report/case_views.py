"""The pictures of one case: slices and samples in sheets that a page moves through."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.image_io import (
    LabelMapReader,
    MapScale,
    StoredMap,
    map_file_ending,
    read_image,
    read_label_map,
    read_map,
)
from diffunet.data.prediction_samples import samples_of_case
from diffunet.labels import LabelScheme
from diffunet.names import file_parts
from diffunet.report.case_inputs import CaseInputs
from diffunet.report.pictures import (
    OUTLINE_COLOURS,
    RATER_COLOURS,
    Grid,
    Sheet,
    displayable,
    grid_of,
    image_sheet,
    map_sheet,
    most_rows,
    outline_sheet,
    signed_shares,
)

_MOST_TRIES = 5
_SMALLEST_EDGE = 48
_MOST_RATERS = 8


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large the pictures of a case may be."""

    edge: int
    num_slices: int
    num_samples: int
    num_bytes: int

    @classmethod
    def for_cases(cls, num_cases: int, *, total_bytes: int) -> "Limits":
        """Return limits under which so many cases stay below a number of bytes together."""
        steps = ((12, 320, 32, 16), (40, 256, 24, 16), (120, 192, 16, 12), (10**9, 128, 12, 8))
        _, edge, num_slices, num_samples = next(step for step in steps if num_cases <= step[0])
        return cls(
            edge=edge,
            num_slices=num_slices,
            num_samples=num_samples,
            num_bytes=total_bytes // max(1, num_cases),
        )

    def smaller(self) -> "Limits":
        """Return limits of about half the bytes."""
        return replace(
            self,
            edge=max(_SMALLEST_EDGE, int(self.edge * 0.75)),
            num_slices=max(1, int(self.num_slices * 0.75)),
            num_samples=max(1, int(self.num_samples * 0.75)),
        )


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A picture of the page: layers of sheets above each other.

    Attributes:
        layers: name of a sheet and its column: a number, or "sample" for the chosen one.
    """

    title: str
    layers: tuple[tuple[str, int | str], ...]


@dataclass(frozen=True, kw_only=True)
class CaseView:
    """Sheets of a case, and the frames that they make.

    Attributes:
        slices: numbers of the shown slices along the first file axis; one of an image.
        start: index into `slices` of the one to show first.
        num_all_slices, num_all_samples: of the files.
    """

    sheets: dict[str, Sheet]
    frames: tuple[Frame, ...]
    slices: tuple[int, ...]
    start: int
    num_samples: int
    num_all_slices: int
    num_all_samples: int
    rater_names: tuple[str, ...]
    ratio: float

    @property
    def num_bytes(self) -> int:
        return sum(sheet.num_bytes for sheet in self.sheets.values())


@dataclass(frozen=True, kw_only=True)
class CaseFiles:
    """The files of a case in a folder of predictions; what is not there is None or empty."""

    mask: Path | None
    uncertainty: Path | None
    probabilities: tuple[Path, ...]
    saliencies: Mapping[str, Path]
    samples: tuple[StoredMap, ...]
    scales: Mapping[str, MapScale] = field(default_factory=dict)


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
    )


def view_case(
    files: CaseFiles, inputs: CaseInputs, labels: LabelScheme, *, limits: Limits
) -> CaseView | None:
    """Return the pictures of a case; None where there is nothing to show.

    Raises:
        DatasetError: a file cannot be read, or has another shape than the others.
    """
    view = _Viewer(files, inputs, labels, limits=limits).view()
    for _ in range(_MOST_TRIES):
        if view is None or view.num_bytes <= limits.num_bytes:
            break
        limits = limits.smaller()
        view = _Viewer(files, inputs, labels, limits=limits).view()
    return view


class _Viewer:
    """Reads the files of a case one after the other, and keeps of each only what is shown."""

    def __init__(
        self, files: CaseFiles, inputs: CaseInputs, labels: LabelScheme, *, limits: Limits
    ):
        self._files = files
        self._inputs = inputs
        self._limits = limits
        self._colour_of = np.zeros(max(labels.all_values) + 1, np.uint8)
        values = [value for value in labels.all_values if value not in (0, labels.ignore_value)]
        self._colour_of[values] = np.arange(1, len(values) + 1)
        self._sheets: dict[str, Sheet] = {}
        self._frames: list[Frame] = []

    def view(self) -> CaseView | None:
        """Return the pictures; see `view_case`."""
        files = self._files
        references = dict(list(self._inputs.references.items())[:_MOST_RATERS])
        label_maps = {name: self._label_map(path) for name, path in references.items()}
        mask = None if files.mask is None else self._label_map(files.mask)
        unsure = None if files.uncertainty is None else _as_volume(read_map(files.uncertainty)[0])
        image, spacing = self._image()
        first = next(
            (each for each in (mask, unsure, image, *label_maps.values()) if each is not None), None
        )
        if first is None:
            return None
        shape = first.shape[:3]
        if spacing is None:
            spacing = self._spacing(len(shape))
        grid = grid_of(shape[1:3], spacing[-2:], edge=self._limits.edge)
        marked = [each for each in (mask, *label_maps.values()) if each is not None]
        rows, start = _slices(
            shape[0], marked, unsure, most=min(self._limits.num_slices, most_rows(grid))
        )
        if image is not None and image.shape[:3] == shape:
            self._sheets["image"] = image_sheet(displayable(image[rows]), grid)
            self._frames.append(Frame(title="image", layers=(("image", 0),)))
        under = (("image", 0),) if "image" in self._sheets else ()
        if label_maps:
            self._add_raters(list(label_maps.values()), rows, grid, under)
        num_samples = self._add_samples(rows, grid, under)
        if mask is not None:
            self._sheets["mask"] = outline_sheet([mask[rows]], grid, colours=OUTLINE_COLOURS)
            title = "consensus" if files.samples or unsure is not None else "mask"
            self._frames.append(Frame(title=title, layers=(*under, ("mask", 0))))
        if unsure is not None:
            self._sheets["uncertainty"] = map_sheet(unsure[rows], grid)
            self._frames.append(Frame(title="uncertainty", layers=(("uncertainty", 0),)))
        self._add_saliency(rows, grid)
        return CaseView(
            sheets=self._sheets,
            frames=tuple(self._frames),
            slices=tuple(int(row) for row in rows),
            start=start,
            num_samples=num_samples,
            num_all_slices=shape[0],
            num_all_samples=len(files.samples),
            rater_names=tuple(references),
            ratio=grid.ratio,
        )

    def _image(self) -> tuple[np.ndarray | None, tuple[float, ...] | None]:
        """Return (slice, y, x) of the first channel, or (slice, y, x, 3) of colours."""
        if not self._inputs.images:
            return None, None
        image, geometry = read_image(self._inputs.images)
        volume = np.stack([_as_volume(channel) for channel in image])
        is_coloured = len(volume) == 3 and volume.dtype == np.uint8
        return (np.moveaxis(volume, 0, -1) if is_coloured else volume[0]), geometry.spacing_mm

    def _spacing(self, num_axes: int) -> tuple[float, ...]:
        for path in (self._files.mask, *self._inputs.references.values()):
            if path is not None:
                return read_label_map(path)[1].spacing_mm
        return (1.0,) * num_axes

    def _label_map(self, path: Path) -> np.ndarray:
        """Return numbers of colours, (slice, y, x)."""
        return self._colours(read_label_map(path)[0])

    def _colours(self, label_map: np.ndarray) -> np.ndarray:
        """Return numbers of colours, (slice, y, x); unknown integers are not shown."""
        values = _as_volume(label_map)
        is_known = (values >= 0) & (values < len(self._colour_of))
        return self._colour_of[np.where(is_known, values, 0)]

    def _add_raters(self, maps: list[np.ndarray], rows: np.ndarray, grid: Grid, under: Any) -> None:
        shown = [each[rows] for each in maps]
        colours = OUTLINE_COLOURS
        if all(each.max(initial=0) <= 1 for each in shown):  # one label: a colour per rater
            shown = [each * (number + 1) for number, each in enumerate(shown)]
            colours = RATER_COLOURS
        self._sheets["raters"] = outline_sheet(shown, grid, colours=colours)
        layers = tuple(("raters", number) for number in range(len(shown)))
        title = "reference" if len(maps) == 1 else f"{len(maps)} raters"
        self._frames.append(Frame(title=title, layers=(*under, *layers)))

    def _add_samples(self, rows: np.ndarray, grid: Grid, under: Any) -> int:
        """Add drawn samples and their share; without samples, a map of probability."""
        paths = self._files.samples
        if not paths:
            maps = [_as_volume(read_map(path)[0])[rows] for path in self._files.probabilities]
            if maps:
                self._sheets["share"] = map_sheet(np.max(maps, axis=0), grid)
                self._frames.append(Frame(title="share of samples", layers=(("share", 0),)))
            return 0
        columns, share = [], np.zeros(1)
        read = LabelMapReader()
        for stored in paths:
            sample = self._colours(read(stored)[0])[rows]
            share = share + (sample > 0)
            if len(columns) < self._limits.num_samples:
                columns.append(sample)
        self._sheets["samples"] = outline_sheet(columns, grid, colours=OUTLINE_COLOURS)
        self._frames.append(Frame(title="one sample", layers=(*under, ("samples", "sample"))))
        self._sheets["share"] = map_sheet(share / len(paths), grid)
        self._frames.append(Frame(title="share of samples", layers=(("share", 0),)))
        return len(columns)

    def _add_saliency(self, rows: np.ndarray, grid: Grid) -> None:
        for number, (label, path) in enumerate(self._files.saliencies.items()):
            scale = self._files.scales.get(label, MapScale())
            values = scale.restore(_as_volume(read_map(path)[0]))
            shares, is_signed = signed_shares(values)
            colours = "RdBu_r" if is_signed else "magma"
            self._sheets[f"saliency{number}"] = map_sheet(shares[rows], grid, colours=colours)
            title = "saliency" if len(self._files.saliencies) == 1 else f"saliency of {label}"
            self._frames.append(Frame(title=title, layers=((f"saliency{number}", 0),)))


def _as_volume(array: np.ndarray) -> np.ndarray:
    """Return (slice, y, x); an image is one slice."""
    return array[None] if array.ndim == 2 else array


def _slices(
    num_slices: int, marked: list[np.ndarray], unsure: np.ndarray | None, *, most: int
) -> tuple[np.ndarray, int]:
    """Return which slices are shown: those with something, evenly, and which one is the first.

    The first one has the largest marked area.
    """
    weight = np.zeros(num_slices)
    for each in marked:
        if len(each) == num_slices:
            weight += np.count_nonzero(each, axis=(1, 2))
    if unsure is not None and len(unsure) == num_slices:
        weight += unsure.sum(axis=(1, 2))
    filled = np.flatnonzero(weight > 0)
    low, high = (filled[0] - 1, filled[-1] + 1) if filled.size else (0, num_slices - 1)
    low, high = max(0, low), min(num_slices - 1, high)
    rows = np.unique(np.linspace(low, high, min(most, high - low + 1)).round().astype(int))
    start = int(np.argmax(weight[rows])) if filled.size else len(rows) // 2
    return rows, start
