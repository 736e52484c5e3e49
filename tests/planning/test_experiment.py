import dataclasses
import logging
from typing import Any

import pytest

from diffunet.errors import DatasetError, PlansError
from diffunet.planning.experiment import plan_experiment
from diffunet.plans import Plans
from tests.planning.fingerprints import (
    a_channel,
    a_disagreement,
    a_fingerprint,
    a_geometry,
    a_label,
    a_summary,
    an_image_label,
    an_object,
)

CONTENT = {"labels": {"background": 0, "lesion": 1}}


def a_volume_fingerprint(**changes: Any):
    values = {
        "dimensions": 3,
        "slice_axis": 0,
        "geometry": a_geometry((36, 51, 35), largest=(46, 58, 43)),
        "labels": {"lesion": a_label(objects_of_slice=an_object(10))},
    }
    return a_fingerprint(**(values | changes))


def a_tagged_fingerprint(**changes: Any):
    values = {
        **{"labels": None, "raters": None, "trivial_answers": None},
        "image_labels": {"lesion": an_image_label()},
    }
    return a_fingerprint(**(values | changes))


@pytest.fixture(scope="module")
def lidc() -> Plans:
    label = a_label(
        disagreement=a_disagreement(), objects=an_object(10.94), centre_distance=a_summary(0.04)
    )
    return plan_experiment(a_fingerprint(num_cases=8063, labels={"lesion": label}), CONTENT)


@pytest.fixture(scope="module")
def volumes() -> Plans:
    return plan_experiment(a_volume_fingerprint(), CONTENT)


@pytest.fixture(scope="module")
def tagged() -> Plans:
    return plan_experiment(a_tagged_fingerprint(), CONTENT)


@pytest.fixture(scope="module")
def tagged_volumes() -> Plans:
    fingerprint = a_volume_fingerprint(
        labels=None,
        raters=None,
        trivial_answers=None,
        image_labels={"lesion": an_image_label()},
    )
    return plan_experiment(fingerprint, CONTENT)


