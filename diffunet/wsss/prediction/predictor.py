"""The predictor of models trained from image-level labels: saliency, presence, and masks."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diffunet.build import weak_plan_of
from diffunet.data.image_io import ImageGeometry
from diffunet.data.raw.case_files import CaseFiles
from diffunet.data.raw.image_labels import ImageLabels
from diffunet.data.store.case import CaseProperties
from diffunet.errors import PlansError, UsageError
from diffunet.inference.case_predictor import OnSample, OnStep
from diffunet.inference.compute import Compute
from diffunet.inference.model import Model, TrainedModel
from diffunet.inference.options import FolderRun, PredictionOptions
from diffunet.inference.output import OutputFolder
from diffunet.inference.prepared import PreparedImage
from diffunet.methods import METHODS, SaliencyMethod, methods_that_learn_from, require_saliency
from diffunet.plans import MaskPlan, WeakPlan
from diffunet.preprocessing.case import restore_x_0
from diffunet.wsss.masks.label_masks import label_masks, shared_thresholds
from diffunet.wsss.masks.pseudo_masks import oriented_map, smoothed_map, threshold_of
from diffunet.wsss.prediction.case_records import CaseSaliency, record_of, with_masks
from diffunet.wsss.prediction.empty_masks import warn_of_empty_masks
from diffunet.wsss.prediction.given_labels import given_of_case, read_given_table
from diffunet.wsss.prediction.image_size import check_size
from diffunet.wsss.prediction.pictures import draw_saliency
from diffunet.wsss.prediction.presence import GivenTags, Presence, decide_presence
from diffunet.wsss.prediction.shared_masks import SHARED, write_shared_masks
from diffunet.wsss.saliency.maps import (
    default_saliency,
    mirror_axes_of,
    presence_probabilities,
    saliency_map,
)

_CONSTANT = 1e-5
"""Largest range of a constant slice, in standard deviations: resampling rounds."""


@final
class SaliencyPredictor:
    """Makes the maps of a case, and its masks; see `CasePredictor`.

    Attributes:
        plan: of weak supervision.
        saliency: what masks are made from.
        given: what is known of the cases to predict, instead of what the classifier finds.
    """

    def __init__(self, model: Model, *, compute: Compute, options: PredictionOptions):
        """Take a loaded model.

        Raises:
            UsageError: it was trained on masks, cannot make the saliency, or is to compute in
                another precision than float32.
            PlansError: its plans describe no weak supervision of slices.
        """
        if METHODS[model.method].learns_from != "image_labels":
            others = " or ".join(methods_that_learn_from("image_labels"))
            raise UsageError(
                f"this is a model of -m {model.method}; expected one trained from image-level "
                f"labels (-m {others}); predict this model with Predictor"
            )
        if compute.precision != "float32":
            raise UsageError(
                f"--precision {compute.precision}: maps are small differences of large numbers "
                f"and need float32; leave the option out for a model of -m {model.method}"
            )
        if model.configuration.dimensions != 2:
            raise PlansError(
                f"configuration '{model.plans.configuration_name}': image-level labels are "
                "predicted slice by slice, found three-dimensional patches; train the "
                "configuration 2d"
            )
        self.model = model
        self.compute = compute
        self.options = options
        self.plan: WeakPlan = weak_plan_of(model.configuration)
        chosen = options.saliency or default_saliency(self.plan, method=model.method)
        self.saliency: SaliencyMethod = chosen
        require_saliency(self.saliency, method=model.method)
        self.given: ImageLabels | None = None

    @property
    def num_steps(self) -> int:
        """A case is one step."""
        return 1

    @property
    def mask_plan(self) -> MaskPlan:
        """How maps become masks."""
        return self.plan.mask(self.saliency)

    @property
    def slice_axis(self) -> int | None:
        """File axis along which the slices of a volume are images of their own."""
        return self.model.plans.transpose_forward[0] if self.model.dimensions == 3 else None

    def settings(self) -> dict[str, Any]:
        """Return what decides about a result; of the plans, what this saliency uses."""
        plan = self.plan
        blocks = {"cdm": plan.cdm, "cg_cdm": plan.cg_cdm, "cg_diff": plan.cg_diff}
        table = None
        if self.given is not None:
            lines = sorted(self.given.table.items(), key=str)
            table = hashlib.sha256(json.dumps(lines).encode()).hexdigest()
        return {
            "saliency": self.saliency,
            "saliency_plan": dataclasses.asdict(blocks.get(self.saliency, plan.cam)),
            "mask_plan": dataclasses.asdict(self.mask_plan),
            "presence_thresholds": plan.presence_thresholds,
            "mirror_axes": mirror_axes_of(self.model.configuration),
            "has_slice_labels": plan.has_slice_labels,
            "image_labels_sha256": table,
        }

    def begin(self, model: TrainedModel, cases: Sequence[CaseFiles]) -> None:
        """Read the table of image-level labels, where the options name one.

        Raises:
            UsageError: there is no such file, or the model does not work on the slices in it.
            DatasetError: all that is wrong with the table.
        """
        path = self.options.image_labels
        self.given = None if path is None else read_given_table(path, cases, model=model)
        for case in self.given.slices if self.given is not None else ():
            self.check_given(given_of_case(self.given, case), case=case)

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

    def predict(
        self,
        prepared: PreparedImage,
        *,
        on_step: OnStep | None = None,
        on_sample: OnSample | None = None,
    ) -> CaseSaliency:
        """Return the maps and thresholds of a case, with what the table says about it."""
        given = given_of_case(self.given, prepared.properties.case)
        found = self.saliency_of(prepared, given=given)
        if on_step is not None:
            on_step(1)
        return found

    def saliency_of(self, prepared: PreparedImage, *, given: GivenTags) -> CaseSaliency:
        """Return the maps and thresholds of an image, from which `masks` makes its masks.

        Args:
            given: what is known of the slices along the first axis of the file.

        Raises:
            UsageError: these slices are not those that the model works on.
            DatasetError: the image is far larger than those that the model learned from.
        """
        properties = prepared.properties
        self.check_given(given, case=properties.case)
        check_size(
            prepared.image.shape[-2:],
            patch_size=self.model.configuration.patch_size,
            case=properties.case,
        )
        presence = self._presence(prepared.image, properties, given)
        maps, thresholds, seconds = self._maps(prepared.image, properties, presence)
        return CaseSaliency(
            saliency=restore_x_0(maps, properties, background=[0.0] * len(maps)),
            presence=presence,
            thresholds=_in_file(thresholds, properties),
            seconds_per_slice=seconds,
        )

    def thresholds_alone(self, found: CaseSaliency) -> Float[np.ndarray, "slice label"]:
        """Return the thresholds of an image that is all there is to predict."""
        if self.mask_plan.threshold == SHARED:
            return shared_thresholds(found.thresholds, all_thresholds=[found.thresholds])
        return found.thresholds

    def label_map(self, result: CaseSaliency) -> np.ndarray:
        """Return the masks of an image that is all there is to predict."""
        masks = self.masks(result.saliency, self.thresholds_alone(result))
        return self.model.labels.label_map(masks)

    def masks(
        self,
        saliency: Float[np.ndarray, "label *spatial"],
        thresholds: Float[np.ndarray, "slice label"],
    ) -> Bool[np.ndarray, "label *spatial"]:
        """Return the masks of maps on the grid of the files; exclusive labels do not overlap."""
        masks = label_masks(
            saliency,
            thresholds,
            plan=self.mask_plan,
            slice_axis=self.slice_axis,
            is_exclusive=not self.model.labels.is_regions,
        )
        self.model.labels.close(masks)
        return masks

    def write(
        self, result: CaseSaliency, *, case: str, geometry: ImageGeometry, output: OutputFolder
    ) -> dict[str, Any]:
        """Write maps and mask; a mask of a shared threshold waits for the other cases."""
        scales = [
            output.write_saliency(case, label, of_label, geometry)
            for label, of_label in enumerate(result.saliency)
        ]
        content = record_of(result, scales, self.model.labels.names)
        if self.mask_plan.threshold == SHARED:
            return content
        masks = self.masks(result.saliency, result.thresholds)
        output.write_mask(case, masks, geometry)
        return with_masks(content, result.thresholds, masks, geometry)

    def finish(self, cases: Sequence[CaseFiles], *, run: FolderRun, output: OutputFolder) -> None:
        """Make the masks of a shared threshold, if all cases have their maps.

        Where all cases are there, warn of those that show a label and have no mask of it.
        """
        if self.mask_plan.threshold == SHARED:
            write_shared_masks(cases, run=run, output=output, masks_of=self.masks)
        if _are_all_there(cases, run=run, output=output):
            warn_of_empty_masks(
                cases,
                output=output,
                names=self.model.labels.names,
                saliency=self.saliency,
                plan=self.mask_plan,
            )

    def draw(self, cases: Sequence[CaseFiles], *, run: FolderRun, output: OutputFolder) -> None:
        """Draw `pictures/saliency.png`, if all cases are there and the options ask for it."""
        if self.options.draws_picture and _are_all_there(cases, run=run, output=output):
            draw_saliency(self, cases, output=output)

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
    ) -> tuple[np.ndarray, np.ndarray, float | None]:
        """Return (label, *shape) maps, (slice, label) thresholds, and seconds per slice.

        Maps of constant slices are 0: nothing in them can show a label.
        """
        is_present = presence.is_present[_stored_slices(properties)]
        plan = self.mask_plan
        maps = np.empty((is_present.shape[1], *properties.shape), np.float32)
        thresholds = np.empty(is_present.shape)
        is_varied = _varied_slices(normalized)
        start = time.perf_counter()
        for label, shown in enumerate(is_present.T):
            raw = saliency_map(
                self.model.networks,
                normalized,
                saliency=self.saliency,
                plan=self.plan,
                patch_size=self.model.configuration.patch_size,
                tags=torch.from_numpy(is_present).float(),
                label=label,
                slices=np.flatnonzero(shown & is_varied).tolist(),
                seed=self.options.seed,
                case=properties.case,
                compute=self.compute,
                mirror_axes=mirror_axes_of(self.model.configuration),
            ).numpy()
            maps[label] = smoothed_map(raw, plan=plan, image=normalized.numpy())
            oriented = oriented_map(maps[label], plan=plan)
            by_slice = oriented.reshape(len(shown), *oriented.shape[-2:])
            thresholds[:, label] = threshold_of(by_slice, plan=plan, is_present=shown)
        seconds = time.perf_counter() - start
        num_maps = int(np.count_nonzero(is_present[is_varied]))
        return maps, thresholds, seconds / num_maps if num_maps else None


def _are_all_there(cases: Sequence[CaseFiles], *, run: FolderRun, output: OutputFolder) -> bool:
    """Whether nothing more is to come: no other part is at work, or each has done its cases."""
    return run.part.is_all or all(
        output.content_of_record(files.case) is not None for files in cases
    )


def _varied_slices(normalized: Tensor) -> Bool[np.ndarray, " slice"]:
    """Return which slices of an image (channel, *slice, y, x) differ anywhere within a channel."""
    by_slice = normalized.reshape(len(normalized), -1, normalized.shape[-2] * normalized.shape[-1])
    return ((by_slice.amax(dim=2) - by_slice.amin(dim=2)) > _CONSTANT).any(dim=0).numpy()


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
