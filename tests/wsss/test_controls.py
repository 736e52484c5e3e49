import numpy as np
import pytest
from scipy import ndimage

from diffunet.wsss.choice.controls import NUM_CONTROLS, body_of, control_masks
from diffunet.wsss.choice.erasure import erasure_gain, with_controls
from diffunet.wsss.choice.gains import Gains

SHAPE = (48, 56)
ROWS, COLUMNS = np.indices(SHAPE)
BODY = np.hypot((ROWS - 23.5) / 20, (COLUMNS - 27.5) / 25) < 1


def disc(row: float, column: float, radius: float = 4.0) -> np.ndarray:
    return np.hypot(ROWS - row, COLUMNS - column) < radius


OBJECTS = {
    "lateral": disc(20, 40),
    "midline": disc(23.5, 27.5),
    "across the midline": disc(30, 25, 5),
    "paired": disc(24, 12) | disc(24, 43),
    "paired, uneven": disc(22, 13, 5) | disc(26, 42, 3),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_controls_are_whole_copies_in_the_body_that_avoid_the_mask_and_each_other(name):
    mask = OBJECTS[name]
    controls = control_masks(mask, BODY)
    assert len(controls) == NUM_CONTROLS
    assert np.sum([mask, *controls], axis=0).max() == 1
    for control in controls:
        assert np.count_nonzero(control) == np.count_nonzero(mask)
        assert np.count_nonzero(control & BODY) >= 0.9 * np.count_nonzero(mask & BODY)


def test_the_first_control_of_a_lateral_mask_is_its_mirror_image():
    mask = OBJECTS["lateral"]
    np.testing.assert_array_equal(control_masks(mask, BODY)[0], mask[:, ::-1])


def test_copies_keep_a_gap_from_the_mask():
    """Moves are by three voxels here: the mirror image of a bar on the midline is the bar, and the
    nearest copies that do not overlap with it would touch it."""
    mask = (np.abs(ROWS - 23.5) < 8) & (np.abs(COLUMNS - 27.5) < 2)
    near = ndimage.binary_dilation(mask, iterations=2)
    for control in control_masks(mask, BODY):
        assert not (control & near).any()


def test_what_has_to_move_moves_no_further_than_it_must():
    mask = OBJECTS["midline"]
    middles = [np.argwhere(control).mean(axis=0) for control in control_masks(mask, BODY)]
    moves = [np.hypot(*(middle - np.argwhere(mask).mean(axis=0))) for middle in middles]
    assert moves == sorted(moves)
    assert moves[0] < 12


def test_a_copy_outside_of_the_body_is_no_control():
    mask = disc(20, 40)
    body = BODY & (COLUMNS > 20)
    for control in control_masks(mask, body):
        assert np.count_nonzero(control & body) >= 0.9 * np.count_nonzero(mask)
        assert not (control & mask[:, ::-1]).any()


@pytest.mark.parametrize("mask", [BODY, np.ones(SHAPE, bool), np.zeros(SHAPE, bool)])
def test_a_mask_without_room_for_a_copy_is_compared_with_its_mirror_image(mask):
    (control,) = control_masks(mask, BODY)
    np.testing.assert_array_equal(control, mask[:, ::-1])


def test_a_mask_as_large_as_the_body_explains_nothing_though_it_holds_the_object():
    assert gain(["lateral"], BODY) == pytest.approx(0, abs=1e-6)


def test_body_is_what_even_background_surrounds():
    image = np.where(BODY, 50 + 10 * np.sin(COLUMNS), 0.3 * np.cos(ROWS))[None]
    np.testing.assert_array_equal(body_of(image.astype(np.float32)), BODY)


def test_dark_places_within_the_body_belong_to_it():
    image = np.where(BODY & ~disc(23, 27), 50.0, 0.0)[None].astype(np.float32)
    np.testing.assert_array_equal(body_of(image), BODY)


def test_a_picture_without_background_is_body_everywhere():
    image = np.random.default_rng(0).random((3, *SHAPE)).astype(np.float32)
    assert body_of(image).all()
    assert body_of(np.full((1, *SHAPE), 3.0, np.float32)).all()


def gain(shown: list[str], mask: np.ndarray) -> float:
    """Return the gain by a classifier that counts what is left of the objects in an image."""
    objects = np.any([OBJECTS[name] for name in shown], axis=0)
    image = np.where(objects, 3.0, np.where(BODY, 1.0, 0.0))[None].astype(np.float32)
    changed = with_controls(image, mask, body_of(image))
    return erasure_gain([float((each[:, objects] > 2).sum()) / 10 for each in changed])


@pytest.mark.parametrize("name", OBJECTS)
def test_erasing_an_object_explains_it_wherever_it_lies(name):
    assert gain([name], OBJECTS[name]) == pytest.approx(OBJECTS[name].sum() / 10)


def test_one_of_a_pair_explains_its_part_and_both_explain_more_for_their_size():
    masks = [disc(24, 12), OBJECTS["paired"], OBJECTS["paired"] | disc(24, 28, 10)]
    gains = Gains(
        gain=np.array([[gain(["paired"], mask) for mask in masks]]),
        area=np.array([[mask.mean() for mask in masks]]),
    )
    assert gains.gain[0, 0] == pytest.approx(gains.gain[0, 1] / 2)
    assert gains.best() == 1


def test_what_lies_beside_an_object_explains_nothing():
    assert gain(["midline"], disc(23.5, 40)) <= 0


def test_one_control_that_hits_another_object_does_not_count():
    assert erasure_gain([1.0, 1.5, 5.0, 5.2]) == pytest.approx(4.0)
