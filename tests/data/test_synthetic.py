import dataclasses

import numpy as np
import pytest

from diffunet.data.synthetic import Lesion, Scene, SceneFamily, scene_of_case

SIZE = (64, 64)
FAMILY = SceneFamily(size=SIZE)
LESION = Lesion(centre=(30.0, 34.0), radii=(8.0, 6.0), angle=0.4, presence=0.7, halo=0.25)


def scene(family=FAMILY, **changes):
    return Scene(family=family, lesions=(dataclasses.replace(LESION, **changes),))


def test_masks_are_drawn_with_the_true_probabilities():
    generator = np.random.default_rng(0)
    drawn = np.bincount([scene().draw(0, generator) for _ in range(5000)], minlength=3) / 5000
    assert scene().probabilities() == pytest.approx([0.3, 0.525, 0.175])
    assert drawn == pytest.approx([0.3, 0.525, 0.175], abs=0.02)


def test_the_core_has_the_area_of_its_ellipse_and_lies_in_the_halo():
    masks = scene().outcomes() > 0
    assert not masks[0].any()
    assert masks[1].sum() == pytest.approx(np.pi * 8 * 6, rel=0.03)
    assert masks[2].sum() == pytest.approx(np.pi * 8 * 6 * 1.6**2, rel=0.03)
    assert not (masks[1] & ~masks[2]).any()


def test_a_volume_shows_ellipsoids():
    family = SceneFamily(size=(24, 40, 40))
    core = scene(family, centre=(12.0, 20.0, 18.0), radii=(5.0, 8.0, 6.0)).outcomes()[1]
    assert core.sum() == pytest.approx(4 / 3 * np.pi * 5 * 8 * 6, rel=0.03)


def test_more_outlines_lie_in_one_another_and_share_the_presence():
    family = dataclasses.replace(FAMILY, num_outlines=5)
    masks, probabilities = scene(family).outcomes() > 0, scene(family).probabilities()
    assert list(np.diff(masks.sum(axis=(1, 2))) > 0) == [True] * 5
    assert all((masks[k] <= masks[k + 1]).all() for k in range(5))
    assert probabilities[1:].sum() == pytest.approx(0.7)
    assert probabilities[2:] / probabilities[1:-1] == pytest.approx([(0.25 / 0.75) ** 0.25] * 4)


def test_a_lesion_that_more_raters_see_is_brighter():
    def brightness(presence):
        sure = scene(presence=presence)
        return sure.render(np.random.default_rng(1))[sure.outcomes()[1] > 0].mean()

    assert brightness(0.2) < brightness(0.5) < brightness(0.9)


def test_lesions_of_the_second_label_are_darker_than_what_is_around_them():
    image = scene(label=1).render(np.random.default_rng(1))
    core = scene(label=1).outcomes()[1] == 2
    assert image[core].mean() < image[~core].mean() - 20


def test_several_lesions_are_seen_one_apart_from_the_other():
    other = dataclasses.replace(LESION, centre=(12.0, 12.0), presence=0.4, label=1)
    both = Scene(family=dataclasses.replace(FAMILY, num_labels=2), lesions=(LESION, other))
    maps, probabilities = both.outcomes(), both.probabilities()
    has_first, has_second = ((maps == value).any(axis=(1, 2)) for value in (1, 2))
    assert len(maps) == 9
    assert probabilities[has_first].sum() == pytest.approx(0.7)
    assert probabilities[has_second].sum() == pytest.approx(0.4)
    assert probabilities[has_first & has_second].sum() == pytest.approx(0.28)


def test_bold_raters_see_more_and_draw_all_lesions_further_out():
    family = dataclasses.replace(FAMILY, num_styles=3)
    other = dataclasses.replace(LESION, centre=(12.0, 12.0))
    cautious, plain, bold = (scene(family).probabilities(style) for style in range(3))
    assert plain == pytest.approx([0.3, 0.525, 0.175])
    assert cautious[0] > 0.3 > bold[0]
    assert cautious[2] / cautious[1] < plain[2] / plain[1] < bold[2] / bold[1]
    assert scene(family).probabilities() == pytest.approx((cautious + plain + bold) / 3)
    both = Scene(family=family, lesions=(LESION, other)).probabilities()
    assert both[8] > scene(family).probabilities()[2] ** 2 * 1.2  # one rater's masks go together


def test_a_rater_keeps_his_style():
    family = dataclasses.replace(FAMILY, num_styles=2, style_strength=3.0)
    generator = np.random.default_rng(0)
    nothing = [np.mean([scene(family).draw(k, generator) == 0 for _ in range(500)]) for k in (0, 3)]
    expected = [scene(family).probabilities(style)[0] for style in (0, 1)]
    assert nothing == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    "family",
    [
        FAMILY,
        SceneFamily(size=(20, 32, 32), num_lesions=(1, 2)),
        SceneFamily(size=(64, 64), num_lesions=(3, 3), radius=(0.05, 0.08), num_labels=2),
    ],
    ids=["demo", "volumes", "several"],
)
def test_scenes_are_a_function_of_the_case_and_stay_inside_the_image(family):
    assert scene_of_case("a", family, seed=0) == scene_of_case("a", family, seed=0)
    assert scene_of_case("a", family, seed=0) != scene_of_case("b", family, seed=0)
    for index in range(20):
        made = scene_of_case(f"c{index}", family, seed=3)
        marked = np.argwhere(made.outcomes().any(axis=0))
        assert marked.min() > 0
        assert (marked < np.array(family.size) - 1).all()
        for first, lesion in enumerate(made.lesions):
            rest = Scene(family=family, lesions=made.lesions[first + 1 :]).outcomes().any(axis=0)
            assert not (lesion.outlines(family.size, 2)[-1] & rest).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (8,)},
        {"radius": (0.2, 0.1)},
        {"size": (16, 32, 32), "radius": (0.2, 0.3)},
        {"num_labels": 3},
        {"num_outlines": 1},
        {"num_styles": 0},
        {"num_lesions": (0, 9)},
    ],
)
def test_families_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="expected|should|outcomes"):
        SceneFamily(**wrong)
