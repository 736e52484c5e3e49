"""Predictors of models that learned from masks: drawn samples, or probabilities."""

import dataclasses
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

import numpy as np
import torch
from torch import Tensor

from diffunet.build import build_encoding, build_rater_tags, build_segmentation_encoding
from diffunet.data.image_io import ImageGeometry
from diffunet.data.raw.case_files import CaseFiles, rater_name
from diffunet.data.store.case import CaseProperties
from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.encoding import Encoding
from diffunet.errors import UsageError
from diffunet.inference.case_predictor import OnSample, OnStep
from diffunet.inference.compute import Compute
from diffunet.inference.draw import draw_x_0
from diffunet.inference.fuse import VolumeSummary, Votes, disagreements_of, volumes_of
from diffunet.inference.model import Model, TrainedModel
from diffunet.inference.options import ONE_FILE, REL_AREA, FolderRun, PredictionOptions
from diffunet.inference.original_grid import decode_on_original_grid
from diffunet.inference.output import OutputFolder
from diffunet.inference.prepared import PreparedImage
from diffunet.inference.rel_area import emptied_by_rel_area
from diffunet.inference.segment import segment_image
from diffunet.labels import LabelScheme
from diffunet.plans import ConfigurationPlan, SamplingPlan
from diffunet.preprocessing.case import restore_x_0

_SAMPLING_FIELDS = ("num_samples", "num_steps", "sampler", "tile_step_size", "is_mirrored")


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """All samples of a case in one, after each was seen once.

    Attributes:
        seconds: spent on the networks and on bringing masks to the grid of the image; reading,
            preprocessing and writing are not counted.
    """

    votes: Votes
    volumes: dict[str, VolumeSummary]
    seconds: float


class MaskPredictor(ABC):
    """What both kinds share: votes of masks, and how they are written.

    Attributes:
        sampling: the plans' with what the options say.
    """

    def __init__(self, model: Model, *, compute: Compute, options: PredictionOptions):
        """Take a loaded model.

        Raises:
            UsageError: a value is not valid, or the model was not trained for it.
        """
        self.model = model
        self.compute = compute
        self.options = options
        self.sampling = sampling_of(model.configuration, options)
        if options.saves_samples not in (False, True, ONE_FILE):
            raise UsageError(
                f"saves_samples: expected True, False or '{ONE_FILE}', got "
                f"{options.saves_samples!r}"
            )
        if options.rel_area is not None and options.rel_area not in REL_AREA:
            raise UsageError(f"rel_area: expected a number {REL_AREA}, got {options.rel_area:g}")

    @property
    @abstractmethod
    def num_steps(self) -> int: ...

    @abstractmethod
    def _begin(
        self, prepared: PreparedImage, *, on_step: OnStep | None
    ) -> tuple[Votes, Iterator[tuple[int, np.ndarray]]]:
        """Return the votes, which are complete once the iterator over all samples has ended."""

    def settings(self) -> dict[str, Any]:
        """Return the sampling, and what is written."""
        return {
            "sampling": dataclasses.asdict(self.sampling),
            "output": {
                "has_probabilities": self.options.saves_probabilities,
                "has_samples": bool(self.options.saves_samples),
                **({"samples": ONE_FILE} if self.options.saves_samples == ONE_FILE else {}),
            },
            **({} if self.options.rel_area is None else {"rel_area": self.options.rel_area}),
        }

    def begin(self, model: TrainedModel, cases: Sequence[CaseFiles]) -> None:  # noqa: B027
        """Do nothing."""

    def predict(
        self,
        prepared: PreparedImage,
        *,
        on_step: OnStep | None = None,
        on_sample: OnSample | None = None,
    ) -> CaseResult:
        """Predict an image one sample at a time, so that memory does not grow with their number."""
        start = time.perf_counter()
        votes, masks = self._begin(prepared, on_step=on_step)
        geometry = prepared.properties.original_geometry
        num_voxels: dict[int, list[int]] = {}
        seconds_elsewhere = 0.0
        del prepared  # its memory is needed, where nobody else holds it
        for sample, of_sample in masks:
            num_voxels[sample] = [int(np.count_nonzero(mask)) for mask in of_sample]
            if on_sample is not None:
                left = time.perf_counter()
                on_sample(sample, of_sample)
                seconds_elsewhere += time.perf_counter() - left
        return CaseResult(
            votes=votes,
            seconds=time.perf_counter() - start - seconds_elsewhere,
            volumes=volumes_of(num_voxels, names=self.model.labels.names, geometry=geometry),
        )

    def label_map(self, result: CaseResult) -> np.ndarray:
        """Return the consensus."""
        return self.model.labels.label_map(result.votes.consensus())

    def write(
        self, result: CaseResult, *, case: str, geometry: ImageGeometry, output: OutputFolder
    ) -> dict[str, Any]:
        """Write consensus and uncertainty, and where asked for the probabilities."""
        output.write_maps(
            case, result.votes, geometry, has_probabilities=self.options.saves_probabilities
        )
        volumes = {name: dataclasses.asdict(volume) for name, volume in result.volumes.items()}
        return {
            "seconds": result.seconds,
            "volumes": volumes,
            "disagreement": disagreements_of(result.votes, result.volumes),
        }

    def finish(self, cases: Sequence[CaseFiles], *, run: FolderRun, output: OutputFolder) -> None:  # noqa: B027
        """Do nothing: no case depends on another."""

    def draw(self, cases: Sequence[CaseFiles], *, run: FolderRun, output: OutputFolder) -> None:  # noqa: B027
        """Draw nothing."""