def _parts(value: Any) -> dict[str, Any] | None:
    """Return the fields of a plan, or the entries of a dict; None for a plain value."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value if isinstance(value, dict) else None


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    parts = _parts(value)
    if parts is None:
        return [path]
    return [leaf for name, part in parts.items() for leaf in _leaves(part, (*path, name))]


ALL_PLANS = ["lidc", "volumes", "tagged", "tagged_volumes"]


@pytest.mark.parametrize("name", ALL_PLANS)
def test_every_field_of_every_configuration_has_a_reason(name, request):
    plans = request.getfixturevalue(name)
    for configuration, plan in plans.configurations.items():
        for path in _leaves(plan):
            reason: Any = plans.reasons["configurations"][configuration]
            for key in path:
                reason = reason[key]
            if path == ("preprocessing", "normalization"):
                assert len(reason) == len(plan.preprocessing.normalization)
                reason = reason[0]
            assert isinstance(reason, str)
            assert reason.endswith("."), path
            assert (
                reason[0].isupper()
                or not reason[0].isalpha()
                or "P1" in reason
                or (reason.startswith(("nnU-Net", "b = ")))
            ), path


@pytest.mark.parametrize("name", ALL_PLANS)
def test_no_reason_is_given_for_what_the_plan_does_not_have(name, request):
    plans = request.getfixturevalue(name)

    def check(reasons: Any, value: Any) -> None:
        if isinstance(reasons, dict):
            parts = _parts(value)
            assert parts is not None
            assert set(reasons) <= set(parts)
            for key, each in reasons.items():
                check(each, parts[key])

    for configuration, plan in plans.configurations.items():
        check(plans.reasons["configurations"][configuration], plan)
    for key in ("method", "recommended_configuration", "transpose_forward"):
        assert plans.reasons[key]


def test_lidc_is_planned_as_p1_found_best(lidc):
    plan = lidc.configuration("2d")
    assert list(lidc.configurations) == ["2d"]
    assert (lidc.method, lidc.recommended_configuration) == ("diffusion", "2d")
    assert plan.patch_size == (128, 128)
    assert plan.crop.policy == "whole"
    assert 0.09 <= plan.diffusion.input_scale <= 0.13
    assert plan.diffusion.loss_weighting_bias == pytest.approx(-3.7, abs=0.4)
    assert (plan.sampling.num_steps, plan.sampling.num_samples) == (10, 16)
    assert "lie at the centre" in lidc.reasons["configurations"]["2d"]["crop"]["policy"]


def test_smaller_patches_may_be_set(lidc):
    changed = lidc.resolve(settings=["patch_size=[32,32]", "crop.policy=random"])
    assert changed.configuration.patch_size == (32, 32)
    assert changed.reasons["patch_size"] == "set by the user to [32, 32]"


def test_plans_survive_a_file(volumes, tmp_path):
    volumes.save(tmp_path / "diffunet_plans.json")
    assert Plans.load(tmp_path / "diffunet_plans.json") == volumes


def test_volumes_have_two_configurations(volumes):
    assert list(volumes.configurations) == ["2d", "3d_fullres"]
    assert volumes.recommended_configuration == "3d_fullres"
    plane, full = volumes.configuration("2d"), volumes.configuration("3d_fullres")
    assert (plane.dimensions, full.dimensions) == (2, 3)
    assert plane.median_shape == (51, 35)
    assert full.median_shape == (36, 51, 35)
    assert plane.data_identifier != full.data_identifier
    assert plane.diffusion.input_scale == pytest.approx(0.113, abs=0.001)


def test_a_patch_covers_every_image_where_that_needs_little_more(volumes):
    full = volumes.configuration("3d_fullres")
    assert all(edge >= size for edge, size in zip(full.patch_size, (46, 58, 43), strict=True))
    assert full.crop.policy == "whole"
    assert "needs no tiles" in volumes.reasons["configurations"]["3d_fullres"]["patch_size"]


def test_a_patch_does_not_follow_rare_large_images():
    geometry = a_geometry((128, 128), largest=(128, 1000))
    plan = plan_experiment(a_fingerprint(geometry=geometry), CONTENT).configuration("2d")
    assert plan.patch_size == (128, 128)
    assert plan.crop.policy == "random"


def test_a_volume_of_one_slice_is_planned_in_2d_only():
    geometry = a_geometry((60, 50, 1))
    plans = plan_experiment(a_volume_fingerprint(geometry=geometry), CONTENT)
    assert list(plans.configurations) == ["2d"]
    assert plans.transpose_forward == (2, 0, 1)
    assert plans.configuration("2d").median_shape == (60, 50)


def test_a_coarse_last_axis_comes_first():
    geometry = a_geometry((64, 64, 12), (1.0, 1.0, 4.0))
    plans = plan_experiment(a_volume_fingerprint(geometry=geometry), CONTENT)
    assert plans.transpose_forward == (2, 0, 1)
    full = plans.configuration("3d_fullres")
    assert full.preprocessing.spacing_mm == (4.0, 1.0, 1.0)
    assert plans.configuration("2d").preprocessing.spacing_mm == (1.0, 1.0)
    assert plans.recommended_configuration == "2d"
    assert full.augmentation.treats_first_axis_apart


def test_the_user_may_set_the_spacing():
    plans = plan_experiment(
        a_volume_fingerprint(), CONTENT, overwrite_target_spacing=(2.0, 2.0, 2.0)
    )
    assert plans.configuration("3d_fullres").median_shape == (18, 26, 18)
    with pytest.raises(PlansError, match="-overwrite_target_spacing: .* 3 positive numbers"):
        plan_experiment(a_volume_fingerprint(), CONTENT, overwrite_target_spacing=(2.0, 2.0))


def test_image_labels_leave_the_input_scale_of_masks_a_default_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        plans = plan_experiment(a_tagged_fingerprint(), CONTENT)
    assert plans.configuration("2d").diffusion.input_scale == 0.1
    assert "input scale is a default" in caplog.text


def test_channels_are_normalised_by_their_names():
    fingerprint = a_fingerprint(channels=(a_channel("CT"), a_channel("PET")))
    plan = plan_experiment(fingerprint, CONTENT).configuration("2d")
    assert [each.scheme for each in plan.preprocessing.normalization] == ["ct", "zscore"]


def test_other_plans_have_folders_of_their_own():
    plans = plan_experiment(a_fingerprint(), CONTENT, plans_name="mine")
    assert plans.plans_name == "mine"
    assert plans.configuration("2d").data_identifier == "mine_2d"
    default = plan_experiment(a_fingerprint(), CONTENT)
    assert default.configuration("2d").data_identifier == "2d"


def test_less_memory_means_less_patch_or_batch():
    geometry = a_geometry((1000, 1000))
    small = plan_experiment(a_fingerprint(geometry=geometry), CONTENT, gpu_memory_gb=2.5)
    large = plan_experiment(a_fingerprint(geometry=geometry), CONTENT, gpu_memory_gb=40)
    edge = {
        name: plans.configuration("2d").patch_size[0]
        for name, plans in (("small", small), ("large", large))
    }
    assert edge["small"] < edge["large"]


def test_labels_that_are_not_valid_are_an_error():
    with pytest.raises(DatasetError, match="labels"):
        plan_experiment(a_fingerprint(), {"labels": {}})


def test_a_spacing_at_which_no_memory_holds_a_case_is_refused_with_what_it_would_need():
    message = r"-overwrite_target_spacing: cases would have up to 46000 x 58000 x 43000 voxels, "
    with pytest.raises(PlansError, match=message + r"4\.27e\+05 GB for each channel; at most 8 GB"):
        plan_experiment(a_volume_fingerprint(), CONTENT, overwrite_target_spacing=(0.001,) * 3)


def test_the_coarsest_spacing_gives_plans_all_the_same():
    plans = plan_experiment(a_volume_fingerprint(), CONTENT, overwrite_target_spacing=(1e5,) * 3)
    assert plans.configurations["2d"].median_shape == (1, 1)


@pytest.mark.parametrize(("diameter", "is_told"), [(1000, True), (100, False)])
def test_objects_larger_than_the_patch_are_told(
    diameter: float, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    fingerprint = a_fingerprint(
        geometry=a_geometry((1500, 2000)),
        labels={"lesion": a_label(objects=an_object(diameter))},
    )
    with caplog.at_level(logging.WARNING):
        plan_experiment(fingerprint, CONTENT, gpu_memory_gb=2.0)
    told = "Objects of 'lesion' are 1000 voxels across" in caplog.text
    assert told == is_told
    assert ("-overwrite_target_spacing" in caplog.text) == is_told
