"""The images of a fold's validation cases, each with its image-level labels, in a useful order."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffunet.data.batches.places import Store
from diffunet.randomness import derive_seed
from diffunet.training.fold_data import FoldData
from diffunet.training.validation import spread_over_patients

NOISE_SEED = derive_seed("validation")
"""Of the noise: not of the training, so that two of them are validated alike."""

NUM_COMPARED = 24
"""Validation images that show a label, on which settings are compared; at most as many as the plans
have cases for the final validation."""


@dataclass(frozen=True, kw_only=True)
class TaggedImage:
    """A two-dimensional image whose image-level labels are known.

    Attributes:
        slice_index: along stored axis 0 of a volume; None where the case is the image.
        tags: 0 or 1 per label.
    """

    case: str
    slice_index: int | None
    tags: tuple[int, ...]

    @property
    def number(self) -> int:
        """Of the slice in its case; 0 where the case is the image."""
        return self.slice_index or 0


def validation_images(data: FoldData, *, has_slice_labels: bool) -> tuple[TaggedImage, ...]:
    """Return the validation images in an order of which any first part is a fair selection.

    Images with each combination of labels take turns, as long as there are any, and each kind is
    spread over patients. The order is random, but the same for every training on these cases.

    Args:
        has_slice_labels: leave out slices that only have the labels of their case, unless there are
            no others: a case that shows a label need not show it in every slice.
    """
    found: list[TaggedImage] = []
    own: list[TaggedImage] = []
    for case in data.split.val:
        properties = data.images.properties(case)
        is_own = any(tags is not None for tags in properties.slice_image_labels)
        for index in properties.tagged_images(data.plans.configuration.dimensions):
            image = TaggedImage(case=case, slice_index=index, tags=properties.tags_of(index) or ())
            (own if is_own else found).append(image)
    images = own if has_slice_labels and own else own + found
    queues = []
    for tags in sorted({image.tags for image in images}):
        members = {(image.case, image.number): image for image in images if image.tags == tags}
        patients = {key: data.patients[key[0]] for key in members}
        order = spread_over_patients(tuple(members), patients, name=f"validation images {tags}")
        queues.append([members[key] for key in order])
    return tuple(image for turn in zip_longest(*queues) for image in turn if image is not None)


def read_image(store: Store, image: TaggedImage) -> Float[Tensor, "channel y x"]:
    """Return a normalised image, on the grid of training."""
    stored = store.array(image.case, "image")
    index = (slice(None),) if image.slice_index is None else (slice(None), image.slice_index)
    return torch.from_numpy(store.properties(image.case).normalized(np.asarray(stored[index])))


def images_to_compare(
    data: FoldData, images: Sequence[TaggedImage]
) -> list[tuple[TaggedImage, int]]:
    """Return the first images with a label that they show, at most as many as are compared."""
    shown = [
        (image, label)
        for image in images
        for label, is_present in enumerate(image.tags)
        if is_present
    ]
    return shown[: min(NUM_COMPARED, data.plans.configuration.training.num_final_validation_cases)]
