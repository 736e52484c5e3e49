"""`WeakPredictor`: from an image in memory to saliency, presence of labels, and a mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from diffunet.api.predictor import LoadedModel
from diffunet.calls import from_python
from diffunet.inference.compute import Compute
from diffunet.inference.model import TrainedModel
from diffunet.inference.options import PredictionOptions
from diffunet.inference.prepared import prepare
from diffunet.methods import SaliencyMethod
from diffunet.wsss.prediction.predictor import SaliencyPredictor
from diffunet.wsss.prediction.presence import given_tags


@dataclass(frozen=True, kw_only=True)
class WeakPrediction:
    """What a weakly supervised model says about one image, on the grid of the image.

    Attributes:
        mask: integers of the dataset's labels, (*spatial).
        saliency: float32, (label, *spatial), smoothed and signed: for a single label the mask is
            where it exceeds the threshold (with the sign of the plans). 0 in slices that do not
            show the label.
        probability: (slice, label), the classifier's; one row for a two-dimensional image. NaN in
            slices that preprocessing cropped away, which show nothing.
        is_present: (slice, label), what was decided, from `probability` or from what was given.
        thresholds: (slice, label), in units of the saliency; NaN where the label is not present.
    """

    mask: np.ndarray
    saliency: np.ndarray
    probability: np.ndarray
    is_present: np.ndarray
    thresholds: np.ndarray


@final
class WeakPredictor(LoadedModel):
    """A model that was trained from image-level labels, ready to predict images in memory."""

    def __init__(self, model: TrainedModel, *, compute: Compute):
        """Take a loaded model.

        Raises:
            UsageError: it was trained on masks, or is to compute in another precision than float32.
            PlansError: its plans describe no weak supervision of slices.
        """
        super().__init__(model, compute=compute)
        self._asked(PredictionOptions())

    @from_python
    def predict(
        self,
        image: np.ndarray,
        spacing_mm: Sequence[float],
        *,
        saliency: SaliencyMethod | None = None,
        tags: np.ndarray | Sequence[int] | Sequence[Sequence[int]] | None = None,
        seed: int = 0,
        case: str = "array",
    ) -> WeakPrediction:
        """Predict one image that is in memory.

        The rule "otsu_mean" takes the mean over the slices of this image alone.

        Args:
            image: (channel, y, x) or (channel, z, y, x), intensities as in the files.
            spacing_mm: voxel size in the order of the array's axes; 1.0 for photographs.
            saliency: None for the plans'.
            tags: 0 or 1 per label, or (slice, label) along the first axis of a volume; None: the
                classifier decides.
            seed, case: the noise is a function of these two, the slice and the number of the draw.

        Raises:
            DatasetError: the image does not fit the model.
            UsageError: a value is not valid, or the model cannot make this saliency.
        """
        predictor = self._asked(PredictionOptions(saliency=saliency, seed=seed))
        prepared = prepare(image, spacing_mm, model=self.model, case=case)
        given = given_tags(
            tags,
            num_labels=len(self.model.labels.names),
            num_slices=np.shape(image)[1] if self.model.dimensions == 3 else None,
        )
        found = predictor.saliency_of(prepared, given=given)
        return WeakPrediction(
            mask=predictor.label_map(found),
            saliency=found.saliency,
            probability=found.presence.probabilities,
            is_present=found.presence.is_present,
            thresholds=predictor.thresholds_alone(found),
        )

    def _asked(self, options: PredictionOptions) -> SaliencyPredictor:
        return SaliencyPredictor(self.model, compute=self.compute, options=options)
