import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from diffunet.errors import PlansError
from diffunet.inference.activation_maps import (
    class_activation_maps,
    first_principal_component,
    weighted_by_masked_scores,
    weighted_by_positive_gradients,
)
from diffunet.inference.compute import Compute
from diffunet.networks.classification import ClassificationNetwork
from diffunet.networks.unet import UNetShape
from diffunet.plans import CamPlan
from diffunet.wsss.masks.pseudo_masks import otsu_threshold

METHODS = ("grad_cam", "grad_cam++", "score_cam", "layer_cam")
SMOOTHED = CamPlan(stage=-1, is_smoothed=True)
PLAIN = CamPlan(stage=-1, is_smoothed=False)

SHAPE = UNetShape(
    channels=(4, 6, 8),
    strides=((1, 1), (2, 2), (2, 2)),
    kernel_sizes=((3, 3),) * 3,
    num_blocks=(1, 1, 1),
    num_decoder_blocks=(1, 1, 1),
    num_middle_blocks=1,
    has_attention=(False, False, True),
    num_heads=2,
    num_groups=2,
    dropout=0.0,
    embedding_dim=None,
)

# Two feature maps of three voxels, and the gradient of the logit in each.
MAPS = ((0.0, 2.0, 4.0), (1.0, 0.0, 1.0))
GRADIENTS = ((1.0, -1.0, 3.0), (2.0, -4.0, -1.0))


class TinyClassifier(ClassificationNetwork):
    """Two functions in place of a network: image to feature maps, feature maps to the one logit."""

    def __init__(self, to_logit, *, to_maps=lambda image: image):
        torch.nn.Module.__init__(self)
        self.to_maps = to_maps
        self.to_logit = to_logit

    def feature_maps(self, image, t=None):
        return (self.to_maps(image),)

    def logits_of(self, maps):
        return self.to_logit(maps[-1])[:, None]


def linear(gradients, dimensions=2):
    weights = on_a_line(gradients, dimensions)
    return lambda maps: (weights * maps).flatten(1).sum(dim=1)


def on_a_line(channels, dimensions=2):
    values = torch.tensor(channels)
    return values.reshape(1, len(values), *(1,) * (dimensions - 1), -1)


def network(**changes):
    torch.manual_seed(0)
    made = ClassificationNetwork(
        num_image_channels=2,
        num_classes=3,
        shape=SHAPE,
        has_time=changes.get("has_time", False),
    )
    for parameter in made.parameters():
        parameter.data.normal_(0, 0.4)
    return made.eval()


def images():
    return torch.randn(4, 2, 16, 24, generator=torch.Generator().manual_seed(1))


def score_cam_by_hand():
    # Masks (0, .5, 1) and (1, 0, 1) leave logits of 10 and 13.
    first = 1 / (1 + math.exp(3))
    return (1 - first, 2 * first, 4 * first + 1 - first)


def scaled(values):
    rectified = np.maximum(values, 0)
    return (rectified - rectified.min()) / (rectified.max() - rectified.min())


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    "method, expected",
    [
        ("grad_cam", (-1, 2, 3)),  # weights 1 and -1
        ("grad_cam++", (1 / 3, 0.55, 1.1 + 1 / 3)),  # weights 1/8 + 3/20 and 2/6
        ("score_cam", score_cam_by_hand()),
        ("layer_cam", (2, 0, 12)),
    ],
)
def test_a_map_is_the_papers_formula(method, expected, dimensions):
    found = class_activation_maps(
        TinyClassifier(linear(GRADIENTS, dimensions)),
        on_a_line(MAPS, dimensions),
        label=0,
        method=method,
        plan=PLAIN,
    )
    assert found.shape == (1, *(1,) * (dimensions - 1), 3)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.flatten(), scaled(np.array(expected)), atol=1e-6)


def test_a_negative_sum_of_a_feature_map_gives_grad_cam_plus_plus_no_pole():
    maps, gradients = on_a_line([[-2.0, -1.0, 1.0]]), on_a_line([[1.0, -1.0, 0.0]])
    weighted = weighted_by_positive_gradients(maps, gradients)
    torch.testing.assert_close(weighted, 0.5 * maps)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_is_of_the_label_asked_for(method):
    classifier = network()
    maps = [
        class_activation_maps(classifier, images(), label=label, method=method, plan=PLAIN)
        for label in (0, 1)
    ]
    assert (maps[0] - maps[1]).abs().max() > 1e-3