@final
class SamplePredictor(MaskPredictor):
    """Draws samples with the denoisers of a diffusion on segmentations."""

    def __init__(self, model: Model, *, compute: Compute, options: PredictionOptions):
        """Take a loaded model.

        Raises:
            UsageError: a value is not valid, or the model was not trained for it.
        """
        super().__init__(model, compute=compute, options=options)
        self._rater = _rater_of(model.configuration, options.rater)

    def settings(self) -> dict[str, Any]:
        """Return the sampling, what is written, and as whom was drawn."""
        told = {} if self._rater is None else {"rater": self._rater}
        return super().settings() | told

    @property
    def _tags(self) -> Tensor | None:
        if self._rater is None:
            return None
        return torch.from_numpy(build_rater_tags([self._rater], self.model.configuration.diffusion))

    @property
    def num_steps(self) -> int:
        """Of all samples together."""
        return self.sampling.num_samples * self.sampling.num_steps

    def _begin(
        self, prepared: PreparedImage, *, on_step: OnStep | None
    ) -> tuple[Votes, Iterator[tuple[int, np.ndarray]]]:
        properties, labels = prepared.properties, self.model.labels
        encoding = build_encoding(labels, self.model.configuration.diffusion)
        votes = Votes.none_of(
            (len(labels.names), *properties.original_shape),
            num_samples=self.sampling.num_samples,
            is_exclusive=not labels.is_regions,
        )
        drawn = draw_x_0(
            cast("tuple[Denoiser, ...]", self.model.networks),
            prepared.image,
            num_channels=encoding.num_channels,
            sampling=self.sampling,
            patch_size=self.model.configuration.patch_size,
            mirror_axes=self.model.configuration.augmentation.mirror_axes,
            seed=self.options.seed,
            case=properties.case,
            compute=self.compute,
            tags=self._tags,
            on_step=on_step,
        )
        masks = _decoded(drawn, properties, encoding=encoding, labels=labels)
        if self.options.rel_area is not None:
            masks = emptied_by_rel_area(masks, self.options.rel_area)
        return votes, _counted(votes, masks)


@final
class ProbabilityPredictor(MaskPredictor):
    """Gives the single answer of supervised networks: votes are probabilities."""

    @property
    def num_steps(self) -> int:
        """The whole case is one step."""
        return 1

    def _begin(
        self, prepared: PreparedImage, *, on_step: OnStep | None
    ) -> tuple[Votes, Iterator[tuple[int, np.ndarray]]]:
        is_exclusive = not self.model.labels.is_regions
        probabilities = self._probabilities(prepared, on_step=on_step)
        votes = Votes(probabilities, total=1, is_exclusive=is_exclusive)
        return votes, iter([(0, votes.consensus())])

    def _probabilities(self, prepared: PreparedImage, *, on_step: OnStep | None) -> np.ndarray:
        """Return the probability of each label on the original grid, (label, *spatial)."""
        configuration, labels = self.model.configuration, self.model.labels
        mirror_axes = configuration.augmentation.mirror_axes if self.sampling.is_mirrored else ()
        probabilities = segment_image(
            self.model.networks,
            prepared.image,
            num_channels=build_segmentation_encoding(labels).num_channels,
            is_exclusive=not labels.is_regions,
            patch_size=configuration.patch_size,
            tile_step_size=self.sampling.tile_step_size,
            mirror_axes=mirror_axes,
            compute=self.compute,
            on_step=on_step,
        ).numpy()
        num_labels = len(labels.names)
        of_labels = probabilities[len(probabilities) - num_labels :]  # background comes first
        restored = restore_x_0(of_labels, prepared.properties, background=[0.0] * num_labels)
        labels.close(restored)
        return restored


def sampling_of(configuration: ConfigurationPlan, options: PredictionOptions) -> SamplingPlan:
    """Return the plans' sampling with what the options say.

    Raises:
        UsageError: a value is not valid, or the model was trained without mirrored images.
    """
    given = {name: getattr(options, name) for name in _SAMPLING_FIELDS}
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        plan = dataclasses.replace(configuration.sampling, **changes)
    except ValueError as cause:
        raise UsageError(str(cause)) from None
    if plan.is_mirrored and not configuration.augmentation.mirror_axes:
        raise UsageError(
            "sampling.is_mirrored is set, but the model was trained without mirrored images "
            "(augmentation.mirror_axes is empty); predict without it"
        )
    return plan


def _rater_of(configuration: ConfigurationPlan, asked: str | None) -> str | None:
    """Return the name of the rater to draw as, who is asked for by name or number.

    Raises:
        UsageError: the model is not told who drew, or knows no such rater.
    """
    if asked is None:
        return None
    plan = configuration.diffusion
    if not plan.conditions_on_rater:
        raise UsageError(
            f"--rater {asked}: this model was not told who drew the masks; train one with "
            "--set diffusion.conditions_on_rater=true, if the same people drew all cases"
        )
    name = rater_name(asked)
    if name not in plan.rater_names:
        raise UsageError(
            f"--rater {asked}: expected one of the raters in training, "
            f"{', '.join(plan.rater_names)}"
        )
    return name


def _decoded(
    drawn: Iterator[tuple[int, Tensor]],
    properties: CaseProperties,
    *,
    encoding: Encoding,
    labels: LabelScheme,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the masks of each sample on the original grid."""
    for sample, x_0 in drawn:
        masks = decode_on_original_grid(x_0.numpy(), properties, encoding=encoding)
        del x_0  # before the next one needs the memory
        labels.close(masks)
        yield sample, masks


def _counted(
    votes: Votes, samples: Iterator[tuple[int, np.ndarray]]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the masks of each sample once they have voted."""
    for sample, masks in samples:
        votes.add(masks)
        yield sample, masks
