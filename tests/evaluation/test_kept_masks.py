"""Drawn masks that are kept as bits until they are scored."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from diffunet.evaluation import kept_masks
from diffunet.evaluation.kept_masks import KeptMasks, stacked
from diffunet.evaluation.scores import score_case


def kept(masks: np.ndarray) -> KeptMasks:
    made = KeptMasks()
    for number in reversed(range(len(masks))):
        made.keep(number, masks[number])
    return made


@pytest.mark.parametrize("shape", [(5, 6, 11), (9, 7)])
@pytest.mark.parametrize("has_ignored", [False, True])
def test_scores_are_those_of_the_masks_in_an_array(shape, has_ignored, monkeypatch):
    monkeypatch.setattr(kept_masks, "VOXELS_PER_BLOCK", 2 * int(np.prod(shape[1:])))
    generator = np.random.default_rng(0)
    samples = generator.random((4, 2, *shape)) < 0.4
    raters = generator.random((3, 2, *shape)) < 0.3
    given = {
        "spacing_mm": (1.5,) * len(shape),
        "ignored": generator.random(shape) < 0.1 if has_ignored else None,
        "consensus": samples.mean(axis=0) > 0.5,
        "blob_volumes": [20.0, 30.0],
        "case": "a",
    }
    of_bits, of_array = (score_case(each, raters, **given) for each in (kept(samples), samples))
    for bits, array in zip(of_bits.labels, of_array.labels, strict=True):
        found, expected = dataclasses.asdict(bits), dataclasses.asdict(array)
        np.testing.assert_equal(found, expected)


def test_masks_take_an_eighth_of_their_memory():
    masks = np.zeros((2, 64, 64, 64), bool)
    tracemalloc.start()
    samples = KeptMasks()
    for number in range(8):
        samples.keep(number, masks)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 1.1 * 8 * masks.size / 8


def test_masks_of_another_shape_are_refused():
    samples = KeptMasks()
    samples.keep(0, np.zeros((1, 3, 4), bool))
    with pytest.raises(ValueError, match="expected masks of the shape"):
        samples.keep(1, np.zeros((1, 4, 4), bool))


def test_stacking_holds_the_samples_once():
    tracemalloc.start()
    samples = {number: np.full((1, 64, 64, 64), bool(number % 2)) for number in reversed(range(8))}
    made = stacked(samples)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not samples
    assert made.any(axis=(1, 2, 3, 4)).tolist() == [False, True] * 4
    assert size < 1.1 * made.nbytes
