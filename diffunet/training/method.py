"""What a method contributes to the training of a fold."""

from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class FinalModel:
    """The model of a fold that is trained, and how its final validation is done.

    Attributes:
        model: with the averaged weights, in evaluation mode.
        folder: of the fold.
        is_whole: take every validation case, not at most the planned number.
        saves_samples: write each drawn mask; only of methods that take this option.
    """

    data: FoldData
    model: nn.Module
    folder: Path
    ranks: Ranks
    is_whole: bool
    saves_samples: bool
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Finishing:
    """How long validating takes on two cores of a CPU, estimated from the plans.

    Attributes:
        what: comes after the last iteration, in words.
        seconds: of it.
        case_seconds: of one case while the training goes on, if that may be long; a validation has
            at least one.
    """

    what: str
    seconds: float
    case_seconds: float = 0.0


class TrainingMethod(Protocol):
    """A way to learn from a dataset; `train_fold` does what all of them have in common."""

    def objective(
        self, configuration: ConfigurationPlan, *, labels: LabelScheme, seed: int
    ) -> Objective:
        """Return the loss.

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

    def finishing(self, data: FoldData, *, is_whole: bool) -> Finishing | None:
        """Return how long `finish` takes; None where the fold has no validation cases.

        Args:
            is_whole: see `FinalModel`.
        """
        ...

    def finish(self, final: FinalModel) -> dict[str, Any] | None:
        """Finish once the weights are final: at least write `validation/summary.json`.

        Every rank calls it; the first writes.

        Returns:
            The summary, on every rank; None where the fold has no validation cases.
        """
        ...
