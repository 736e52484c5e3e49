"""A typical training case: the patch on its image, and where its raters disagree."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from diffunet.data.store.case_store import CaseStore
from diffunet.errors import DiffunetError
from diffunet.fingerprint.fingerprint import Fingerprint
from diffunet.plans import ConfigurationPlan
from diffunet.report.pictures import (
    RATER_COLOURS,
    Grid,
    Sheet,
    displayable,
    grid_of,
    image_sheet,
    map_sheet,
    outline_sheet,
)

_EDGE = 360
_MOST_CASES = 24
_MOST_VOXELS = 4e7
_MOST_RATERS = len(RATER_COLOURS)


@dataclass(frozen=True, kw_only=True)
class CasePicture:
    """Pictures of one slice of a preprocessed case.

    Attributes:
        patch: left, top, width and height of a training patch, as shares of the picture; None if a
            patch is as large as the picture or larger.
        patch_words: how large it is, in words.
        raters, share: None without masks.
    """

    case: str
    slice_words: str
    image: Sheet
    patch: tuple[float, float, float, float] | None
    patch_words: str
    raters: Sheet | None
    share: Sheet | None
    num_raters: int
    ratio: float


def typical_picture(
    folder: Path, plan: ConfigurationPlan, fingerprint: Fingerprint
) -> CasePicture | str:
    """Return pictures of a case whose raters differ as much as in the middle of all cases.

    With one rater it is a case with as much foreground; without masks, any. Where the configuration
    is not preprocessed, or is damaged, it is a sentence that says so.
    """
    place = folder / plan.data_identifier
    if not place.is_dir():
        return "There is no picture: this configuration is not preprocessed."
    try:
        images = CaseStore(place / "images")
        labels = CaseStore(place / "labels") if fingerprint.labels is not None else None
        return _picture(images, labels, plan)
    except (DiffunetError, OSError, ValueError, IndexError) as cause:
        return f"There is no picture: the preprocessed cases cannot be read ({cause})."


def _picture(images: CaseStore, labels: CaseStore | None, plan: ConfigurationPlan) -> CasePicture:
    case, masks = _typical(images, labels)
    stored = images.array(case, "image")
    properties = images.properties(case)
    shape = properties.shape
    row = 0
    if len(shape) == 3:
        row = _fullest(masks) if masks is not None else shape[0] // 2
        image = np.asarray(stored[:, row])
        masks = None if masks is None else masks[:, row]
    else:
        image = np.asarray(stored[:])
    grid = grid_of(image.shape[1:], properties.spacing_mm[-2:], edge=_EDGE)
    is_coloured = len(image) == 3
    shown = np.moveaxis(image, 0, -1) if is_coloured else image[0]
    where = f", slice {row} of {shape[0]}" if len(shape) == 3 else ""
    raters = share = None
    if masks is not None and len(masks):
        raters, share = _of_raters(masks[:_MOST_RATERS], masks, grid)
    return CasePicture(
        case=case,
        slice_words=where,
        image=image_sheet(displayable(shown)[None], grid),
        patch=_patch(plan.patch_size, image.shape[1:]),
        patch_words=" × ".join(map(str, plan.patch_size)),
        raters=raters,
        share=share,
        num_raters=0 if masks is None else len(masks),
        ratio=grid.ratio,
    )


def _of_raters(shown: np.ndarray, masks: np.ndarray, grid: Grid) -> tuple[Sheet, Sheet]:
    columns = [(mask > 0)[None] * (number + 1) for number, mask in enumerate(shown)]
    share = (masks > 0).mean(axis=0)[None]
    outlines = outline_sheet(columns, grid, colours=RATER_COLOURS, takes_turns=True)
    return outlines, map_sheet(share, grid)


def _typical(images: CaseStore, labels: CaseStore | None) -> tuple[str, np.ndarray | None]:
    """Return the case in the middle, and its label maps (rater, *shape)."""
    if labels is None:
        return images.cases[len(images.cases) // 2], None
    cases = [case for case in images.cases if case in labels]
    if not cases:
        return images.cases[len(images.cases) // 2], None
    step = -(-len(cases) // _MOST_CASES)
    num_voxels = 0.0
    found: list[tuple[float, str]] = []
    for case in cases[::step]:
        masks = np.asarray(labels.array(case, "labels")[:]) > 0
        num_voxels += masks.size
        if masks.any():
            found.append((_interest(masks), case))
        if num_voxels > _MOST_VOXELS:
            break
    differing = [each for each in found if each[0] > 0] or found
    case = sorted(differing)[len(differing) // 2][1] if differing else cases[0]
    return case, np.asarray(labels.array(case, "labels")[:])


def _interest(masks: np.ndarray) -> float:
    """Return the mean distance 1 - IoU of two raters; of one rater the share of foreground."""
    if len(masks) == 1:
        return float(masks.mean())
    pairs = list(combinations(masks[:_MOST_RATERS], 2))
    distances = [
        1 - np.count_nonzero(one & other) / max(1, np.count_nonzero(one | other))
        if (one | other).any()
        else 0.0
        for one, other in pairs
    ]
    return float(np.mean(distances))


def _fullest(masks: np.ndarray) -> int:
    """Return the slice with the most disagreement, or with the most foreground."""
    marked = masks > 0
    differ = marked.any(axis=0) & ~marked.all(axis=0)
    chosen = differ if differ.any() else marked.any(axis=0)
    return int(np.argmax(chosen.sum(axis=(1, 2))))


def _patch(
    patch_size: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[float, float, float, float] | None:
    height, width = (
        min(1.0, edge / size) for edge, size in zip(patch_size[-2:], shape, strict=True)
    )
    if height >= 1 and width >= 1:
        return None
    return (1 - width) / 2, (1 - height) / 2, width, height
