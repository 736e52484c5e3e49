"""`WeakPredictor`: from an image on its own grid to saliency, presence of labels, and a mask."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diffunet.build import weak_plan_of
from diffunet.data.case import CaseProperties
from diffunet.errors import PlansError, UsageError
from diffunet.inference.compute import Compute
from diffunet.inference.model import TrainedModel, load_model
from diffunet.inference.predictor import check_image
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS, methods_that_learn_from, require_saliency
from diffunet.plans import SaliencyMethod, WeakPlan
from diffunet.preprocessing.case import preprocess_case, restore_x_0
from diffunet.wsss.label_masks import label_masks, shared_thresholds
from diffunet.wsss.presence import GivenTags, Presence, decide_presence, given_tags
from diffunet.wsss.pseudo_masks import oriented_map, smoothed_map, threshold_of
from diffunet.wsss.saliency import (
    default_saliency,
    mirror_axes_of,
    presence_probabilities,
    saliency_map,
)


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


@dataclass(frozen=True, kw_only=True)
class CaseSaliency:
    """The maps of a case on its own grid, before they become a mask.

    Attributes:
        saliency: float32 (label, *spatial), smoothed and signed.
        thresholds: (slice, label); of the rule "otsu_mean", what "otsu" gives.
        seconds_per_slice: spent on the maps, per slice and label that has one; None where none has.
    """

    saliency: Float[np.ndarray, "label *spatial"]
    presence: Presence
    thresholds: Float[np.ndarray, "slice label"]
    seconds_per_slice: float | None


@final
class WeakPredictor:
    """A model trained from image-level labels, ready to predict.

    Attributes:
        model: its plans, labels and networks.
        compute: how its work is cut.
    """

    def __init__(self, model: TrainedModel, *, compute: Compute):
        """Take a loaded model.

        Raises:
            UsageError: it was trained by another kind of method, or is to compute in another
                precision than float32.
            PlansError: its plans describe no weak supervision of slices.
        """
        if not METHODS[model.method].saliency:
            others = " or ".join(methods_that_learn_from("image_labels"))
            raise UsageError(
                f"'{model.folder}' is a model of -m {model.method}; expected one that was trained "
                f"from image-level labels (-m {others}): predict this one with Predictor"
            )
        if compute.precision != "float32":
            raise UsageError(
                f"--precision {compute.precision}: maps are small differences of large numbers, "
                "which only float32 holds; leave the option out for a model of "
                f"-m {model.method}"
            )
        if model.configuration.dimensions != 2:
            raise PlansError(
                f"configuration '{model.plans.configuration_name}': image-level labels are "
                "predicted slice by slice, found three-dimensional patches; train the "
                "configuration 2d"
            )
        self.model = model
        self.compute = compute
        self.plan: WeakPlan = weak_plan_of(model.configuration)

    @classmethod
    def from_folder(
        cls,
        folder: Path | str,
        folds: Sequence[int | str] | None = None,
        *,
        checkpoint: Literal["final", "best", "latest"] = "final",
        device: torch.device | str = "cpu",
    ) -> "WeakPredictor":
        """Load a model folder; no workspace and no other file is needed.

        The arguments and errors are those of `Predictor.from_folder`; the precision is float32.
        """
        compute = Compute(device=torch.device(device))
        model = load_model(Path(folder), folds=folds, checkpoint=checkpoint, device=compute.device)
        return cls(model, compute=compute)

    @property
    def labels(self) -> LabelScheme:
        return self.model.labels

    def saliency_method(self, saliency: SaliencyMethod | None) -> SaliencyMethod:
        """Return `saliency`, or what the plans chose where it is None.

        Raises:
            UsageError: this model cannot make it.
        """
        method = self.model.method
        chosen = default_saliency(self.plan, method=method) if saliency is None else saliency
        require_saliency(chosen, method=method)
        return chosen

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
        chosen = self.saliency_method(saliency)
        check_image(image, spacing_mm, model=self.model, case=case)
        given = given_tags(
            tags,
            num_labels=len(self.labels.names),
            num_slices=image.shape[1] if image.ndim == 4 else None,
        )
        found = self.predict_case(
            image, spacing_mm, saliency=chosen, given=given, seed=seed, case=case
        )
        thresholds = self.thresholds_alone(found, saliency=chosen)
        masks = self.masks(found.saliency, thresholds, saliency_method=chosen)
        return WeakPrediction(
            mask=self.labels.label_map(masks),
            saliency=found.saliency,
            probability=found.presence.probabilities,
            is_present=found.presence.is_present,
            thresholds=thresholds,
        )

    def predict_case(
        self,
        image: np.ndarray,
        spacing_mm: Sequence[float],
        *,
        saliency: SaliencyMethod,
        given: GivenTags,
        seed: int,
        case: str,
    ) -> CaseSaliency:
        """Return the maps and thresholds of an image, from which `masks` makes its masks.

        Args:
            saliency: what `saliency_method` returned.
            given: what is known of the slices along the first axis of the array.

        The other arguments are those of `predict`.
        """
        check_image(image, spacing_mm, model=self.model, case=case)
        self.check_given(given, case=case)
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
        presence = self._presence(normalized, properties, given)
        maps, thresholds, seconds = self._maps(
            normalized, properties, presence, saliency=saliency, seed=seed
        )
        return CaseSaliency(
            saliency=restore_x_0(maps, properties, background=[0.0] * len(maps)),
            presence=presence,
            thresholds=_in_file(thresholds, properties),
            seconds_per_slice=seconds,
        )

    def thresholds_alone(
        self, found: CaseSaliency, *, saliency: SaliencyMethod
    ) -> Float[np.ndarray, "slice label"]:
        """Return the thresholds of an image that is all there is to predict."""
        if self.plan.mask(saliency).threshold == "otsu_mean":
            return shared_thresholds(found.thresholds, all_thresholds=[found.thresholds])
        return found.thresholds

    def check_given(self, given: GivenTags, *, case: str) -> None:
        """Check that the slices of what is given are those that this model works on.

        Raises:
            UsageError: they are not.
        """
        if self.slice_axis and set(given) - {None}:
            raise UsageError(
                f"case '{case}': slices are numbered along the first axis of the file, but this "
                f"model was trained on slices along axis {self.slice_axis}; give image-level "
                "labels of whole cases only"
            )

    def masks(
        self,
        saliency: Float[np.ndarray, "label *spatial"],
        thresholds: Float[np.ndarray, "slice label"],
        *,
        saliency_method: SaliencyMethod,
    ) -> Bool[np.ndarray, "label *spatial"]:
        """Return the masks of maps on the grid of the files; exclusive labels do not overlap."""
        return label_masks(
            saliency,
            thresholds,
            plan=self.plan.mask(saliency_method),
            slice_axis=self.slice_axis,
            is_exclusive=not self.labels.is_regions,
        )

    @property
    def slice_axis(self) -> int | None:
        """File axis along which the slices of a volume are images of their own."""
        return self.model.plans.transpose_forward[0] if self.model.dimensions == 3 else None

    def _presence(
        self, normalized: Tensor, properties: CaseProperties, given: GivenTags
    ) -> Presence:
        probabilities = presence_probabilities(
            self.model.networks,
            normalized,
            plan=self.plan,
            patch_size=self.model.configuration.patch_size,
            compute=self.compute,
            mirror_axes=mirror_axes_of(self.model.configuration),
        )
        in_file = _in_file(probabilities.numpy(), properties)
        return decide_presence(in_file, plan=self.plan, given=given)

    def _maps(
        self,
        normalized: Tensor,
        properties: CaseProperties,
        presence: Presence,
        *,
        saliency: SaliencyMethod,
        seed: int,
    ) -> tuple[np.ndarray, np.ndarray, float | None]:
        """Return (label, *shape) maps, (slice, label) thresholds, and seconds per slice."""
        is_present = presence.is_present[_stored_slices(properties)]
        plan = self.plan.mask(saliency)
        maps = np.empty((is_present.shape[1], *properties.shape), np.float32)
        thresholds = np.empty(is_present.shape)
        start = time.perf_counter()
        for label, shown in enumerate(is_present.T):
            raw = saliency_map(
                self.model.networks,
                normalized,
                saliency=saliency,
                plan=self.plan,
                patch_size=self.model.configuration.patch_size,
                tags=torch.from_numpy(is_present).float(),
                label=label,
                slices=np.flatnonzero(shown).tolist(),
                seed=seed,
                case=properties.case,
                compute=self.compute,
                mirror_axes=mirror_axes_of(self.model.configuration),
            ).numpy()
            maps[label] = smoothed_map(raw, plan=plan, image=normalized.numpy())
            oriented = oriented_map(maps[label], plan=plan)
            by_slice = oriented.reshape(len(shown), *oriented.shape[-2:])
            thresholds[:, label] = threshold_of(by_slice, plan=plan, is_present=shown)
        seconds = time.perf_counter() - start
        num_maps = int(np.count_nonzero(is_present))
        return maps, thresholds, seconds / num_maps if num_maps else None


def _stored_slices(properties: CaseProperties) -> slice:
    """Return which slices of the file are stored; a two-dimensional image is one slice."""
    if len(properties.shape) == 2:
        return slice(0, 1)
    return slice(properties.crop_box.start[0], properties.crop_box.stop[0])


def _in_file(
    values: Float[np.ndarray, "stored label"], properties: CaseProperties
) -> Float[np.ndarray, "slice label"]:
    """Return what is known of stored slices for all slices of the file, NaN for the others."""
    if len(properties.shape) == 2:
        return values
    num_slices = properties.original_shape[properties.transpose_forward[0]]
    in_file = np.full((num_slices, values.shape[1]), np.nan, values.dtype)
    in_file[_stored_slices(properties)] = values
    return in_file
