"""The validation of masks at a training's end: whole predictions, original grid, all scores.

`fold_k/validation` is a folder of predictions like any other, with its scores beside it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from diffunet.data.image_io import require_library
from diffunet.data.prediction_records import read_records
from diffunet.data.store.case_store import CaseStore
from diffunet.errors import UsageError, WriteError
from diffunet.evaluation.blocks import summary_blocks
from diffunet.evaluation.kept_masks import KeptMasks, stacked
from diffunet.evaluation.scores import CaseScores, score_case
from diffunet.evaluation.table import SCORE_TITLES, leading_score
from diffunet.inference.case_predictor import CasePredictor, OnStep
from diffunet.inference.model import Model, TrainedModel
from diffunet.inference.options import PredictionOptions
from diffunet.inference.output import PREDICTIONS_FILE, OutputFolder
from diffunet.inference.prepared import PreparedImage, stored_image
from diffunet.inference.run import settings_of
from diffunet.inference.ticking import ticking
from diffunet.jsonio import write_json
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.randomness import derive_seed
from diffunet.training.fold_data import FoldData
from diffunet.training.method import FinalModel
from diffunet.training.state import FINAL
from diffunet.training.validation import spread_over_patients
from diffunet.workspace import SUMMARY_FILE, VALIDATION_SUMMARY

logger = logging.getLogger(__name__)

VALIDATION_OPTIONS = PredictionOptions(seed=derive_seed("validation"))
"""Every training draws from the same noise: a function of the case and the sample's number."""


def run_final_validation(final: FinalModel) -> dict[str, Any] | None:
    """Predict validation cases, write and score them, and last write `validation/summary.json`.

    Returns:
        The summary, on every rank; None where the fold has no validation cases.
    """
    data, ranks = final.data, final.ranks
    if not data.split.val:
        logger.info("fold 'all' trains on every case: there is no validation")
        return None
    cases = spread_over_patients(data.split.val, data.patients)
    if not final.is_whole:
        cases = cases[: data.plans.configuration.training.num_final_validation_cases]
    blob_volumes = mean_marked_volumes(data, cases)
    validation = _Validation.of(final)
    writes = ranks.of_first(ranks.is_first and validation.begin(cases))
    own = cases[ranks.rank :: ranks.num_ranks]
    with ticking(
        final.progress,
        validation.predictor.num_steps * len(own),
        "final validation",
        what="the final validation",
        device=data.compute.device,
    ) as on_step:
        scored = {
            case: validation.score(case, blob_volumes=blob_volumes, writes=writes, on_step=on_step)
            for case in own
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
        if writes:
            validation.output.gather()
        write_json(final.folder / VALIDATION_SUMMARY, summary)
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
    return stored_references(_label_store(data), case, labels=data.labels)


def stored_references(store: CaseStore, case: str, *, labels: LabelScheme) -> References:
    """Read the raters' masks from a store of label maps, in the geometry of the files."""
    name = "reference" if "reference" in store.array_names(case) else "labels"
    label_maps = np.asarray(store.array(case, name)[:])
    return References(
        masks=rater_masks(label_maps, labels),
        ignored=any_ignored(label_maps, labels),
        spacing_mm=store.properties(case).original_spacing_mm,
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
    return stacked(samples)


def _label_store(data: FoldData) -> CaseStore:
    if data.label_maps is None:
        raise ValueError("this fold was opened without label maps")
    return data.label_maps


@dataclass(frozen=True, kw_only=True)
class _Validation:
    """A trained fold that predicts its validation cases into a folder."""

    data: FoldData
    predictor: CasePredictor[Any]
    output: OutputFolder

    @classmethod
    def of(cls, final: FinalModel) -> "_Validation":
        data, folder = final.data, final.folder
        model = TrainedModel(
            folder=folder.parent,
            plans=data.plans,
            labels=data.labels,
            networks=(final.model,),
            dataset_content=data.dataset_content,
            folds=(folder.name.removeprefix("fold_"),),
            checkpoint="final" if (folder / FINAL).exists() else "latest",
        )
        predictor = METHODS[data.plans.method].make_predictor(
            model,
            compute=data.compute,
            options=replace(VALIDATION_OPTIONS, saves_samples=final.saves_samples),
        )
        output = OutputFolder(
            (folder / VALIDATION_SUMMARY).parent,
            model=model,
            # of one run, whatever a rank sees of the folder while the first one writes
            settings=final.ranks.of_first(settings_of(predictor, model)),
        )
        return cls(data=data, predictor=predictor, output=output)

    def begin(self, cases: Sequence[str]) -> bool:
        """Remove what an earlier validation left, its scores first.

        Returns:
            Whether masks can be written; what hinders it costs no scores, but is told.
        """
        output = self.output
        for name in (SUMMARY_FILE, PREDICTIONS_FILE):
            (output.folder / name).unlink(missing_ok=True)
        output.clear({*cases, *read_records(output.folder)})
        try:
            require_library(str(self.data.dataset_content["file_ending"]))
            output.check_names(cases)
            output.begin(is_alone=True)
            output.require_writable(cases)
        except (UsageError, WriteError) as hindrance:
            logger.warning(
                "the final validation gives its scores, but writes no masks: %s; then "
                "diffunet_train --val writes them",
                hindrance,
            )
            return False
        placeless = [case for case in cases if self.data.images.properties(case).place is None]
        if placeless:
            logger.warning(
                "'%s' was preprocessed by an earlier version and does not tell where %d images lie "
                "in space, so their masks in '%s' have the spacing alone; to place them, remove "
                "the former, run diffunet_preprocess, and diffunet_train --val",
                self.data.images.folder,
                len(placeless),
                output.folder,
            )
        return True

    def score(
        self, case: str, *, blob_volumes: Sequence[float], writes: bool, on_step: OnStep
    ) -> CaseScores:
        """Predict a case, write it if it can be, and score it."""
        references = references_of(self.data, case)
        geometry = self.data.images.properties(case).original_geometry
        samples = KeptMasks()

        def keep(number: int, masks: np.ndarray) -> None:
            samples.keep(number, masks)
            if writes and self.predictor.options.saves_samples:
                self.output.write_sample(case, number, masks, geometry)

        result = self.predictor.predict(
            stored_image(self.data.images, case), on_step=on_step, on_sample=keep
        )
        if writes:
            content = self.predictor.write(result, case=case, geometry=geometry, output=self.output)
            self.output.write_record(case, content, geometry)
        return score_case(
            samples,
            references.masks,
            spacing_mm=references.spacing_mm,
            ignored=references.ignored,
            consensus=result.votes.consensus(),
            case=case,
            blob_volumes=blob_volumes,
        )


def _sentence(summary: Mapping[str, Any]) -> str:
    distribution = summary["distribution"]
    block, name = distribution["mean"], leading_score(distribution)
    beside, perfect = ("always_empty", "an empty mask"), ""
    if distribution["num_raters"][1] > 1:  # of one, the majority is perfect by definition
        beside = ("oracle_majority", "the raters' majority alone")
        perfect = f" (of a perfect model: {block['perfect_model']['ged']['mean']:.4f})"
    return (
        f"final validation on {distribution['num_cases']} cases: {SCORE_TITLES[name]} "
        f"{block['scores'][name]['mean']:.4f} (of {beside[1]}: "
        f"{block['trivial_answers'][beside[0]][name]['mean']:.4f}), GED "
        f"{block['scores']['ged']['mean']:.4f}{perfect}, Dice "
        f"{summary['foreground_mean']['Dice']:.4f}"
    )