def test_a_coarse_map_is_interpolated_between_the_centres_of_its_voxels():
    classifier = TinyClassifier(
        linear([[1.0, 1.0]]), to_maps=lambda image: functional.avg_pool2d(image, (1, 2))
    )
    image = on_a_line([[0.0, 0.0, 8.0, 8.0]])
    found = class_activation_maps(classifier, image, label=0, method="grad_cam", plan=PLAIN)
    np.testing.assert_allclose(found.flatten(), [0, 0.25, 0.75, 1], atol=1e-6)


def test_score_cam_masks_images_with_maps_whose_corners_are_the_images():
    # The masks are (0, 1/3, 2/3, 1) and its mirror image: logits 5 and 1.
    classifier = TinyClassifier(
        linear([[0.0, 6.0], [0.0, 0.0]]),
        to_maps=lambda image: functional.avg_pool2d(image, (1, 2)),
    )
    image = on_a_line([[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
    maps = classifier.feature_maps(image)[0]
    weighted = weighted_by_masked_scores(maps, classifier, image, label=0)
    first = 1 / (1 + math.exp(-4))
    torch.testing.assert_close(weighted, on_a_line([[0.0, first], [1 - first, 0.0]]))


def test_a_constant_feature_map_hides_the_whole_image_from_score_cam():
    classifier = TinyClassifier(linear([[1.0, 1.0], [0.0, 0.0]]))
    image = on_a_line([[0.0, 2.0], [3.0, 3.0]])
    weighted = weighted_by_masked_scores(image, classifier, image, label=0)
    first = 1 / (1 + math.exp(-2))  # logits 2 and 0
    torch.testing.assert_close(weighted, on_a_line([[0.0, 2 * first], [3 * (1 - first)] * 2]))


def test_a_smoothed_map_averages_the_image_and_its_mirror_image():
    # Weighted and centred: (-2, 4, -2) / 3 of the image; (2, 0, -2) of its mirror image.
    found = class_activation_maps(
        TinyClassifier(linear([[1.0, 1.0, 0.0]])),
        on_a_line([[0.0, 2.0, 4.0]]),
        label=0,
        method="layer_cam",
        plan=SMOOTHED,
    )
    np.testing.assert_allclose(found.flatten(), [0, 0.5, 0.5], atol=1e-6)


def test_a_smoothed_map_averages_three_intensities():
    # The gradient is 1 where a voxel passes the classifier's threshold of 1, and 0 elsewhere.
    values = np.array([0.0, 0.0, 0.0, 0.88, 0.95, 1.05, 1.15, 2.0])
    found = class_activation_maps(
        TinyClassifier(lambda maps: (maps - 1).clamp_min(0).flatten(1).sum(dim=1)),
        on_a_line([values.tolist()]),
        label=0,
        method="layer_cam",
        plan=SMOOTHED,
    )
    weighted = [np.where(factor * values > 1, factor * values, 0) for factor in (0.9, 1, 1.1)]
    expected = np.mean([scaled(each - each.mean()) for each in weighted], axis=0)
    np.testing.assert_allclose(found.flatten(), expected, atol=1e-6)


@pytest.mark.parametrize("num_channels", [1, 5, 40])
def test_the_principal_component_is_numpys_up_to_a_positive_factor(num_channels):
    maps = np.random.default_rng(0).normal(size=(3, num_channels, 4, 6)).astype(np.float32)
    found = first_principal_component(torch.from_numpy(maps)).numpy()
    for each, component in zip(maps, found, strict=True):
        rows = each.reshape(num_channels, -1).T.astype(np.float64)
        centred = rows - rows.mean(axis=0)
        expected = centred @ np.linalg.svd(centred)[2][0]
        expected *= np.sign(expected @ rows.sum(axis=1))
        unit = [part / np.linalg.norm(part) for part in (component.ravel(), expected)]
        np.testing.assert_allclose(*unit, atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_principal_component_is_high_where_the_sum_of_channels_is(sign):
    maps = sign * on_a_line([[0.0, 0.0, 5.0], [0.0, 1.0, 1.0]])
    component = first_principal_component(maps).flatten()
    assert (component.argmax() if sign > 0 else component.argmin()) == 2


def test_maps_that_are_constant_have_no_principal_component():
    maps = torch.tensor([0.1, 0.7]).reshape(1, 2, 1, 1).expand(1, 2, 7, 9)
    assert not first_principal_component(maps).any()


@pytest.mark.parametrize(
    "values, plan",
    [
        ((-1.0, -2.0, -3.0), PLAIN),
        ((0.7, 0.7, 0.7), PLAIN),
        ((0.7, 0.7, 0.7), SMOOTHED),
        ((0.0, 0.0, 0.0), PLAIN),
        ((0.0, 0.0, 0.0), SMOOTHED),
    ],
)
def test_a_map_without_a_positive_value_or_without_variation_is_0(values, plan):
    classifier = TinyClassifier(linear([[1.0, 1.0, 1.0]]))
    found = class_activation_maps(
        classifier, on_a_line([values]), label=0, method="grad_cam", plan=plan
    )
    assert not found.any()


def test_a_constant_map_stays_0_where_interpolation_rounds():
    classifier = TinyClassifier(
        lambda maps: maps.flatten(1).sum(dim=1),
        to_maps=lambda image: functional.adaptive_avg_pool2d(image, (5, 7)),
    )
    image = torch.full((1, 1, 23, 37), 0.7)
    found = class_activation_maps(classifier, image, label=0, method="grad_cam", plan=PLAIN)
    assert not found.any()


@pytest.mark.parametrize("plan", [CamPlan(is_smoothed=False), CamPlan(is_smoothed=True)])
@pytest.mark.parametrize("method", METHODS)
def test_the_map_of_an_image_does_not_depend_on_the_batch(method, plan, monkeypatch):
    classifier = network()
    together = class_activation_maps(classifier, images(), label=1, method=method, plan=plan)
    monkeypatch.setattr(Compute, "batch_size", lambda self, tile: 5)
    apart = [
        class_activation_maps(classifier, image[None], label=1, method=method, plan=plan)
        for image in images()
    ]
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-5, rtol=0)


@pytest.mark.parametrize("plan", [PLAIN, SMOOTHED])
@pytest.mark.parametrize("method", METHODS)
def test_the_classifier_never_sees_more_than_the_bound_of_voxels(method, plan, monkeypatch):
    monkeypatch.setattr(Compute, "batch_size", lambda self, tile: 3)
    classifier, seen = network(), []
    classifier.body.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    class_activation_maps(classifier, images(), label=0, method=method, plan=plan)
    assert max(seen) == 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("is_frozen", [True, False])
def test_weights_get_no_gradients_and_need_none(method, is_frozen):
    classifier = network().requires_grad_(not is_frozen)
    with torch.no_grad():
        found = class_activation_maps(
            classifier, images(), label=0, method=method, plan=CamPlan(is_smoothed=False)
        )
    assert not found.requires_grad
    assert found.amax() == 1
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_half_precision_of_the_network_leaves_the_map_in_float32():
    exact = class_activation_maps(
        network(), images(), label=0, method="layer_cam", plan=CamPlan(stage=-2)
    )
    with torch.autocast("cpu", torch.bfloat16):
        rounded = class_activation_maps(
            network(), images(), label=0, method="layer_cam", plan=CamPlan(stage=-2)
        )
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=0.1, rtol=0)


@pytest.mark.parametrize("stage", [3, -4])
def test_a_stage_that_the_classifier_has_not_is_an_error_of_the_plans(stage):
    with pytest.raises(PlansError, match=rf"cam.stage should be in \[-3, 2\].*found {stage}"):
        class_activation_maps(
            network(), images(), label=0, method="grad_cam", plan=CamPlan(stage=stage)
        )


def test_a_classifier_of_noised_images_is_refused():
    classifier = network(has_time=True)
    with pytest.raises(ValueError, match="takes a time"):
        class_activation_maps(classifier, images(), label=0, method="grad_cam", plan=PLAIN)


@pytest.mark.parametrize("is_smoothed", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_map_finds_the_object_that_makes_the_logit(method, is_smoothed):
    y, x = np.mgrid[:64, :64]
    is_object = (y - 20) ** 2 + (x - 42) ** 2 < 10**2
    texture = np.random.default_rng(0).normal(0, 0.2, size=(64, 64))
    image = torch.from_numpy(is_object + texture).float()[None, None]
    found = class_activation_maps(
        TinyClassifier(lambda maps: maps[:, 0].mean(dim=(1, 2)), to_maps=brightness_and_texture),
        image,
        label=0,
        method=method,
        plan=dataclasses.replace(PLAIN, is_smoothed=is_smoothed),
    )[0].numpy()
    mask = found > otsu_threshold(found)
    assert 2 * (mask & is_object).sum() / (mask.sum() + is_object.sum()) > 0.8


def brightness_and_texture(image):
    """Feature maps at a quarter of the resolution: what is bright, and how it varies."""
    mean = functional.avg_pool2d(image, 4)
    spread = functional.avg_pool2d(image**2, 4) - mean**2
    return torch.cat([mean.clamp_min(0), spread], dim=1)
