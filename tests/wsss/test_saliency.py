import dataclasses

import numpy as np
import pytest
import torch

from diffunet.build import build_classifier
from diffunet.errors import UsageError
from diffunet.inference.activation_maps import class_activation_maps
from diffunet.inference.compute import Compute
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS, method_of_saliency, require_saliency
from diffunet.plans import CamPlan, MaskPlan, TrajectoryPlan
from diffunet.wsss.saliency.cg_diff import guided_anomaly
from diffunet.wsss.saliency.maps import (
    default_saliency,
    mirror_axes_of,
    num_draws_of,
    presence_probabilities,
    saliency_map,
    slice_images,
)
from tests.inference.models import dataset_content
from tests.wsss.weak_models import LEVEL, image_model, weak_configuration

CONFIGURATION = weak_configuration()
SHORT = TrajectoryPlan(log_snr=1.0, num_steps=2, num_draws=3)
COMPUTE = Compute(device=torch.device("cpu"))


def smooth_image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(image, *, networks=None, compute=COMPUTE, slices=None, label=0, **changed):
    num_slices = image.shape[1] if image.ndim == 4 else 1
    weak = {name: changed.pop(name) for name in list(changed) if name in ("cdm", "cam")}
    plan = dataclasses.replace(CONFIGURATION.weak, **{"cdm": SHORT, **weak})
    arguments = {
        "saliency": "cdm",
        "tags": torch.ones(num_slices, 1),
        "seed": 0,
        "case": "a",
        **changed,
    }
    return saliency_map(
        networks or [image_model()],
        image,
        plan=plan,
        patch_size=(16, 16),
        label=label,
        slices=range(num_slices) if slices is None else slices,
        compute=compute,
        **arguments,
    )


def test_a_map_lies_on_the_grid_of_the_image():
    for shape in ((20, 18), (3, 5, 16), (7, 40)):
        assert run(smooth_image(1, *shape)).shape == shape


def test_the_map_of_a_pixel_follows_from_its_intensity_where_there_is_hardly_any_noise():
    """With x_0_hat = x_t / 2 + tag gain relu(x_t) and one tiny step, x - x' is its share of x_0."""
    plan = TrajectoryPlan(log_snr=14.0, num_steps=1, log_snr_step=0.1, num_draws=1)
    image = torch.tensor([[[0.0, 1.0, -1.0, 2.0]]]).repeat(1, 4, 1)
    share = 1 - np.exp(-0.1 / 2)  # alpha_s (1 - exp((log_snr_t - log_snr_s) / 2)), alpha_s = 1
    expected = share * 0.1 * image[0].relu()
    assert torch.allclose(run(image, cdm=plan), expected, atol=2e-4)


def test_channels_are_added_up():
    plan = TrajectoryPlan(log_snr=14.0, num_steps=1, num_draws=1)
    one = smooth_image(1, 16, 16).abs()
    both = torch.cat([one, 2 * one])
    assert torch.allclose(run(both, cdm=plan), 3 * run(one, cdm=plan), atol=1e-3)


def test_a_map_does_not_depend_on_how_slices_and_draws_are_batched():
    image = smooth_image(1, 5, 16, 16)
    alone = run(image, compute=dataclasses.replace(COMPUTE, batch_voxels=1))
    for batch_size in (2, 4, 100):
        compute = dataclasses.replace(COMPUTE, batch_voxels=batch_size * 256)
        assert torch.allclose(run(image, compute=compute), alone, atol=1e-6)


def test_a_slice_has_the_same_map_whichever_others_are_asked_for():
    image = smooth_image(1, 5, 16, 16)
    some = run(image, slices=[3, 1])
    assert torch.allclose(some[[1, 3]], run(image)[[1, 3]], atol=1e-6)
    assert not some[[0, 2, 4]].any()


def test_no_slice_has_no_map():
    assert not run(smooth_image(1, 5, 16, 16), slices=[]).any()


def test_the_noise_depends_on_seed_case_and_slice():
    image = smooth_image(1, 1, 16, 16).expand(1, 2, 16, 16)
    first = run(image)
    assert torch.equal(run(image), first)
    assert not torch.allclose(first[0], first[1], atol=1e-4)
    for other in ({"seed": 1}, {"case": "b"}):
        assert not torch.allclose(run(image, **other), first, atol=1e-4)


def test_a_map_is_the_mean_over_the_draws():
    image = smooth_image(1, 16, 16)
    draws = [
        run(image, cdm=dataclasses.replace(SHORT, num_draws=count)) * count for count in (1, 2, 3)
    ]
    assert not torch.allclose(draws[1] - draws[0], draws[0], atol=1e-4)
    assert torch.allclose(draws[2] / 3, run(image), atol=1e-6)


