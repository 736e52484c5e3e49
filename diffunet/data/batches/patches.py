"""Training samples: patches read from the stores where they were drawn, and augmented."""

from dataclasses import dataclass

import numpy as np

from diffunet.data.batches.augment import Augmentation
from diffunet.data.batches.boxes import pad, read_box
from diffunet.data.batches.places import PatchPlaces
from diffunet.randomness import derive_seed


@dataclass(frozen=True, kw_only=True)
class TrainingSample:
    """One augmented patch.

    Attributes:
        rater: name of the rater whose label map this is; empty without one.
        image: float32 (channel, *patch_size), normalised; 0 outside of the case.
        label_map: integers (*patch_size); background outside of the case. None where the method
            learns from image-level labels.
        other_label_maps: integers (rater, *patch_size) of the case's other raters, in their order;
            None where they are not asked for, or there is no label map.
        tags: float32 (class,), 0 or 1 per image-level label; empty where there is a label map.
        weight: how much its loss counts; 1 unless the crop policy is "foreground".
    """

    case: str
    rater: str
    image: np.ndarray
    label_map: np.ndarray | None
    tags: np.ndarray
    other_label_maps: np.ndarray | None = None
    weight: float = 1.0


class PatchSampler:
    """Reads training samples at `places`, and augments them as their configuration says.

    Args:
        all_raters: also read the label maps of the raters that were not drawn.
    """

    def __init__(self, places: PatchPlaces, *, all_raters: bool = False):
        self.places = places
        self._all_raters = all_raters
        plan = places.configuration
        self._augmentation = Augmentation(plan=plan.augmentation, patch_size=plan.patch_size)

    def case_of(self, iteration: int, index: int) -> str:
        """Return the case that sample `index` of `iteration` shows."""
        return self.places.case_of(iteration, index)

    def sample(self, iteration: int, index: int) -> TrainingSample:
        """Return sample `index` of the global batch of `iteration`, augmented."""
        places, patch_size = self.places, self.places.configuration.patch_size
        choice = places.choose(iteration, index)
        change = self._augmentation.draw_spatial(places.generator("spatial", iteration, index))
        source_shape = change.source_shape(patch_size)
        start = tuple(
            first - (source - edge) // 2
            for first, source, edge in zip(choice.start, source_shape, patch_size, strict=True)
        )
        properties = places.properties_of(choice.case)
        prefix = () if choice.slice_index is None else (choice.slice_index,)
        image = read_box(
            places.images.array(choice.case, "image"),
            (slice(None), *prefix),
            start=start,
            shape=source_shape,
        )
        label_maps, rater, tags = None, "", ()
        if places.labels is None or choice.rater is None:
            tags = properties.tags_of(choice.slice_index) or ()
        else:
            rater = properties.raters[choice.rater]
            raters = slice(choice.rater, choice.rater + 1)
            box = read_box(
                places.labels.array(choice.case, "labels"),
                (slice(None) if self._all_raters else raters, *prefix),
                start=start,
                shape=source_shape,
            )
            label_maps = pad(box.content, box.padding)
        changed_image, changed_label_maps = self._augmentation(
            pad(properties.normalized(image.content), image.padding),
            label_maps,
            change=change,
            seed=derive_seed(places.seed, "intensity", iteration, index),
        )
        label_map, other_label_maps = changed_label_maps, None
        if changed_label_maps is not None:
            drawn = choice.rater if self._all_raters and choice.rater is not None else 0
            label_map = changed_label_maps[drawn]
            if self._all_raters:
                other_label_maps = np.delete(changed_label_maps, drawn, axis=0)
        return TrainingSample(
            case=choice.case,
            rater=rater,
            image=changed_image,
            label_map=label_map,
            other_label_maps=other_label_maps,
            tags=np.array(tags, np.float32),
            weight=choice.weight,
        )
