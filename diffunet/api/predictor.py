"""`Predictor`: from an image in memory to the distribution of its segmentations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, final

import numpy as np
import torch

from diffunet.calls import from_python
from diffunet.errors import UsageError
from diffunet.evaluation.kept_masks import stacked
from diffunet.inference.case_predictor import OnStep
from diffunet.inference.compute import Compute, Precision, device_of
from diffunet.inference.fuse import VolumeSummary, disagreements_of
from diffunet.inference.model import TrainedModel
from diffunet.inference.options import PredictionOptions
from diffunet.inference.prepared import prepare
from diffunet.methods import METHODS
from diffunet.sharing.install import load_opened_model

Loaded = TypeVar("Loaded", bound="LoadedModel")


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says about one image, on the grid of the image.

    Attributes:
        mask: integers of the dataset's labels, (*spatial): the consensus of the samples.
        probability: float32 in [0, 1], (label, *spatial); background is not a label.
        uncertainty: float32 in [0, 1], (*spatial): entropy of the vote over its maximum.
        samples: boolean masks, (sample, label, *spatial); a supervised model has one.
        volumes: by the label's name.
        disagreement: in [0, 1], by the label's name: how far two samples differ
            (`Votes.disagreement`); empty for a supervised model, or one sample.
    """

    mask: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray
    samples: np.ndarray
    volumes: dict[str, VolumeSummary]
    disagreement: dict[str, float]


class LoadedModel:
    """A trained model, ready to predict images in memory.

    Attributes:
        model: its plans, labels and networks.
        compute: how its work is cut.
    """

    def __init__(self, model: TrainedModel, *, compute: Compute):
        """Take a loaded model; the errors are those of `from_folder`."""
        self.model = model
        self.compute = compute

    @classmethod
    @from_python
    def from_folder(
        cls: type[Loaded],
        folder: Path | str,
        folds: Sequence[int | str] | None = None,
        *,
        checkpoint: Literal["final", "best", "latest"] = "final",
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
    ) -> Loaded:
        """Load a model; no workspace and no other file is needed.

        Args:
            folder: results/DATASET/METHOD__PLANS__CONFIGURATION, a zip file of `export_model`, or
                the name of a model that comes with diffunet ("lidc_nodules").
            folds: None for all that are trained.
            device: "cpu", "cuda", "cuda:N" or "mps"; "auto" for the best that there is.
            precision: of the networks; "float32" is exact, the others are faster on a GPU; models
                trained from image-level labels take "float32" only.

        Raises:
            UsageError: the model learned from something else than this class is for, or there is no
                such device, or it does not compute in this precision.
            CheckpointError: there is no such model, it lacks a file, or one does not fit.
            PlansError, DatasetError: its plans or its dataset.json are not valid.
            WriteError: a zip file cannot be unpacked.
        """
        compute = Compute(device=device_of(str(device)), precision=precision)
        model = load_opened_model(
            Path(folder), folds=folds, checkpoint=checkpoint, device=compute.device
        )
        return cls(model, compute=compute)


@final
class Predictor(LoadedModel):
    """A model that was trained on masks, ready to predict images in memory."""

    def __init__(self, model: TrainedModel, *, compute: Compute):
        """Take a loaded model.

        Raises:
            UsageError: it was trained from image-level labels, so it cannot draw segmentations.
        """
        if METHODS[model.method].learns_from != "masks":
            raise UsageError(
                f"'{model.folder}' is a model of -m {model.method}, trained from image-level "
                "labels; predict it with WeakPredictor or diffunet_predict"
            )
        super().__init__(model, compute=compute)

    @from_python
    def predict(
        self,
        image: np.ndarray,
        spacing_mm: Sequence[float],
        *,
        num_samples: int | None = None,
        num_steps: int | None = None,
        sampler: str | None = None,
        rater: str | int | None = None,
        seed: int = 0,
        case: str = "array",
        on_step: OnStep | None = None,
    ) -> Prediction:
        """Predict one image.

        Args:
            image: (channel, y, x) or (channel, z, y, x), intensities as in the files.
            spacing_mm: voxel size in the order of the array's axes; 1.0 for photographs.
            num_samples, num_steps, sampler: None for the plans'.
            rater: name or number of the rater to draw as, of a model that is told who drew.
            seed, case: each sample is a function of these two and its number.
            on_step: called as sampling goes on with the number of samples that took a step; where
                an image has several tiles, once for some of these, with their share of it.

        Raises:
            DatasetError: the image does not fit the model.
            UsageError: a value is not valid.
        """
        options = PredictionOptions(
            num_samples=num_samples,
            num_steps=num_steps,
            sampler=sampler,
            rater=None if rater is None else str(rater),
            seed=seed,
        )
        predictor = METHODS[self.model.method].make_predictor(
            self.model, compute=self.compute, options=options
        )
        samples: dict[int, np.ndarray] = {}
        result = predictor.predict(
            prepare(image, spacing_mm, model=self.model, case=case),
            on_step=on_step,
            on_sample=samples.__setitem__,
        )
        votes = result.votes
        return Prediction(
            mask=predictor.label_map(result),
            probability=np.stack([votes.probability(i) for i in range(len(votes.votes))]),
            uncertainty=votes.uncertainty(),
            samples=stacked(samples),
            volumes=result.volumes,
            disagreement=disagreements_of(votes, result.volumes),
        )
