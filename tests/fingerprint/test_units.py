"""Images whose intensities count in another unit than those of the others."""

import numpy as np
import pytest

from diffunet.fingerprint.accumulate import ChannelAccumulator
from diffunet.fingerprint.intensity import ChannelMeasurement, in_another_unit, measure_channel


def image(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a CT of air, tissue and an organ, and the mask of the organ."""
    generator = np.random.default_rng(seed)
    values = generator.normal(-1000, 20, (24, 24))
    values[4:20, 4:20] = generator.normal(40 + 10 * (seed % 3), 30, (16, 16))
    mask = np.zeros(values.shape, bool)
    mask[8:14, 8:14] = True
    values[mask] += 80
    return values, mask


def measured(seed: int, scale: float = 1.0, offset: float = 0.0) -> ChannelMeasurement:
    values, mask = image(seed)
    return measure_channel(scale * values + offset, mask, case=str(seed), num_drawn=1000)


@pytest.mark.parametrize(
    ("scale", "offset"), ((1.0, 1024.0), (1.0, -1024.0), (1 / 4000, 0.3), (0.001, 0.0))
)
def test_an_image_in_another_unit_is_found(scale: float, offset: float) -> None:
    cases = {str(seed): measured(seed) for seed in range(8)}
    assert in_another_unit(cases) == ()
    assert in_another_unit({**cases, "odd": measured(9, scale, offset)}) == ("odd",)


def test_few_images_say_nothing_about_each_other() -> None:
    cases = {str(seed): measured(seed) for seed in range(3)}
    assert in_another_unit({**cases, "odd": measured(9, 1.0, 1024.0)}) == ()


def test_the_fingerprint_names_them() -> None:
    channel = ChannelAccumulator("CT")
    for seed in range(8):
        channel.add(str(seed), measured(seed))
    channel.add("odd", measured(9, 1.0, 1024.0))
    found = channel.fingerprint(has_masks=True)
    assert (found.num_other_unit, found.other_unit_examples) == (1, ("odd",))
