"""What a method contributes to the training of a fold."""

from pathlib import Path
from typing import Any, Protocol

from torch import nn

from diffunet.labels import LabelScheme
from diffunet.parallel import Progress
from diffunet.plans import AugmentationPlan, ConfigurationPlan
from diffunet.training.distributed import Ranks
from diffunet.training.fold_data import FoldData
from diffunet.training.objective import Objective
from diffunet.training.reporting import Pictures
from diffunet.training.validation import SampledValidation


class TrainingMethod(Protocol):
    """A way to learn from a dataset; `train_fold` does what all of them have in common."""

    def objective(
        self, configuration: ConfigurationPlan, *, labels: LabelScheme, seed: int
    ) -> Objective:
        """Return the model and the loss.

        Args:
            seed: of the training.
        """
        ...

    def augmentation(self, configuration: ConfigurationPlan) -> AugmentationPlan:
        """Return how patches are changed at random."""
        ...

    def sampled_validation(
        self, data: FoldData, *, pictures: Pictures
    ) -> SampledValidation[Any, Any] | None:
        """Return the validation during training; None if there is nothing to validate on."""
        ...

    def finish(
        self,
        data: FoldData,
        model: nn.Module,
        fold_folder: Path,
        *,
        ranks: Ranks,
        is_whole: bool,
        saves_samples: bool,
        progress: Progress,
    ) -> dict[str, Any] | None:
        """Finish once the weights are final: at least write `validation/summary.json`.

        Every rank calls it; the first writes.

        Args:
            model: with the averaged weights, in evaluation mode.
            is_whole: take every validation case, not at most the planned number.
            saves_samples: keep each drawn mask; only of methods that take this option.

        Returns:
            The summary, on every rank; None where the fold has no validation cases.
        """
        ...
