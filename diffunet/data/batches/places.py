"""Which patch a training sample shows: a pure function of (seed, iteration, index in the batch).

It does not depend on earlier draws, so neither workers nor ranks nor restarts change a sample.
"""

import dataclasses
import functools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from diffunet.data.batches.balance import (
    BalancedOrder,
    TaggedKey,
    is_plain_turn,
    num_plain_turns,
)
from diffunet.data.batches.place_weight import MAX_WEIGHT, place_weight, start_limits
from diffunet.data.store.case import CaseProperties
from diffunet.errors import DatasetError, PlansError
from diffunet.plans import ConfigurationPlan, CropPlan
from diffunet.randomness import numpy_generator

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PatchChoice:
    """What one training sample shows, before augmentation.

    Attributes:
        rater: index into the raters of the case, along the first axis of its label maps; None
            where label maps are not opened.
        slice_index: along stored axis 0 of a volume, for a 2d configuration; None otherwise.
        start: first voxel per axis of the patch; negative where the image is smaller than the
            patch, which then is centred on it.
        weight: uniform over actual density of this place (`diffunet.data.batches.place_weight`).
    """

    case: str
    rater: int | None
    slice_index: int | None
    start: tuple[int, ...]
    weight: float = 1.0


class Store(Protocol):
    """What sampling needs of a `CaseStore`."""

    def properties(self, case: str) -> CaseProperties: ...

    def array(self, case: str, name: str) -> Any: ...


class PatchPlaces:
    """Draws the places of training samples.

    Args:
        images: store with "image".
        labels: store with "labels" and "locations"; None to learn from image-level labels. Then
            images are drawn among those that have such labels, balanced over positions except for
            the plan's `clean_share` (`diffunet.data.batches.balance`), and no label map is opened.
        cases: training cases; each is drawn equally often.
        configuration: patch size and crop policy.
        batch_size: samples per iteration, over all ranks together.
        seed: of the whole training.

    Raises:
        DatasetError: there are no training cases.
        PlansError: patches should hold marked voxels, but there are no label maps.
    """

    def __init__(
        self,
        images: Store,
        labels: Store | None,
        *,
        cases: Sequence[str],
        configuration: ConfigurationPlan,
        batch_size: int,
        seed: int,
    ):
        if not cases:
            raise DatasetError(
                "there are no training cases in this fold; check splits_final.json in the folder "
                "of the preprocessed dataset"
            )
        if labels is None and configuration.crop.policy == "foreground":
            raise PlansError(
                "the crop policy 'foreground' needs label maps, but this method does not open "
                "any; set crop.policy to 'whole' or 'random', and crop.foreground_share to 0"
            )
        if configuration.crop.foreground_share > 1 - 1 / MAX_WEIGHT:
            logger.warning(
                "crop.foreground_share %g is above %g: training shows places that nobody marked "
                "too rarely for weights to correct, and the model will draw masks too often; "
                "choose a smaller share",
                configuration.crop.foreground_share,
                1 - 1 / MAX_WEIGHT,
            )
        self.images, self.labels, self.configuration, self.seed = (
            images,
            labels,
            configuration,
            seed,
        )
        self._weak = configuration.weak if labels is None else None
        self._cases = tuple(cases)
        self._patch_size = configuration.patch_size
        self._crop = configuration.crop
        self._batch_size = batch_size
        self._properties: dict[str, CaseProperties] = {}

    def __getstate__(self) -> Mapping[str, Any]:
        return {**self.__dict__, "_properties": {}}

    def choose(self, iteration: int, index: int) -> PatchChoice:
        """Return what sample `index` of the global batch of `iteration` shows.

        Cases go round in a new random order each time. The rater is drawn independently, so that it
        depends on no mask.

        Raises:
            PlansError: the policy is "whole" and the case is larger than the patch.
        """
        if self.labels is None:
            return self._choose_tagged(iteration, index)
        case = self.case_of(iteration, index)
        properties = self.properties_of(case)
        generator = self.generator("crop", iteration, index)
        rater = int(self.generator("rater", iteration, index).integers(len(properties.raters)))
        shape = properties.shape
        marked, locations = None, None
        if self._crop.foreground_share:
            locations = np.asarray(self.labels.array(case, "locations")[:])
            turn_offset = float(self.generator("turn", iteration).random())
            if is_foreground_turn(self._crop, index=index, offset=turn_offset):
                marked = marked_voxel(locations, generator)
        slice_index = None
        if len(shape) > len(self._patch_size):
            slice_index = marked[0] if marked else int(generator.integers(shape[0]))
            shape, marked = shape[1:], marked[1:] if marked else None
        start = self._start(case, shape, marked=marked, generator=generator)
        choice = PatchChoice(case=case, rater=rater, slice_index=slice_index, start=start)
        return choice if locations is None else self._weighted(choice, locations)

    def _weighted(self, choice: PatchChoice, locations: np.ndarray) -> PatchChoice:
        """Return `choice` with the weight of its place, as `choose` draws places."""
        weight = place_weight(
            locations,
            shape=self.properties_of(choice.case).shape,
            patch_size=self._patch_size,
            slice_index=choice.slice_index,
            start=choice.start,
            foreground_share=self._crop.foreground_share,
        )
        return dataclasses.replace(choice, weight=weight)

    def _choose_tagged(self, iteration: int, index: int) -> PatchChoice:
        """Choose a patch of an image that has image-level labels."""
        case, slice_index = self._tagged_image(iteration, index)
        properties = self.properties_of(case)
        shape = properties.shape if slice_index is None else properties.shape[1:]
        generator = self.generator("crop", iteration, index)
        start = self._start(case, shape, marked=None, generator=generator)
        return PatchChoice(case=case, rater=None, slice_index=slice_index, start=start)

    def _tagged_image(self, iteration: int, index: int) -> TaggedKey:
        turns = self._balanced_turns(iteration)
        if index in turns:
            offset = float(self.generator("images", iteration).random())
            return self._balanced_order.image_of(
                turns.index(index),
                batch_size=len(turns),
                offset=offset,
                drawn_before=self._num_balanced_before(iteration),
            )
        case = self._case_in_turn(iteration, index)
        images = self.properties_of(case).tagged_images(len(self._patch_size))
        generator = self.generator("slice", iteration, index)
        return case, images[int(generator.integers(len(images)))]

    def _balanced_turns(self, iteration: int) -> list[int]:
        """Return which samples of the batch are balanced."""
        if self._weak is None:
            return []
        first, share = iteration * self._batch_size, self._weak.clean_share
        return [
            index
            for index in range(self._batch_size)
            if not is_plain_turn(first + index, share=share)
        ]

    def _num_balanced_before(self, iteration: int) -> int:
        """Return how many samples of earlier iterations were balanced."""
        number = iteration * self._batch_size
        share = self._weak.clean_share if self._weak is not None else 1.0
        return number - num_plain_turns(number, share=share)

    @functools.cached_property
    def _balanced_order(self) -> BalancedOrder:
        properties = {case: self.properties_of(case) for case in self._cases}
        dimensions = len(self._patch_size)
        images = [
            (case, index)
            for case in self._cases
            for index in properties[case].tagged_images(dimensions)
        ]
        return BalancedOrder(images, properties)

    def _start(
        self,
        case: str,
        shape: Sequence[int],
        *,
        marked: Sequence[int] | None,
        generator: np.random.Generator,
    ) -> tuple[int, ...]:
        self._check_policy(case, shape)
        return tuple(
            patch_start(size, edge, marked=marked[axis] if marked else None, generator=generator)
            for axis, (size, edge) in enumerate(zip(shape, self._patch_size, strict=True))
        )

    def case_of(self, iteration: int, index: int) -> str:
        """Return the case that sample `index` of `iteration` shows."""
        if self.labels is None:
            return self._tagged_image(iteration, index)[0]
        return self._case_in_turn(iteration, index)

    def _case_in_turn(self, iteration: int, index: int) -> str:
        drawn_before = iteration * self._batch_size + index
        epoch, position = divmod(drawn_before, len(self._cases))
        order = _order_of_epoch(self.seed, epoch, num_cases=len(self._cases))
        return self._cases[order[position]]

    def generator(self, *parts: int | str) -> np.random.Generator:
        """Return random numbers of their own for what `parts` name."""
        return numpy_generator(self.seed, *parts)

    def properties_of(self, case: str) -> CaseProperties:
        """Return what is known of a case.

        Raises:
            DatasetError: it has nothing to learn from.
        """
        if case not in self._properties:
            properties = self.images.properties(case)
            if self.labels is not None and not properties.raters:
                raise DatasetError(f"case '{case}' has no label map; remove it from the split")
            if self.labels is None and not properties.tagged_images(len(self._patch_size)):
                raise DatasetError(
                    f"case '{case}' has no image-level label; add it to the table of image labels "
                    "and preprocess again, or remove it from the split"
                )
            self._properties[case] = properties
        return self._properties[case]

    def _check_policy(self, case: str, shape: Sequence[int]) -> None:
        is_too_large = any(size > edge for size, edge in zip(shape, self._patch_size, strict=True))
        if self._crop.policy == "whole" and is_too_large:
            raise PlansError(
                f"case '{case}': the crop policy is 'whole', but its shape {tuple(shape)} exceeds "
                f"the patch size {self._patch_size}; set crop.policy to 'random' or 'foreground'"
            )


