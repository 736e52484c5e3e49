"""`Predictor`: from an image on its own grid to the distribution of its segmentations."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, final

import numpy as np
import torch
from torch import Tensor

from diffunet.build import build_encoding, build_segmentation_encoding
from diffunet.data.case import CaseProperties
from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.encoding import Encoding
from diffunet.errors import DatasetError, UsageError
from diffunet.inference.compute import Compute, Precision
from diffunet.inference.draw import draw_x_0
from diffunet.inference.fuse import VolumeSummary, Votes
from diffunet.inference.model import TrainedModel, load_model
from diffunet.inference.segment import segment_image
from diffunet.methods import METHODS
from diffunet.plans import SamplingPlan
from diffunet.preprocessing.case import preprocess_case, restore_x_0

OnStep = Callable[[int], None]
OnSample = Callable[[int, np.ndarray], None]

_SLAB_VOXELS = 2**22
"""Voxels that are decoded at once."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says about one image, on the grid of the image.

    Attributes:
        mask: integers of the dataset's labels, (*spatial): the consensus of the samples.
        probability: float32 in [0, 1], (label, *spatial); background is not a label.
        uncertainty: float32 in [0, 1], (*spatial): entropy of the vote over its maximum.
        samples: boolean masks, (sample, label, *spatial); a supervised model has one.
        volumes: by the label's name.
    """

    mask: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray
    samples: np.ndarray
    volumes: dict[str, VolumeSummary]


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """All samples of a case in one: what is left when each was looked at once.

    Attributes:
        seconds: spent on the networks and on bringing masks to the grid of the image; reading,
            preprocessing and writing are not counted.
    """

    votes: Votes
    volumes: dict[str, VolumeSummary]
    seconds: float


@final
class Predictor:
    """A trained model, ready to predict.

    Attributes:
        model: its plans, labels and networks.
        compute: how its work is cut.
    """

    def __init__(self, model: TrainedModel, *, compute: Compute):
        """Take a loaded model.

        Raises:
            UsageError: it was trained from image-level labels, and draws no segmentations.
        """
        if METHODS[model.method].saliency:
            raise UsageError(
                f"'{model.folder}' is a model of -m {model.method}, trained from image-level "
                "labels; predict it with WeakPredictor or diffunet_predict"
            )
        self.model = model
        self.compute = compute
        self._encoding: Encoding = (
            build_segmentation_encoding(model.labels)
            if self.is_supervised
            else build_encoding(model.labels, model.configuration.diffusion)
        )

    @classmethod
    def from_folder(
        cls,
        folder: Path | str,
        folds: Sequence[int | str] | None = None,
        *,
        checkpoint: Literal["final", "best", "latest"] = "final",
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
    ) -> "Predictor":
        """Load a model folder; no workspace and no other file is needed.

        Args:
            folder: results/DATASET/METHOD__PLANS__CONFIGURATION.
            folds: None for all that are trained.
            precision: of the networks; "float32" is exact, the others are faster on a GPU.

        Raises:
            UsageError: the device does not compute in this precision.
            CheckpointError: the folder lacks a file, or one does not fit.
            PlansError, DatasetError: its plans or its dataset.json are not valid.
        """
        compute = Compute(device=torch.device(device), precision=precision)
        model = load_model(Path(folder), folds=folds, checkpoint=checkpoint, device=compute.device)
        return cls(model, compute=compute)

    @property
    def is_supervised(self) -> bool:
        """Whether the model gives one deterministic answer instead of samples."""
        return self.model.method == "supervised"

    def sampling(
        self,
        *,
        num_samples: int | None = None,
        num_steps: int | None = None,
        sampler: str | None = None,
        tile_step_size: float | None = None,
        is_mirrored: bool | None = None,
    ) -> SamplingPlan:
        """Return the plans' sampling with some values replaced; None keeps the plans'.

        Raises:
            UsageError: a value is not valid, or the model would ignore it.
        """
        given = {
            "num_samples": num_samples,
            "num_steps": num_steps,
            "sampler": sampler,
            "tile_step_size": tile_step_size,
            "is_mirrored": is_mirrored,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        if self.is_supervised:
            self._require_no_sampling(changes)
        try:
            plan = dataclasses.replace(self.model.configuration.sampling, **changes)
        except ValueError as cause:
            raise UsageError(str(cause)) from None
        if plan.is_mirrored and not self.model.configuration.augmentation.mirror_axes:
            raise UsageError(
                "sampling.is_mirrored is set, but the model was trained without mirrored images "
                "(augmentation.mirror_axes is empty); predict without it"
            )
        return plan

    def predict(
        self,
        image: np.ndarray,
        spacing_mm: Sequence[float],
        *,
        num_samples: int | None = None,
        num_steps: int | None = None,
        seed: int = 0,
        case: str = "array",
        on_step: OnStep | None = None,
    ) -> Prediction:
        """Predict one image that is in memory.

        Args:
            image: (channel, y, x) or (channel, z, y, x), intensities as in the files.
            spacing_mm: voxel size in the order of the array's axes; 1.0 for photographs.
            num_samples, num_steps: None for the plans'.
            seed, case: each sample is a function of these two and its number.
            on_step: called after each sampling step with the number of samples that took it.

        Raises:
            DatasetError: the image does not fit the model.
            UsageError: a value is not valid.
        """
        sampling = self.sampling(num_samples=num_samples, num_steps=num_steps)
        samples: dict[int, np.ndarray] = {}
        result = self.predict_case(
            image,
            spacing_mm,
            sampling=sampling,
            seed=seed,
            case=case,
            on_step=on_step,
            on_sample=samples.__setitem__,
        )
        votes = result.votes
        return Prediction(
            mask=self.model.labels.label_map(votes.consensus()),
            probability=np.stack([votes.probability(i) for i in range(len(votes.votes))]),
            uncertainty=votes.uncertainty(),
            samples=np.stack([samples[sample] for sample in range(len(samples))]),
            volumes=result.volumes,
        )

    def predict_case(
        self,
        image: np.ndarray,
        spacing_mm: Sequence[float],
        *,
        sampling: SamplingPlan,
        seed: int,
        case: str,
        on_step: OnStep | None,
        on_sample: OnSample | None,
    ) -> CaseResult:
        """Predict an image one sample at a time, so that memory does not grow with their number.

        Args:
            on_sample: called with k and the boolean masks (label, *spatial) of each sample, on the
                grid of the image; not in the order of k where there are several folds.

        The other arguments are those of `predict`.
        """
        check_image(image, spacing_mm, model=self.model, case=case)
        preprocessed = preprocess_case(
            image,
            None,
            spacing_mm=spacing_mm,
            configuration=self.model.configuration,
            transpose_forward=self.model.plans.transpose_forward,
            case=case,
        )
        properties = preprocessed.properties
        normalized = torch.from_numpy(properties.normalized(preprocessed.image))
        del preprocessed
        start = time.perf_counter()
        votes, masks = self._begin(
            normalized, properties, sampling=sampling, seed=seed, on_step=on_step
        )
        del normalized
        num_voxels: dict[int, list[int]] = {}
        seconds_elsewhere = 0.0
        for sample, of_sample in masks:
            num_voxels[sample] = [int(np.count_nonzero(mask)) for mask in of_sample]
            if on_sample is not None:
                left = time.perf_counter()
                on_sample(sample, of_sample)
                seconds_elsewhere += time.perf_counter() - left
        return CaseResult(
            votes=votes,
            seconds=time.perf_counter() - start - seconds_elsewhere,
            volumes={
                name: VolumeSummary.of(
                    [num_voxels[sample][label] for sample in sorted(num_voxels)],
                    spacing_mm=spacing_mm,
                )
                for label, name in enumerate(self.model.labels.names)
            },
        )

    def num_steps_of(self, sampling: SamplingPlan) -> int:
        """Return how many steps `on_step` will be told of, over all samples of a case."""
        return 1 if self.is_supervised else sampling.num_samples * sampling.num_steps

    def _begin(
        self,
        image: Tensor,
        properties: CaseProperties,
        *,
        sampling: SamplingPlan,
        seed: int,
        on_step: OnStep | None,
    ) -> tuple[Votes, Iterator[tuple[int, np.ndarray]]]:
        """Return the votes, complete when the iterator over all samples' masks has ended."""
        is_exclusive = not self.model.labels.is_regions
        if self.is_supervised:
            probabilities = self._segment(image, properties, sampling)
            votes = Votes(probabilities, total=1, is_exclusive=is_exclusive)
            if on_step is not None:
                on_step(1)
            return votes, iter([(0, votes.consensus())])
        shape = (len(self.model.labels.names), *properties.original_shape)
        votes = Votes.none_of(shape, num_samples=sampling.num_samples, is_exclusive=is_exclusive)
        drawn = draw_x_0(
            cast("tuple[Denoiser, ...]", self.model.networks),
            image,
            num_channels=self._encoding.num_channels,
            sampling=sampling,
            patch_size=self.model.configuration.patch_size,
            mirror_axes=self.model.configuration.augmentation.mirror_axes,
            seed=seed,
            case=properties.case,
            compute=self.compute,
            on_step=on_step,
        )
        return votes, self._counted(votes, drawn, properties)

    def _counted(
        self, votes: Votes, drawn: Iterator[tuple[int, Tensor]], properties: CaseProperties
    ) -> Iterator[tuple[int, np.ndarray]]:
        for sample, x_0 in drawn:
            masks = decode_on_original_grid(x_0.numpy(), properties, encoding=self._encoding)
            votes.add(masks)
            yield sample, masks

    def _segment(
        self, image: Tensor, properties: CaseProperties, sampling: SamplingPlan
    ) -> np.ndarray:
        """Return the probability of each label on the original grid, (label, *spatial)."""
        configuration = self.model.configuration
        probabilities = segment_image(
            self.model.networks,
            image,
            num_channels=self._encoding.num_channels,
            is_exclusive=not self.model.labels.is_regions,
            patch_size=configuration.patch_size,
            tile_step_size=sampling.tile_step_size,
            mirror_axes=configuration.augmentation.mirror_axes if sampling.is_mirrored else (),
            compute=self.compute,
        ).numpy()
        num_labels = len(self.model.labels.names)
        of_labels = probabilities[len(probabilities) - num_labels :]  # background comes first
        return restore_x_0(of_labels, properties, background=[0.0] * num_labels)

    def _require_no_sampling(self, changes: Mapping[str, object]) -> None:
        ignored = sorted({"num_samples", "num_steps", "sampler"}.intersection(changes))
        if ignored:
            raise UsageError(
                f"{', '.join(ignored)}: a supervised model draws no samples; leave it out"
            )


