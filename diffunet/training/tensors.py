"""From batches of the loading processes to tensors for a training step."""

import numpy as np
import torch

from diffunet.data.batches.batch_augment import BatchAugmentation, BatchPlace
from diffunet.data.batches.loader import Batch
from diffunet.data.batches.transfer import on_device
from diffunet.networks.memory_order import CHANNELS_LAST
from diffunet.training.objective import TensorBatch


def to_device(
    batch: Batch,
    device: torch.device,
    *,
    global_size: int,
    seed: int,
    augmentation: BatchAugmentation | None,
) -> TensorBatch:
    """Return a batch as tensors on `device`, images in the memory order that convolutions like.

    Args:
        seed: of the training.
        augmentation: changes still to make to the patches; None for none.
    """
    images, label_maps = on_device(batch.images, device), _all_label_maps(batch)
    if label_maps is not None:
        is_small = label_maps.dtype == np.uint8
        label_maps = on_device(label_maps if is_small else label_maps.astype(np.int32), device)
    if augmentation is not None:
        place = BatchPlace(
            seed=seed,
            iteration=batch.iteration,
            indices=batch.indices,
            global_size=global_size,
        )
        images, label_maps = augmentation(images, label_maps, place=place)
    return TensorBatch(
        images=images.contiguous(memory_format=CHANNELS_LAST[images.ndim - 2]),
        label_maps=None if label_maps is None else label_maps[:, 0],
        other_label_maps=None if label_maps is None else label_maps[:, 1:],
        num_others=batch.num_others,
        raters=batch.raters,
        tags=on_device(batch.tags, device),
        weights=None if batch.weights is None else on_device(batch.weights, device),
        iteration=batch.iteration,
        indices=batch.indices,
        global_size=global_size,
    )


def _all_label_maps(batch: Batch) -> np.ndarray | None:
    """Return label maps (sample, rater, *patch_size), that of the drawn rater first."""
    if batch.label_maps is None or batch.other_label_maps is None:
        return None if batch.label_maps is None else batch.label_maps[:, None]
    return np.concatenate([batch.label_maps[:, None], batch.other_label_maps], axis=1)
