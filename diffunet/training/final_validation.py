"""The validation of masks at a training's end: whole predictions, original grid, all scores."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from diffunet.data.store.case_store import CaseStore
from diffunet.evaluation.blocks import summary_blocks
from diffunet.evaluation.scores import CaseScores, score_case
from diffunet.inference.model import Model
from diffunet.inference.options import PredictionOptions
from diffunet.inference.prepared import PreparedImage, stored_image
from diffunet.jsonio import write_json
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.parallel import Progress
from diffunet.randomness import derive_seed
from diffunet.training.distributed import Ranks
from diffunet.training.fold_data import FoldData
from diffunet.training.validation import spread_over_patients
from diffunet.workspace import VALIDATION_SUMMARY

logger = logging.getLogger(__name__)

VALIDATION_OPTIONS = PredictionOptions(seed=derive_seed("validation"))
"""Every training draws from the same noise: a function of the case and the sample's number."""


def run_final_validation(
    data: FoldData,
    model: nn.Module,
    fold_folder: Path,
    *,
    ranks: Ranks,
    is_whole: bool,
    progress: Progress,
) -> dict[str, Any] | None:
    """Predict validation cases, score them, and write `validation/summary.json`.

    Args:
        model: in evaluation mode.
        is_whole: take every case, not at most the planned number, spread over patients.

    Returns:
        The summary, on every rank; None where the fold has no validation cases.
    """
    if not data.split.val:
        logger.info("fold 'all' trains on every case: there is no validation")
        return None
    cases = spread_over_patients(data.split.val, data.patients)
    if not is_whole:
        cases = cases[: data.plans.configuration.training.num_final_validation_cases]
    blob_volumes = mean_marked_volumes(data, cases)
    own = cases[ranks.rank :: ranks.num_ranks]
    scored = {
        case: _score(data, model, case, blob_volumes=blob_volumes)
        for case in progress(own, len(own), "final validation")
    }
    scores: dict[str, CaseScores] = {}
    for part in ranks.gather(scored):
        scores |= part
    summary = summary_blocks(
        {case: scores[case] for case in sorted(scores)},
        patients=data.patients,
        labels=data.labels,
    )
    if ranks.is_first:
        write_json(fold_folder / VALIDATION_SUMMARY, summary)
        logger.info("%s", _sentence(summary))
    return summary


@dataclass(frozen=True, kw_only=True)
class References:
    """A case's raters on the original grid.

    Attributes:
        masks: (rater, label, *original_shape).
        ignored: (*original_shape); None without an ignore label.
        spacing_mm: in file order.
    """

    masks: np.ndarray
    ignored: np.ndarray | None
    spacing_mm: tuple[float, ...]


def references_of(data: FoldData, case: str) -> References:
    """Read the raters' masks, in the geometry of the files."""
    store = _label_store(data)
    name = "reference" if "reference" in store.array_names(case) else "labels"
    label_maps = np.asarray(store.array(case, name)[:])
    return References(
        masks=rater_masks(label_maps, data.labels),
        ignored=any_ignored(label_maps, data.labels),
        spacing_mm=data.images.properties(case).original_spacing_mm,
    )


def mean_marked_volumes(data: FoldData, cases: Sequence[str]) -> list[float]:
    """Return per label the mean volume of the masks that mark anything, in mm^3 (mm^2 in 2D).

    It sizes the centre blob, one of the trivial answers.
    """
    volumes: list[list[float]] = [[] for _ in data.labels.names]
    for case in cases:
        references = references_of(data, case)
        counts = references.masks.reshape(*references.masks.shape[:2], -1).sum(axis=2)
        for of_label, found in zip(volumes, counts.T, strict=True):
            of_label += [float(n * np.prod(references.spacing_mm)) for n in found if n]
    return [float(np.mean(found)) if found else 0.0 for found in volumes]


def rater_masks(label_maps: np.ndarray, labels: LabelScheme) -> np.ndarray:
    """Return boolean masks (rater, label, *spatial) of label maps (rater, *spatial)."""
    return np.stack([labels.masks(label_map) for label_map in label_maps])


def any_ignored(label_maps: np.ndarray, labels: LabelScheme) -> np.ndarray | None:
    """Return the voxels (*spatial) that some rater left out; None without an ignore label."""
    return np.any(labels.ignored(label_maps), axis=0) if labels.has_ignore_label else None


def drawn_masks(
    data: FoldData, model: nn.Module, prepared: PreparedImage, *, options: PredictionOptions
) -> np.ndarray:
    """Return masks that a model draws of a case, (sample, label, *original_shape), bool.

    No global random state is read or changed.
    """
    predictor = METHODS[data.plans.method].make_predictor(
        Model(plans=data.plans, labels=data.labels, networks=(model,)),
        compute=data.compute,
        options=options,
    )
    samples: dict[int, np.ndarray] = {}
    predictor.predict(prepared, on_sample=samples.__setitem__)
    return np.stack([samples[number] for number in range(len(samples))])


def _label_store(data: FoldData) -> CaseStore:
    if data.label_maps is None:
        raise ValueError("this fold was opened without label maps")
    return data.label_maps


def _score(
    data: FoldData,
    model: nn.Module,
    case: str,
    *,
    blob_volumes: Sequence[float],
) -> CaseScores:
    references = references_of(data, case)
    prepared = stored_image(data.images, case)
    return score_case(
        drawn_masks(data, model, prepared, options=VALIDATION_OPTIONS),
        references.masks,
        spacing_mm=references.spacing_mm,
        ignored=references.ignored,
        case=case,
        blob_volumes=blob_volumes,
    )


def _sentence(summary: Mapping[str, Any]) -> str:
    block = summary["distribution"]["mean"]
    name, title = "ged_fully_unbiased", "unbiased GED"
    if block["scores"][name]["mean"] is None:  # of one sample each there is none
        name, title = "ged", "GED"
    ged = block["scores"][name]["mean"]
    majority = block["trivial_answers"]["oracle_majority"][name]["mean"]
    return (
        f"final validation on {summary['distribution']['num_cases']} cases: Dice "
        f"{summary['foreground_mean']['Dice']:.4f}, {title} {ged:.4f} (of the raters' majority "
        f"alone: {majority:.4f})"
    )