def test_draws_take_turns_with_the_mirrored_images():
    """Draw 1 sees the image upside down; without noise to speak of, draws differ by that alone."""
    image = smooth_image(1, 16, 12)
    plan = TrajectoryPlan(log_snr=14.0, num_steps=1, log_snr_step=0.1, num_draws=2)
    networks = [image_model(is_skewed=True)]
    first = run(image, cdm=dataclasses.replace(plan, num_draws=1), networks=networks)
    upside_down = run(
        image.flip(1), cdm=dataclasses.replace(plan, num_draws=1), networks=networks
    ).flip(0)
    assert not torch.allclose(first, upside_down, atol=4e-3)
    found = run(image, cdm=plan, networks=networks, mirror_axes=(0, 1))
    assert torch.allclose(found, (first + upside_down) / 2, atol=5e-4)


@pytest.mark.parametrize("saliency", ["layer_cam", "cg_diff"])
def test_what_draws_no_noise_is_averaged_over_all_mirrorings(saliency):
    """Then a mirrored image has the mirrored map, whichever axis it is mirrored along."""
    scheme = LabelScheme.from_dataset_json(dataset_content())
    classifier = build_classifier(CONFIGURATION, num_image_channels=1, labels=scheme).eval()
    networks = [classifier if saliency == "layer_cam" else image_model(is_skewed=True)]
    image = smooth_image(1, 2, 16, 16)
    arguments = {"saliency": saliency, "networks": networks, "cam": CamPlan(is_smoothed=False)}
    plain = run(image, **arguments)
    found = run(image, mirror_axes=(0, 1), **arguments)
    for axes in ([1], [2], [1, 2]):
        shifted = [axis + 1 for axis in axes]
        assert not torch.allclose(run(image.flip(shifted), **arguments), plain.flip(axes))
        mirrored = run(image.flip(shifted), mirror_axes=(0, 1), **arguments)
        assert torch.allclose(mirrored, found.flip(axes), atol=1e-4)


def test_maps_are_mirrored_over_the_axes_of_augmentation_unless_the_plans_say_no():
    mirrored = dataclasses.replace(CONFIGURATION.augmentation, mirror_axes=(1,))
    for is_mirrored, expected in ((True, (1,)), (False, ())):
        weak = dataclasses.replace(CONFIGURATION.weak, is_mirrored=is_mirrored)
        configuration = dataclasses.replace(CONFIGURATION, augmentation=mirrored, weak=weak)
        assert mirror_axes_of(configuration) == expected


def test_presence_is_the_mean_over_the_mirrored_images():
    scheme = LabelScheme.from_dataset_json(dataset_content())
    classifier = build_classifier(CONFIGURATION, num_image_channels=1, labels=scheme).eval()
    image = smooth_image(1, 16, 16)
    arguments = {"plan": CONFIGURATION.weak, "patch_size": (16, 16), "compute": COMPUTE}
    found = presence_probabilities([classifier], image, mirror_axes=(1,), **arguments)
    each = [presence_probabilities([classifier], x, **arguments) for x in (image, image.flip(-1))]
    assert not torch.allclose(each[0], each[1])
    assert torch.allclose(found, (each[0] + each[1]) / 2)


def test_folds_are_averaged():
    image = smooth_image(1, 16, 16)
    folds = [image_model(gain=gain) for gain in (0.1, 0.3)]
    expected = sum(run(image, networks=[fold]) for fold in folds) / 2
    assert torch.allclose(run(image, networks=folds), expected, atol=1e-6)


def test_other_labels_condition_both_trajectories_as_they_are_tagged():
    image = smooth_image(1, 16, 16)
    networks = [image_model(2, interaction=1.0)]
    without, with_other = (
        run(image, networks=networks, tags=torch.tensor([[other, 1.0]]), label=1)
        for other in (0.0, 1.0)
    )
    assert float((without * with_other).sum()) > 0
    assert float(with_other.sum()) > 1.5 * float(without.sum())


def test_guided_maps_follow_the_classifier():
    image = smooth_image(1, 16, 16)
    assert not torch.allclose(run(image, saliency="cg_cdm"), run(image), atol=1e-5)


def test_cg_diff_is_the_guided_anomaly_of_the_padded_image():
    image = smooth_image(2, 20, 16)
    model, plan = image_model(), CONFIGURATION.weak.cg_diff
    tags = torch.ones(1, 1)
    expected = guided_anomaly(model, image[None], tags=tags, label=0, plan=plan).sum(dim=1)[0]
    assert torch.allclose(run(image, networks=[model], saliency="cg_diff"), expected, atol=1e-6)


