"""What a supervised model answers for a stored case."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffunet.data.store.case import CaseProperties, IntensityNormalization
from diffunet.geometry import Box
from diffunet.inference.compute import Compute
from diffunet.inference.prepared import PreparedImage
from diffunet.labels import LabelScheme
from diffunet.plans import SamplingPlan
from diffunet.training.final_validation import VALIDATION_OPTIONS, drawn_masks
from tests.training.folds import SIZE, plans

LEFT = np.arange(SIZE) < SIZE // 2


class Left(nn.Module):
    """Is sure of the last channel on the left half, and rather of the first on the right."""

    def __init__(self, num_channels: int):
        super().__init__()
        self.num_channels = num_channels

    def forward(self, image: Tensor) -> Tensor:
        logits = torch.zeros(len(image), self.num_channels, *image.shape[2:])
        logits[:, 0] = 0.5
        logits[:, -1] = torch.from_numpy(np.where(LEFT, 5.0, -1.0))
        return logits


def answer(labels: LabelScheme, *, is_mirrored: bool = False) -> np.ndarray:
    resolved = plans(method="supervised", sampling=SamplingPlan(is_mirrored=is_mirrored))
    data = SimpleNamespace(
        plans=resolved, labels=labels, compute=Compute(device=torch.device("cpu"))
    )
    properties = CaseProperties(
        case="a",
        patient="a",
        original_shape=(SIZE, SIZE),
        original_spacing_mm=(1.0, 1.0),
        transpose_forward=(0, 1),
        crop_box=Box(start=(0, 0), stop=(SIZE, SIZE)),
        shape=(SIZE, SIZE),
        spacing_mm=(1.0, 1.0),
        normalization=(IntensityNormalization(),),
        is_normalized=True,
    )
    return drawn_masks(
        data,  # pyright: ignore  # all that is asked of it
        Left(len(labels.names) + (len(labels.names) > 1)),
        PreparedImage(image=torch.zeros(1, SIZE, SIZE), properties=properties),
        options=VALIDATION_OPTIONS,
    )


def test_the_probability_of_background_is_no_label():
    two = LabelScheme(names=("a", "b"), values=((1,), (2,)))
    masks = answer(two)
    assert masks.shape == (1, 2, SIZE, SIZE)
    assert not masks[0, 0].any()
    np.testing.assert_array_equal(masks[0, 1], np.broadcast_to(LEFT, (SIZE, SIZE)))


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_mirror_images_are_averaged_if_the_plans_say_so(is_mirrored):
    """The mean of a sure and a doubtful answer is above one half: everything is marked."""
    masks = answer(LabelScheme(names=("a",), values=((1,),)), is_mirrored=is_mirrored)
    expected = np.ones(SIZE, bool) if is_mirrored else LEFT
    np.testing.assert_array_equal(masks[0, 0], np.broadcast_to(expected, (SIZE, SIZE)))
