import numpy as np
import pytest

from diffunet.evaluation.baselines import centre_blob
from diffunet.fingerprint.trivial import BLOB_DIAMETERS, NUM_BLOBS, trivial_geds
from diffunet.geometry import Box


def _disc(shape, centre, radius):
    grid = np.indices(shape)
    distance = sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True))
    return distance <= radius**2


def _geds(masks, spacing_mm=None):
    shape = masks.shape[1:]
    box = Box((0,) * len(shape), shape)
    return trivial_geds(masks, box=box, shape=shape, spacing_mm=spacing_mm or (1.0,) * len(shape))


def test_two_raters_of_whom_one_saw_nothing():
    masks = np.zeros((2, 16, 16), bool)
    masks[0, 2:6, 2:6] = True
    found = _geds(masks)
    # D_yy = 1/2; empty: 2 * 1/2 - 0 - 1/2; the majority (strictly more than half) is empty too
    assert found["always_empty"] == pytest.approx([0.5])
    assert found["oracle_majority"] == pytest.approx([0.5])
    assert found["oracle_redraw"] == pytest.approx([0.5 / 16])


def test_one_rater_is_his_own_majority():
    masks = _disc((20, 20), (5, 5), 3)[None]
    found = _geds(masks)
    assert found["oracle_majority"] == pytest.approx([0])
    assert found["oracle_redraw"] == pytest.approx([0])
    assert found["always_empty"] == pytest.approx([2])


def test_nobody_saw_anything():
    found = _geds(np.zeros((3, 8, 8), bool))
    assert found["always_empty"] == pytest.approx([0])
    assert found["centre_blob"] == pytest.approx([2] * NUM_BLOBS)


def test_the_redraw_is_the_mean_ged_of_many_redraws():
    masks = np.stack([_disc((24, 24), (12, 10 + k), 3 + k) for k in range(3)])
    flat = masks.reshape(3, -1).astype(float)
    shared = flat @ flat.T
    volumes = np.diag(shared)
    distance = 1 - shared / (volumes[:, None] + volumes - shared)
    generator = np.random.default_rng(0)
    geds = []
    for _ in range(4000):
        drawn = generator.integers(0, 3, 16)
        geds.append(
            2 * distance[drawn].mean() - distance[np.ix_(drawn, drawn)].mean() - distance.mean()
        )
    assert _geds(masks)["oracle_redraw"][0] == pytest.approx(np.mean(geds), rel=0.05)


@pytest.mark.parametrize(
    ("shape", "spacing_mm"), [((64, 80), (1.0, 1.0)), ((20, 60, 40), (2.0, 1.0, 1.5))]
)
def test_centred_blobs_score_as_their_masks_do(shape, spacing_mm):
    grid = np.indices(shape)
    rater = (
        sum(
            ((axis - size / 2 + 3) * step) ** 2
            for axis, size, step in zip(grid, shape, spacing_mm, strict=True)
        )
        <= 12**2
    )
    found = _geds(rater[None], spacing_mm)["centre_blob"]
    smallest = min(size * step for size, step in zip(shape, spacing_mm, strict=True))
    unit = np.pi if len(shape) == 2 else 4 * np.pi / 3
    for index in range(5, NUM_BLOBS):
        volume = unit * (BLOB_DIAMETERS[index] * smallest / 2) ** len(shape)
        blob = centre_blob(shape, spacing_mm=spacing_mm, volume=volume)
        iou = (blob & rater).sum() / (blob | rater).sum()
        assert found[index] == pytest.approx(2 * (1 - iou), abs=0.05)


def test_a_box_of_the_masks_gives_what_the_image_gives():
    masks = np.stack([_disc((40, 40), (18, 22), 5), _disc((40, 40), (20, 22), 7)])
    box = Box.of_mask(masks.any(axis=0))
    assert box is not None
    part = trivial_geds(
        masks[(slice(None), *box.slices)], box=box, shape=(40, 40), spacing_mm=(1.0, 1.0)
    )
    for name, geds in _geds(masks).items():
        assert part[name] == pytest.approx(geds)
