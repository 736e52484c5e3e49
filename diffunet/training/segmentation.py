"""The methods that learn from masks: diffusion on segmentations, and the supervised baseline."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from torch import nn

from diffunet.data.batches.places import Store
from diffunet.evaluation.scores import ScoreOptions, mean_scores, score_case
from diffunet.inference.masks import sampling_of
from diffunet.inference.prepared import PreparedImage, stored_image
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.planning.cost import measure_work
from diffunet.plans import AugmentationPlan, ConfigurationPlan
from diffunet.training.final_validation import (
    VALIDATION_OPTIONS,
    any_ignored,
    drawn_masks,
    rater_masks,
    run_final_validation,
)
from diffunet.training.fold_data import FoldData
from diffunet.training.method import FinalModel, Finishing
from diffunet.training.objective import DiffusionObjective, SupervisedObjective
from diffunet.training.reporting import Pictures
from diffunet.training.validation import SampledValidation, spread_over_patients

NUM_SAMPLES = 8
"""Segmentations per case of a sampled validation; more cases tell more than more samples.

At least two are drawn, of which the unbiased GED needs pairs.
"""

_QUICK = ScoreOptions(has_surface_scores=False, subset_sizes=())

_SHOWN_ANSWERS = ("always_empty", "oracle_majority")


@final
@dataclass(frozen=True)
class SegmentationMethod:
    """Learns masks from label maps, and is validated by drawing some.

    Attributes:
        make_objective: the kind of loss.
    """

    make_objective: type[DiffusionObjective] | type[SupervisedObjective]

    def objective(
        self, configuration: ConfigurationPlan, *, labels: LabelScheme, seed: int
    ) -> DiffusionObjective | SupervisedObjective:
        """Return the loss."""
        return self.make_objective(configuration=configuration, labels=labels, seed=seed)

    def augmentation(self, configuration: ConfigurationPlan) -> AugmentationPlan:
        """Return the plan's."""
        return configuration.augmentation

    def sampled_validation(
        self, data: FoldData, *, pictures: Pictures
    ) -> SampledValidation[str, "DrawnScores"] | None:
        """Return validation by a few samples of a few cases, spread over patients.

        Raises:
            UsageError: the plans ask for sampling for which the training does not prepare the
                model.
        """
        if not data.split.val or data.label_maps is None:
            return None
        configuration = data.plans.configuration
        cases = spread_over_patients(data.split.val, data.patients)
        cases = cases[: configuration.training.num_validation_cases]
        num_raters = max((len(data.images.properties(case).raters) for case in cases), default=1)
        draws_samples = "num_samples" in METHODS[data.plans.method].options
        options = dataclasses.replace(
            VALIDATION_OPTIONS, num_samples=_num_samples(configuration) if draws_samples else None
        )
        sampling_of(configuration, options)  # refuse what no prediction would do, before hours
        scorer = DrawnMaskScorer(
            images=data.images,
            label_maps=data.label_maps,
            labels=data.labels,
            draw=functools.partial(drawn_masks, data, options=options),
            has_raters=num_raters > 1 and draws_samples,
            show=pictures.add_case,
        )
        return SampledValidation(scorer=scorer, cases=cases)

    def finishing(self, data: FoldData, *, is_whole: bool) -> Finishing | None:
        """Return how long the final validation predicts, and a case in between."""
        configuration = data.plans.configuration
        cases = spread_over_patients(data.split.val, data.patients)
        if not is_whole:
            cases = cases[: configuration.training.num_final_validation_cases]
        if not cases:
            return None
        work = measure_work(data.plans, data.labels)
        shapes = [data.images.properties(case).shape for case in cases]
        seconds = [work.of_case(data.plans, shape=shape) for shape in shapes]
        share = _num_samples(configuration) / configuration.sampling.num_samples
        return Finishing(
            what=f"the final validation of {len(cases)} case{'s' * (len(cases) > 1)}",
            seconds=sum(seconds),
            case_seconds=share * seconds[0],
        )

    def finish(self, final: FinalModel) -> dict[str, Any] | None:
        """Predict validation cases, write and score them; see `run_final_validation`."""
        return run_final_validation(final)


def _num_samples(configuration: ConfigurationPlan) -> int:
    """Return how many segmentations a sampled validation draws of a case."""
    return max(2, min(NUM_SAMPLES, configuration.sampling.num_samples))


DIFFUSION = SegmentationMethod(DiffusionObjective)
SUPERVISED = SegmentationMethod(SupervisedObjective)


@dataclass(frozen=True, kw_only=True)
class DrawnScores:
    """Scores of the masks drawn for a case; Dice is of the consensus and the raters' majority.

    Attributes:
        ged: grows with the diversity of the samples, by D_ss divided by their number.
        ged_fully_unbiased: does not; NaN of one sample.
        beside: what a perfect model and trivial answers score on the case, where raters tell it.
    """

    ged: float
    ged_fully_unbiased: float
    dice: float
    beside: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class DrawnMaskScorer:
    """Draws masks of cases from fixed noise and scores them.

    Attributes:
        draw: returns the masks (sample, label, *spatial) that a model draws of a case.
        has_raters: several raters marked the cases, and samples are compared with all of them.
        show: takes (case, image, raters' masks, samples) of the first cases, for a picture.
    """

    images: Store
    label_maps: Store
    labels: LabelScheme
    draw: Callable[[nn.Module, PreparedImage], np.ndarray]
    has_raters: bool
    show: Callable[[str, np.ndarray, np.ndarray, np.ndarray], None]

    def score(self, model: nn.Module, case: str, *, is_shown: bool) -> DrawnScores:
        """Return GEDs and Dice of a case, on the grid of training."""
        prepared = stored_image(self.images, case).staying_on_stored_grid()
        samples = self.draw(model, prepared)
        label_maps = np.asarray(self.label_maps.array(case, "labels")[:])
        raters = rater_masks(label_maps, self.labels)
        scores = score_case(
            samples,
            raters,
            spacing_mm=prepared.properties.spacing_mm,
            ignored=any_ignored(label_maps, self.labels),
            case=case,
            options=_QUICK,
        )
        if is_shown:
            image = np.asarray(self.images.array(case, "image")[:])
            self.show(case, image, raters, samples)
        return DrawnScores(
            ged=scores.distribution["ged"],
            ged_fully_unbiased=scores.distribution["ged_fully_unbiased"],
            dice=scores.consensus["Dice"],
            beside={
                "ged_of_perfect_model": scores.perfect_model["ged"],
                **{
                    f"ged_fully_unbiased_of_{name}": scores.trivial_answers[name][
                        "ged_fully_unbiased"
                    ]
                    for name in _SHOWN_ANSWERS
                },
            },
        )

    def values(self, scores: Sequence[DrawnScores]) -> dict[str, float]:
        """Return the means over cases, with the unbiased GED if it is the criterion.

        With it comes what stands beside it; a case of one rater has no perfect model.
        """
        means = {
            "ged": float(np.mean([score.ged for score in scores])),
            "dice": float(np.nanmean([score.dice for score in scores])),
        }
        if not self.has_raters:
            return means
        unbiased = float(np.mean([score.ged_fully_unbiased for score in scores]))
        beside = mean_scores([score.beside for score in scores])
        return {"ged_fully_unbiased": unbiased, **means, **beside}

    def criterion(self, score: DrawnScores) -> float:
        """Return the unbiased GED where raters can disagree, else 1 - Dice.

        The plain GED would favour weights whose samples differ less than raters do.
        """
        return score.ged_fully_unbiased if self.has_raters else 1 - score.dice
