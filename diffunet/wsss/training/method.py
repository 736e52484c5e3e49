"""How the methods of weak supervision are trained: from image-level labels alone."""

import logging
from dataclasses import dataclass
from typing import Any, final

from diffunet.build import weak_plan_of
from diffunet.errors import PlansError
from diffunet.jsonio import write_json
from diffunet.labels import LabelScheme
from diffunet.planning.choice import with_choices
from diffunet.planning.cost import measure_work
from diffunet.plans import AugmentationPlan, ConfigurationPlan, ResolvedPlans
from diffunet.training.fold_data import FoldData
from diffunet.training.method import FinalModel, Finishing
from diffunet.training.reporting import Pictures
from diffunet.training.validation import SampledValidation
from diffunet.workspace import RESOLVED_PLANS_FILE, VALIDATION_SUMMARY
from diffunet.wsss.choice.choose import choose_saliency
from diffunet.wsss.choice.cost import seconds_of_choice
from diffunet.wsss.choice.label_gains import gains_by_label, summary_with_labels, warn_of_labels
from diffunet.wsss.choice.tagged_images import TaggedImage, validation_images
from diffunet.wsss.training.final_validation import validate_on_image_labels
from diffunet.wsss.training.image_scores import ImageScores
from diffunet.wsss.training.objective import CdmObjective, ClassifierObjective
from diffunet.wsss.training.validation import IMAGES_PER_CASE, TaggedImageScorer

logger = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class WeakMethod:
    """Learns from image-level labels, and is validated on them; opens no mask.

    Attributes:
        make_objective: the kind of loss.
    """

    make_objective: type[CdmObjective] | type[ClassifierObjective]

    def objective(
        self, configuration: ConfigurationPlan, *, labels: LabelScheme, seed: int
    ) -> CdmObjective | ClassifierObjective:
        """Return the loss.

        Raises:
            PlansError: patches have three dimensions.
        """
        if configuration.dimensions != 2:
            raise PlansError(
                "image-level labels are learned slice by slice, found a configuration of "
                "three-dimensional patches; train the configuration 2d (-c 2d)"
            )
        if configuration.crop.policy != "whole":
            logger.warning(
                "crop.policy is '%s': a crop may miss the finding that its image's label is "
                "about; 'whole' shows whole images",
                configuration.crop.policy,
            )
        return self.make_objective(configuration=configuration, labels=labels, seed=seed)

    def augmentation(self, configuration: ConfigurationPlan) -> AugmentationPlan:
        """Return the plan's; for the diffusion of images without changes of intensity."""
        is_unchanged = not weak_plan_of(configuration).changes_intensity
        if self.make_objective is CdmObjective and is_unchanged:
            return configuration.augmentation.without_intensity()
        return configuration.augmentation

    def sampled_validation(
        self, data: FoldData, *, pictures: Pictures
    ) -> SampledValidation[TaggedImage, ImageScores] | None:
        """Return validation on some images, spread over patients and kinds of labels."""
        configuration = data.plans.configuration
        plan = weak_plan_of(configuration)
        images = validation_images(data, has_slice_labels=plan.has_slice_labels)
        if not images:
            return None
        num_images = configuration.training.num_validation_cases * IMAGES_PER_CASE
        return SampledValidation(scorer=TaggedImageScorer(data=data), cases=images[:num_images])

    def finishing(self, data: FoldData, *, is_whole: bool) -> Finishing | None:
        """Return how long the choice of maps and masks takes; the validation itself is short."""
        plan = weak_plan_of(data.plans.configuration)
        images = validation_images(data, has_slice_labels=plan.has_slice_labels)
        if not images:
            return None
        work = measure_work(data.plans, data.labels)
        return Finishing(
            what="choosing how to make masks", seconds=seconds_of_choice(data, images, work=work)
        )

    def finish(self, final: FinalModel) -> dict[str, Any] | None:
        """Validate on image-level labels, and write what they choose into the fold's plans."""
        data, model, ranks = final.data, final.model, final.ranks
        found = validate_on_image_labels(final)
        if found is None:
            logger.warning(
                "there are no validation images: presence thresholds, noise level, guidance and "
                "the rule from map to mask keep the plans' values; train the fold 0 to have them "
                "chosen, or set them yourself"
            )
            return None
        plan = weak_plan_of(data.plans.configuration)
        images = validation_images(data, has_slice_labels=plan.has_slice_labels)
        if ranks.is_first:
            logger.info(
                "choosing how to make maps and masks, by trying settings on some validation images"
            )
        chosen = choose_saliency(data, model, images, ranks=ranks, progress=final.progress)
        gains = {}
        for method, of_method in chosen.gains.items():
            by_label = gains_by_label(of_method, chosen.labels, names=data.labels.names)
            gains[method] = summary_with_labels(of_method, by_label)
            if ranks.is_first:
                warn_of_labels(method, of_method, by_label)
        summary = {**found.summary, "erasure_gains": gains}
        if ranks.is_first:
            path = final.folder / RESOLVED_PLANS_FILE
            choices = {**found.choices, **chosen.choices}
            with_choices(ResolvedPlans.load(path), choices).save(path)
            # last: it says that all is chosen
            write_json(final.folder / VALIDATION_SUMMARY, summary)
        return summary


CDM = WeakMethod(CdmObjective)
CLASSIFIER = WeakMethod(ClassifierObjective)
