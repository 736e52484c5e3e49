"""The pictures of one case: slices and samples in sheets that a page moves through."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffunet.labels import LabelScheme
from diffunet.report.case_arrays import CaseArrays, CaseFiles, names_of_colours
from diffunet.report.case_inputs import CaseInputs
from diffunet.report.pictures import (
    RATER_COLOURS,
    Grid,
    Sheet,
    displayable,
    grid_of,
    image_sheet,
    map_sheet,
    most_rows,
    outline_colours,
    outline_sheet,
    signed_shares,
)

_MOST_TRIES = 5
_SMALLEST_EDGE = 48


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
        keys: what its outlines mean, each with its colour; none where the title says it.
    """

    title: str
    layers: tuple[tuple[str, int | str], ...]
    keys: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class CaseView:
    """Sheets of a case, and the frames that they make.

    Attributes:
        slices: numbers of the shown slices along the file axis that the picture plane is
            perpendicular to; one of an image.
        start: index into `slices` of the one to show first.
        num_all_slices, num_all_samples: of the files.
        ratio: width over height of a picture, in millimetres.
        plane, top, left: see `Orientation`.
    """

    sheets: dict[str, Sheet]
    frames: tuple[Frame, ...]
    slices: tuple[int, ...]
    start: int
    num_samples: int
    num_all_slices: int
    num_all_samples: int
    ratio: float
    plane: str = ""
    top: str = ""
    left: str = ""

    @property
    def num_bytes(self) -> int:
        return sum(sheet.num_bytes for sheet in self.sheets.values())


def view_case(
    files: CaseFiles, inputs: CaseInputs, labels: LabelScheme, *, limits: Limits
) -> CaseView | None:
    """Return the pictures of a case; None where there is nothing to show.

    Raises:
        DatasetError: a file cannot be read, or has another shape than the others.
    """
    arrays = CaseArrays(files, inputs, labels)
    names = names_of_colours(labels)
    view = _Viewer(arrays, files, names, limits=limits).view()
    for _ in range(_MOST_TRIES):
        if view is None or view.num_bytes <= limits.num_bytes:
            break
        limits = limits.smaller()
        view = _Viewer(arrays, files, names, limits=limits).view()
    return view


class _Viewer:
    """Reads the files of a case one after the other, and keeps of each only what is shown."""

    def __init__(
        self, arrays: CaseArrays, files: CaseFiles, labels: tuple[str, ...], *, limits: Limits
    ):
        self._arrays = arrays
        self._files = files
        self._names = labels
        self._colours = outline_colours(len(labels))
        self._limits = limits
        self._sheets: dict[str, Sheet] = {}
        self._frames: list[Frame] = []

    def view(self) -> CaseView | None:
        """Return the pictures; see `view_case`."""
        arrays, files = self._arrays, self._files
        orientation = arrays.orientation
        if orientation is None:
            return None
        references = arrays.references()
        mask, unsure, image = arrays.mask(), arrays.uncertainty(), arrays.image()
        shown = (mask, unsure, image, *references.values())
        first = next((each for each in shown if each is not None), None)
        if first is None:
            return None
        shape = first.shape[:3]
        grid = grid_of(shape[1:3], orientation.spacing_mm[-2:], edge=self._limits.edge)
        marked = [each for each in (mask, *references.values()) if each is not None]
        rows, start = _slices(
            shape[0], marked, unsure, most=min(self._limits.num_slices, most_rows(grid))
        )
        if image is not None and image.shape[:3] == shape:
            self._sheets["image"] = image_sheet(displayable(image[rows]), grid)
            self._frames.append(Frame(title="image", layers=(("image", 0),)))
        under = (("image", 0),) if "image" in self._sheets else ()
        if references:
            self._add_raters(references, rows, grid, under)
        num_samples = self._add_samples(rows, grid, under, mask=mask, unsure=unsure)
        if mask is not None:
            self._sheets["mask"] = outline_sheet([mask[rows]], grid, colours=self._colours)
            title = "consensus" if files.samples or unsure is not None else "mask"
            layers = (*under, ("mask", 0))
            keys = self._keys([mask[rows]])
            self._frames.append(Frame(title=title, layers=layers, keys=keys))
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
            ratio=grid.ratio,
            plane=orientation.plane,
            top=orientation.top,
            left=orientation.left,
        )

    def _keys(self, shown: Sequence[np.ndarray]) -> tuple[tuple[str, str], ...]:
        """Return the labels that are outlined there with their colours; none of an only label."""
        if len(self._names) == 1:
            return ()
        found = sorted({int(value) for each in shown for value in np.unique(each)} - {0})
        return tuple((self._names[value - 1], self._colours[value - 1]) for value in found)

    def _add_raters(
        self, maps: Mapping[str, np.ndarray], rows: np.ndarray, grid: Grid, under: Any
    ) -> None:
        shown = [each[rows] for each in maps.values()]
        colours, keys = self._colours, self._keys(shown)
        has_colours = len(self._names) == 1 and len(maps) > 1  # one of each rater
        if has_colours:
            shown = [each * (number + 1) for number, each in enumerate(shown)]
            colours = RATER_COLOURS
            keys = tuple(zip(maps, RATER_COLOURS, strict=False))
        self._sheets["raters"] = outline_sheet(
            shown, grid, colours=colours, takes_turns=has_colours
        )
        layers = tuple(("raters", number) for number in range(len(shown)))
        title = "reference" if len(maps) == 1 else f"{len(maps)} raters"
        self._frames.append(Frame(title=title, layers=(*under, *layers), keys=keys))

    def _add_samples(
        self,
        rows: np.ndarray,
        grid: Grid,
        under: Any,
        *,
        mask: np.ndarray | None,
        unsure: np.ndarray | None,
    ) -> int:
        """Add drawn samples and their share; without saved ones, what maps tell of the share."""
        if not self._files.samples:
            share = self._arrays.share(mask=mask, uncertainty=unsure)
            if share is not None:
                title = "share of samples" if self._files.num_drawn > 1 else "probability"
                self._sheets["share"] = map_sheet(share[rows], grid)
                self._frames.append(Frame(title=title, layers=(("share", 0),)))
            return 0
        columns, share = [], np.zeros(1)
        for drawn in self._arrays.samples():
            sample = drawn[rows]
            share = share + (sample > 0)
            if len(columns) < self._limits.num_samples:
                columns.append(sample)
        self._sheets["samples"] = outline_sheet(columns, grid, colours=self._colours)
        layers = (*under, ("samples", "sample"))
        keys = self._keys(columns)
        self._frames.append(Frame(title="one sample", layers=layers, keys=keys))
        self._sheets["share"] = map_sheet(share / len(self._files.samples), grid)
        self._frames.append(Frame(title="share of samples", layers=(("share", 0),)))
        return len(columns)

    def _add_saliency(self, rows: np.ndarray, grid: Grid) -> None:
        for number, (label, values) in enumerate(self._arrays.saliencies()):
            shares, is_signed = signed_shares(values)
            colours = "RdBu_r" if is_signed else "magma"
            self._sheets[f"saliency{number}"] = map_sheet(shares[rows], grid, colours=colours)
            title = "saliency" if len(self._files.saliencies) == 1 else f"saliency of {label}"
            self._frames.append(Frame(title=title, layers=((f"saliency{number}", 0),)))


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