@functools.lru_cache(maxsize=2)
def _order_of_epoch(seed: int, epoch: int, *, num_cases: int) -> np.ndarray:
    return numpy_generator(seed, "cases", epoch).permutation(num_cases)


def is_foreground_turn(crop: CropPlan, *, index: int, offset: float) -> bool:
    """Return whether sample `index` of a batch shows a marked voxel.

    Every batch holds the planned share, rounded up or down at random so that it is met on average.

    Args:
        offset: in [0, 1), drawn once for the batch.
    """
    share = crop.foreground_share
    return math.floor((index + 1) * share + offset) > math.floor(index * share + offset)


def marked_voxel(locations: np.ndarray, generator: np.random.Generator) -> tuple[int, ...] | None:
    """Draw a voxel that some rater marked: first a label, then a voxel of it.

    Args:
        locations: (n, 1 + axes) rows of label index and voxel, sorted by label.

    Returns:
        The voxel; None where nobody marked anything.
    """
    if not len(locations):
        return None
    present, first = np.unique(locations[:, 0], return_index=True)
    bounds = [*first, len(locations)]
    label = int(generator.integers(len(present)))
    row = int(generator.integers(bounds[label], bounds[label + 1]))
    return tuple(int(value) for value in locations[row, 1:])


def patch_start(size: int, edge: int, *, marked: int | None, generator: np.random.Generator) -> int:
    """Draw where a patch of `edge` voxels starts in an image of `size`, along one axis.

    A marked voxel lies anywhere in the patch with equal chance, as far as the image reaches. If it
    were always centred, it would tell the network where to look.
    """
    if size <= edge:
        return -((edge - size) // 2)
    low, high = 0, size - edge
    if marked is not None:
        low, high = start_limits(np.asarray(marked), size=size, edge=edge)
    return int(generator.integers(low, high + 1))