def check_image(
    image: np.ndarray, spacing_mm: Sequence[float], *, model: TrainedModel, case: str
) -> None:
    """Check that an image in memory is of the kind that a model was trained on.

    Raises:
        DatasetError: its axes, its channels or its spacing are not.
    """
    expected = model.num_channels
    dimensions = model.dimensions
    axes = "(channel, z, y, x)" if dimensions == 3 else "(channel, y, x)"
    if image.ndim != dimensions + 1:
        raise DatasetError(
            f"case '{case}': expected an array {axes}, as the model was trained on, found the "
            f"shape {image.shape}"
        )
    if len(image) != expected:
        names = ", ".join(model.channel_names)
        raise DatasetError(
            f"case '{case}': expected {expected} channel(s) ({names}) along the first axis, "
            f"found {len(image)} in the shape {image.shape}"
        )
    if len(spacing_mm) != dimensions or not all(size > 0 for size in spacing_mm):
        raise DatasetError(
            f"case '{case}': expected {dimensions} positive voxel sizes in mm, in the order of "
            f"the array's axes, found {tuple(spacing_mm)}"
        )


def decode_on_original_grid(
    x_0: np.ndarray, properties: CaseProperties, *, encoding: Encoding
) -> np.ndarray:
    """Return the boolean masks (label, *original_shape) that x_0 (channel, *shape) stands for.

    x_0 is brought to the original grid first, so that masks there have borders as fine as it.
    """
    if not properties.is_on_original_grid:
        nothing = torch.zeros(1, encoding.num_labels, 1, 1, dtype=torch.bool)
        background = encoding.encode(nothing, None).flatten().tolist()
        x_0 = restore_x_0(x_0, properties, background=background)
    masks = np.empty((encoding.num_labels, *properties.original_shape), bool)
    thickness = max(1, _SLAB_VOXELS // max(1, math.prod(properties.original_shape[1:])))
    for start in range(0, len(masks[0]), thickness):
        slab = (slice(None), slice(start, start + thickness))
        masks[slab] = encoding.decode(torch.from_numpy(x_0[slab])[None])[0].numpy()
    return masks
