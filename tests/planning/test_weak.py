import math
from typing import Any, get_args

import pytest

from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.planning.experiment import choose_method, plan_experiment
from diffunet.planning.topology import plan_image_model_network, plan_network
from diffunet.plans import Plans, SaliencyMethod, WeakPlan
from tests.planning.fingerprints import a_channel, a_fingerprint, a_geometry, an_image_label

CONTENT = {"labels": {"background": 0, "lesion": 1}}


def _planned(*, content: dict[str, Any] = CONTENT, gpu_memory_gb=8.0, **changes: Any) -> Plans:
    fingerprint = a_fingerprint(**({"image_labels": {"lesion": an_image_label()}} | changes))
    return plan_experiment(fingerprint, content, gpu_memory_gb=gpu_memory_gb)


def _weak(plans: Plans) -> WeakPlan:
    weak = plans.configuration("2d").weak
    assert weak is not None
    return weak


def test_image_labels_are_learned_from_even_where_masks_were_measured():
    plans = _planned()
    assert plans.method == "cdm"
    assert "labelsTr is never opened" in plans.reasons["method"]
    assert _weak(plans) is not None


def test_without_image_labels_masks_are_learned_from():
    assert choose_method(has_image_labels=False).value == "diffusion"
    plans = plan_experiment(a_fingerprint(), CONTENT)
    assert plans.configuration("2d").weak is None
    assert "no image-level labels" in plans.reasons["configurations"]["2d"]["weak"]


def test_masks_keep_their_blocks_beside_weak_supervision():
    with_tags = _planned().configuration("2d")
    without = plan_experiment(a_fingerprint(), CONTENT).configuration("2d")
    for block in ("diffusion", "sampling", "network", "training", "crop", "patch_size"):
        assert getattr(with_tags, block) == getattr(without, block)


def test_the_patch_of_tags_covers_every_image():
    plans = _planned(geometry=a_geometry((128, 128), largest=(128, 400)))
    configuration = plans.configuration("2d")
    assert configuration.patch_size == (128, 400)
    assert configuration.crop.policy == "whole"


def test_a_coarser_spacing_is_planned_and_warned_of(caplog):
    plans = _planned(geometry=a_geometry((1024, 1024)))
    configuration = plans.configuration("2d")
    spacing = configuration.preprocessing.spacing_mm
    assert spacing[0] > 1
    assert configuration.median_shape == (round(1024 / spacing[0]),) * 2
    assert configuration.crop.policy == "whole"
    reason = plans.reasons["configurations"]["2d"]["preprocessing"]["spacing_mm"]
    assert "in place of 1 x 1 mm" in reason
    assert f"2d: The spacing is {spacing[0]:g}" in caplog.text


def test_volumes_are_weakly_supervised_by_slices_alone():
    plans = _planned(dimensions=3, slice_axis=0, geometry=a_geometry((20, 64, 64)))
    assert plans.recommended_configuration == "2d"
    assert _weak(plans) is not None
    assert plans.configuration("3d_fullres").weak is None
    assert "slices" in plans.reasons["configurations"]["3d_fullres"]["weak"]


@pytest.mark.parametrize(("num_slices", "expected"), [(0, False), (1, True), (100, True)])
def test_presence_is_decided_where_it_was_labelled(num_slices, expected):
    weak = _weak(_planned(image_labels={"lesion": an_image_label(num_slices=num_slices)}))
    assert weak.has_slice_labels is expected


def test_a_shortcut_by_position_is_named_where_presence_is_decided():
    label = an_image_label(position_auc=0.82, position_auc_seen=0.86)
    reasons = _planned(image_labels={"lesion": label}).reasons["configurations"]["2d"]["weak"]
    assert "'lesion' with an AUC of 0.82" in reasons["presence_thresholds"]
    label = an_image_label(position_auc=0.6)
    reasons = _planned(image_labels={"lesion": label}).reasons["configurations"]["2d"]["weak"]
    assert "AUC" not in reasons["presence_thresholds"]


@pytest.mark.parametrize("method", get_args(SaliencyMethod))
def test_the_mask_of_every_saliency_can_be_set(method):
    changed = _planned().resolve(settings=[f"weak.masks.{method}.smoothing_voxels=3"])
    assert changed.configuration.weak is not None
    assert changed.configuration.weak.mask(method).smoothing_voxels == 3


def test_maps_that_are_rectified_or_smooth_are_taken_as_they_are():
    weak = _weak(_planned())
    assert weak.mask("grad_cam").smoothing_voxels == 0
    assert weak.mask("cdm").smoothing_voxels > 0
    assert weak.mask("cg_diff").sign == "absolute"


@pytest.mark.parametrize(
    ("patch", "channels"),
    [
        ((64, 64), (16, 32, 64, 128)),
        ((256, 256), (16, 32, 64, 128, 128)),
        ((1024, 2048), (16, 32, 64, 128, 128, 128)),
    ],
)
def test_widths_double_from_half_of_the_image_encoders(patch, channels):
    network = plan_image_model_network(patch, (1.0, 1.0)).network
    assert network.channels == channels
    usual = plan_network(patch, (1.0, 1.0), num_label_channels=1).network
    assert network.channels[0] == usual.image_channels[0] // 2
    assert network.strides == usual.strides
    assert not network.image_channels


@pytest.mark.parametrize(
    ("patch", "expected"), [((128, 128), True), ((256, 256), True), ((272, 256), False)]
)
def test_attention_is_at_the_coarsest_stage_over_few_positions(patch, expected):
    topology = plan_image_model_network(patch, (1.0, 1.0))
    positions = math.prod(
        edge // divisor for edge, divisor in zip(patch, topology.divisors, strict=True)
    )
    assert (positions <= 256) is expected
    *finer, coarsest = topology.network.has_attention
    assert not any(finer)
    assert coarsest is expected


@pytest.mark.parametrize(
    ("channel", "is_warned"), [("MR", False), ("CT", False), ("rgb_to_0_1", True), ("noNorm", True)]
)
def test_images_that_are_not_of_unit_variance_are_warned_of(channel, is_warned, caplog):
    _planned(channels=(a_channel(channel),))
    assert (f"'{channel}' (" in caplog.text) is is_warned


def test_what_counts_for_masks_alone_is_said_to(caplog):
    _planned(labels=None, raters=None, trivial_answers=None)
    assert "The input scale is a default" in caplog.text
    assert "matters only for -m diffusion" in caplog.text
    caplog.clear()
    plan_experiment(a_fingerprint(labels=None, raters=None, trivial_answers=None), CONTENT)
    assert "The input scale is a default" in caplog.text
    assert "-m diffusion" not in caplog.text


def test_planned_image_models_can_be_built():

    plans = _planned(geometry=a_geometry((40, 24)))
    labels = LabelScheme.from_dataset_json(CONTENT)
    for method in ("cdm", "classifier"):
        model = METHODS[method].build_model(
            plans.configuration("2d"), num_image_channels=1, labels=labels
        )
        assert sum(each.numel() for each in model.parameters()) > 0
