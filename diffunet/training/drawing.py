"""What a model in training answers for preprocessed cases, for validation."""

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from diffunet.data.case import CaseProperties
from diffunet.data.patches import Store
from diffunet.diffusion.denoiser import Denoiser
from diffunet.inference.compute import Compute
from diffunet.inference.draw import draw_samples, draw_x_0
from diffunet.inference.fuse import Votes
from diffunet.inference.predictor import decode_on_original_grid
from diffunet.inference.segment import segment_image
from diffunet.plans import ConfigurationPlan, SamplingPlan
from diffunet.preprocessing.case import restore_x_0
from diffunet.training.objective import DiffusionObjective, SupervisedObjective


@dataclass(frozen=True, kw_only=True)
class CaseDrawer:
    """Draws masks of preprocessed cases; no global random state is read or changed.

    Attributes:
        seed: every mask is a function of it, the case and the sample's number.
    """

    objective: DiffusionObjective | SupervisedObjective
    images: Store
    compute: Compute
    seed: int

    @property
    def configuration(self) -> ConfigurationPlan:
        return self.objective.configuration

    @property
    def is_supervised(self) -> bool:
        return isinstance(self.objective, SupervisedObjective)

    def on_stored_grid(self, model: nn.Module, case: str, *, num_samples: int) -> np.ndarray:
        """Return masks (sample, label, *shape) on the grid of training; supervised: one sample."""
        image, _ = self._image(case)
        if self.is_supervised:
            return self._consensus(self._probabilities(model, image))[None]
        plan = self.configuration.sampling
        return draw_samples(
            [cast(Denoiser, model)],
            image,
            encoding=self.objective.encoding,
            sampling=dataclasses.replace(plan, num_samples=num_samples),
            **self._common(),
            seed=self.seed,
            case=case,
        ).numpy()

    def on_original_grid(self, model: nn.Module, case: str) -> np.ndarray:
        """Return masks (sample, label, *original_shape), as prediction of the files would."""
        image, properties = self._image(case)
        if self.is_supervised:
            probabilities = self._probabilities(model, image)
            background = [0.0] * len(probabilities)
            return self._consensus(restore_x_0(probabilities, properties, background=background))[
                None
            ]
        drawn = draw_x_0(
            [cast(Denoiser, model)],
            image,
            num_channels=self.objective.encoding.num_channels,
            sampling=self.configuration.sampling,
            **self._common(),
            seed=self.seed,
            case=case,
        )
        masks = {
            sample: decode_on_original_grid(
                x_0.numpy(), properties, encoding=self.objective.encoding
            )
            for sample, x_0 in drawn
        }
        return np.stack([masks[sample] for sample in range(len(masks))])

    def _image(self, case: str) -> tuple[Tensor, CaseProperties]:
        properties = self.images.properties(case)
        stored = np.asarray(self.images.array(case, "image")[:])
        return torch.from_numpy(properties.normalized(stored)), properties

    def _common(self) -> dict[str, Any]:
        return {
            "patch_size": self.configuration.patch_size,
            "mirror_axes": self.configuration.augmentation.mirror_axes,
            "compute": self.compute,
        }

    def _probabilities(self, model: nn.Module, image: Tensor) -> np.ndarray:
        """Return the probability of each label, background left out."""
        plan: SamplingPlan = self.configuration.sampling
        common = self._common()
        if not plan.is_mirrored:
            common["mirror_axes"] = ()
        probabilities = segment_image(
            [model],
            image,
            num_channels=self.objective.encoding.num_channels,
            is_exclusive=not self.objective.labels.is_regions,
            tile_step_size=plan.tile_step_size,
            **common,
        ).numpy()
        return probabilities[len(probabilities) - len(self.objective.labels.names) :]

    def _consensus(self, probabilities: np.ndarray) -> np.ndarray:
        is_exclusive = not self.objective.labels.is_regions
        return Votes(probabilities, total=1, is_exclusive=is_exclusive).consensus()