@pytest.mark.parametrize("saliency", METHODS["classifier"].saliency)
def test_class_activation_maps_are_those_of_the_classifier(saliency):
    scheme = LabelScheme.from_dataset_json(dataset_content())
    classifier = build_classifier(CONFIGURATION, num_image_channels=1, labels=scheme).eval()
    image = smooth_image(1, 2, 16, 16)
    cam = CamPlan(is_smoothed=False)
    expected = class_activation_maps(
        classifier, image.movedim(0, 1), label=0, method=saliency, plan=cam
    )
    found = run(image, networks=[classifier], saliency=saliency, cam=cam)
    assert torch.allclose(found, expected.cpu(), atol=1e-4)


def test_small_slices_are_centred_in_zeros_as_patches_of_training_are():
    image = smooth_image(1, 4, 13, 20)
    images = slice_images(image, plan=CONFIGURATION.weak, patch_size=(16, 16))
    assert images.shape == (4, 1, 16, 20)
    assert torch.equal(images[:, 0, 1:14], image[0])
    assert not images[:, :, 0].any()
    assert not images[:, :, 14:].any()


def test_large_slices_are_padded_to_a_multiple_of_the_strides():
    images = slice_images(smooth_image(1, 17, 33), plan=CONFIGURATION.weak, patch_size=(16, 16))
    assert images.shape == (1, 1, 18, 34)


def test_presence_is_the_probability_of_the_classifier_per_slice():
    image = torch.zeros(1, 3, 8, 8)
    image[0, 1, 2, 2], image[0, 2, 3, 3] = 1.0, LEVEL
    found = presence_probabilities(
        [image_model()], image, plan=CONFIGURATION.weak, patch_size=(16, 16), compute=COMPUTE
    )
    assert found[:, 0].tolist() == pytest.approx(
        [1 / (1 + np.exp(5)), 1 / (1 + np.exp(-5)), 0.5], abs=1e-6
    )


def test_the_noised_classifier_is_asked_at_time_zero_and_in_batches():
    model = image_model()
    compute = dataclasses.replace(COMPUTE, batch_voxels=2 * 256)
    presence_probabilities(
        [model],
        torch.zeros(1, 5, 16, 16),
        plan=CONFIGURATION.weak,
        patch_size=(16, 16),
        compute=compute,
    )
    assert model.classifier.batch_sizes == [2, 2, 1]
    assert all(not times.any() for times in model.classifier.times)


def test_a_classifier_of_clean_images_is_asked_without_a_time():
    scheme = LabelScheme.from_dataset_json(dataset_content())
    classifier = build_classifier(CONFIGURATION, num_image_channels=1, labels=scheme).eval()
    image = smooth_image(1, 16, 16)
    found = presence_probabilities(
        [classifier], image, plan=CONFIGURATION.weak, patch_size=(16, 16), compute=COMPUTE
    )
    assert torch.allclose(found, classifier(image[None]).sigmoid())


def test_presence_is_the_mean_of_the_folds_probabilities():
    image = torch.zeros(1, 16, 16)
    folds = [image_model(shift=shift) for shift in (5.0, 25.0)]
    found = presence_probabilities(
        folds, image, plan=CONFIGURATION.weak, patch_size=(16, 16), compute=COMPUTE
    )
    assert float(found) == pytest.approx((0.5 + 1.0) / 2, abs=1e-6)


def test_every_saliency_has_the_method_that_makes_it():
    assert method_of_saliency("cg_diff") == "cdm"
    assert method_of_saliency("grad_cam++") == "classifier"


@pytest.mark.parametrize(
    "method, saliency, train",
    [("cdm", "grad_cam", "classifier"), ("classifier", "cdm", "cdm"), ("diffusion", "cdm", "cdm")],
)
def test_a_saliency_that_a_model_cannot_make_says_what_to_train(method, saliency, train):
    with pytest.raises(UsageError, match=rf"'{saliency}' needs a model trained with -m {train}, "):
        require_saliency(saliency, method=method)


def test_each_method_has_its_default_saliency():
    plan = dataclasses.replace(
        CONFIGURATION.weak, default_saliency="cg_diff", default_cam="score_cam", masks={}
    )
    assert plan.mask("cdm") == MaskPlan()
    assert default_saliency(plan, method="cdm") == "cg_diff"
    assert default_saliency(plan, method="classifier") == "score_cam"


def test_only_trajectories_draw_noise():
    plan = dataclasses.replace(CONFIGURATION.weak, cg_cdm=TrajectoryPlan(num_draws=5))
    names = ("cg_cdm", "cg_diff", "grad_cam")
    assert [num_draws_of(name, plan=plan) for name in names] == [5, 0, 0]
