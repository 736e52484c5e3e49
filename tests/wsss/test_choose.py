import dataclasses
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diffunet.inference.compute import Compute
from diffunet.parallel import without_progress
from diffunet.planning.choice import with_choices
from diffunet.plans import EncodingPlan, MaskPlan, Plans, TrajectoryPlan
from diffunet.training.distributed import Ranks
from diffunet.wsss.choice import candidates, choose
from diffunet.wsss.choice.candidates import compared, mask_rules
from diffunet.wsss.choice.choose import choose_saliency
from diffunet.wsss.choice.tagged_images import TaggedImage
from tests.wsss.weak_folds import weak_plans

EDGE = 32
OBJECT = np.zeros((EDGE, EDGE), bool)
OBJECT[6:12, 4:11] = True
SEEN_AT = -1.0
FULL = {
    "cdm": TrajectoryPlan(),
    "cg_cdm": TrajectoryPlan(guidance_scale=1.0),
    "cg_diff": EncodingPlan(),
}
"""What `weak_plans` shortens."""


def image_of(*_: Any) -> torch.Tensor:
    """An object on the left, and noise."""
    pixels = np.random.default_rng(0).normal(0, 0.05, (1, EDGE, EDGE)).astype(np.float32)
    pixels[0][OBJECT] += 2
    return torch.from_numpy(pixels)


def map_of(*_: Any, saliency: str, plan: Any, case: str, **__: Any) -> torch.Tensor:
    """A map that finds the object, dark, at one noise level alone; a wrong place elsewhere."""
    noise = np.random.default_rng(len(case)).normal(0, 0.01, (EDGE, EDGE))
    level = {"cdm": plan.cdm, "cg_cdm": plan.cg_cdm, "cg_diff": plan.cg_diff}.get(saliency)
    is_found = level is None or level.log_snr == SEEN_AT or saliency == "cg_diff"
    where = OBJECT if is_found else OBJECT[::-1, ::-1]
    sign = 1 if level is None else -1
    return torch.from_numpy((sign * where + noise).astype(np.float32))


def logits_of(_: Any, images: torch.Tensor, *, compute: Compute) -> torch.Tensor:
    """The classifier counts how much of the object is there."""
    return images[:, 0, torch.from_numpy(OBJECT)].sum(dim=1, keepdim=True) / 10


@pytest.fixture(autouse=True, scope="module")
def fakes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "read_image", image_of)
        patch.setattr(choose, "saliency_map", map_of)
        patch.setattr(choose, "presence_logits", logits_of)
        yield


@pytest.fixture(scope="module")
def choices(fakes) -> dict[str, Any]:
    """Return what is chosen where the user set nothing."""
    return chosen()


def chosen(
    method: str = "cdm",
    *,
    tags: tuple[int, ...] = (1,),
    number: int = 3,
    settings: Sequence[str] = (),
    masks: Mapping[str, MaskPlan] | None = None,
) -> dict[str, Any]:
    plans = weak_plans(method=method, weak={**FULL, "masks": dict(masks or {})})
    configuration = dataclasses.replace(plans.configuration, patch_size=(EDGE, EDGE))
    plans = Plans(
        dataset_name=plans.dataset_name,
        method=method,
        recommended_configuration="2d",
        transpose_forward=plans.transpose_forward,
        configurations={"2d": configuration},
    ).resolve(settings=settings)
    data = SimpleNamespace(plans=plans, images=None, compute=Compute(device=torch.device("cpu")))
    images = [TaggedImage(case=f"c{'x' * i}", slice_index=None, tags=tags) for i in range(number)]
    found = choose_saliency(
        data,  # pyright: ignore  # all that is asked of it
        torch.nn.Identity(),
        images,
        ranks=Ranks(rank=0, num_ranks=1),
        progress=without_progress,
    )
    with_choices(plans, found.choices)
    return found.choices


def test_the_noise_level_and_the_sign_that_find_the_object_are_chosen(choices):
    assert choices["weak.cdm.log_snr"].value == SEEN_AT
    assert choices["weak.cg_cdm.log_snr"].value == SEEN_AT
    assert {choices[f"weak.masks.{name}"].value.sign for name in ("cdm", "cg_cdm")} == {"negative"}


def test_ties_keep_the_first_setting(choices):
    assert choices["weak.cdm.tau"].value == candidates.TAUS[0]
    assert choices["weak.cg_cdm.guidance_scale"].value == candidates.GUIDANCE_SCALES[0]
    assert choices["weak.cdm.num_steps"].value == candidates.FEW_STEPS


def test_reasons_say_what_was_compared_and_that_no_mask_was_opened(choices):
    reason = choices["weak.cdm.log_snr"].reason
    assert "on 3 validation images" in reason
    assert "-1 negative" in reason
    assert "no mask was opened" in reason


def test_activation_maps_have_a_stage_rules_and_a_default():
    choices = chosen("classifier")
    assert choices["weak.cam.stage"].value == candidates.CAM_STAGES[0]
    assert choices["weak.masks.layer_cam"].value.sign == "positive"
    assert choices["weak.default_cam"].value in ("grad_cam", "grad_cam++", "score_cam", "layer_cam")


def test_without_an_image_that_shows_a_label_nothing_is_chosen_which_is_said(caplog):
    assert chosen(tags=(0,)) == {}
    assert "none of the 3 validation images shows a label" in caplog.text


def test_what_the_user_set_is_not_chosen():
    settings = {
        "weak.cdm.log_snr": 2.0,
        "weak.cdm.num_steps": 5,
        "weak.cdm.tau": 0.3,
        "weak.cg_cdm.log_snr_step": 0.07,
        "weak.cg_cdm.guidance_scale": 7.0,
        "weak.cg_diff.guidance_scale": 3.0,
        "weak.default_saliency": "cdm",
    }
    choices = chosen(settings=[f"{path}={value}" for path, value in settings.items()])
    assert not set(settings) & set(choices)
    assert choices["weak.cg_cdm.num_steps"].value == 5
    assert choices["weak.cg_cdm.tau"].value == 0.3
    assert "-1" in choices["weak.cg_cdm.log_snr"].reason
    assert "scale 7" in choices["weak.cg_cdm.log_snr"].reason


def test_a_time_step_keeps_the_noise_level_and_the_sign_is_chosen_still():
    choices = chosen(settings=["weak.cdm.timestep=200", "weak.cdm.log_snr=-1"])
    assert "weak.cdm.log_snr" not in choices
    assert choices["weak.masks.cdm"].value.sign == "negative"


def test_what_the_user_set_of_a_rule_is_kept_and_the_rest_is_chosen():
    masks = {"cdm": MaskPlan(sign="positive", unsure_share=0.8, edge_contrast=0.7)}
    settings = ["weak.masks.cdm.threshold=otsu_mean", "weak.masks.cdm.smoothing_voxels=5"]
    choice = chosen(settings=settings, masks=masks)["weak.masks.cdm"]
    rule = choice.value
    assert (rule.threshold, rule.threshold_value, rule.smoothing_voxels) == ("otsu_mean", None, 5.0)
    assert (rule.unsure_share, rule.edge_contrast) == (0.8, 0.7)
    assert rule.sign == "negative"
    assert "Of 13 rules" in choice.reason
    assert "Set by the user: smoothing_voxels, threshold, threshold_value." in choice.reason


def test_a_fixed_threshold_is_kept_with_its_value():
    masks = {"cdm": MaskPlan(threshold="fixed", threshold_value=0.3)}
    rule = chosen(settings=["weak.masks.cdm.threshold_value=0.4"], masks=masks)["weak.masks.cdm"]
    assert (rule.value.threshold, rule.value.threshold_value) == ("fixed", 0.4)


def test_smoothing_grows_with_the_patch_but_does_not_shrink():
    small, planned, large = (
        {(rule.smoothing_voxels, rule.edge_smoothing_voxels) for rule in rules}
        for rules in (mask_rules("positive", patch_size=(edge, 300)) for edge in (32, 64, 256))
    )
    assert small == planned == {(sigma, edge) for sigma in (1.0, 2.0, 3.0) for edge in (0.0, 6.0)}
    assert large == {(4 * sigma, 4 * edge) for sigma, edge in planned}


def test_every_rule_has_the_sign_and_is_another():
    rules = mask_rules("negative", patch_size=(64, 64))
    assert {rule.sign for rule in rules} == {"negative"}
    assert len(set(rules)) == len(rules) == 60


def test_maps_are_compared_with_few_draws_and_steps():
    plan = weak_plans(weak=FULL).configuration.weak
    assert plan is not None
    cheap = compared(plan)
    assert cheap.cdm.num_draws == candidates.MOST_DRAWS
    assert cheap.cg_diff.num_steps == candidates.MOST_CG_DIFF_STEPS
    assert cheap.cdm.log_snr == plan.cdm.log_snr


def test_maps_that_explain_nothing_are_warned_of(monkeypatch, caplog):
    monkeypatch.setattr(
        choose, "presence_logits", lambda _, images, **__: torch.zeros(len(images), 1)
    )
    choices = chosen()
    assert "erasure gain 0.00, standard error 0.00): the maps may not show" in caplog.text
    assert choices["weak.masks.cdm"].value == MaskPlan()
    assert "the plans' rule is kept" in choices["weak.masks.cdm"].reason


def test_the_plans_rule_is_kept_with_its_sign(monkeypatch):
    """Erasing the bright object helps the classifier; masks of the other sign are empty, and cost
    nothing."""

    def bright(*_: Any, **__: Any) -> torch.Tensor:
        return torch.from_numpy(0.1 + OBJECT.astype(np.float32))

    monkeypatch.setattr(choose, "saliency_map", bright)
    monkeypatch.setattr(
        choose, "presence_logits", lambda *args, **names: -logits_of(*args, **names)
    )
    rule = chosen()["weak.masks.cdm"]
    assert "the plans' rule is kept" in rule.reason
    assert rule.value == MaskPlan()


def test_one_image_alone_chooses_no_rule(caplog):
    rule = chosen(number=1)["weak.masks.cdm"]
    assert rule.value == MaskPlan()
    assert "of one image, which tells no standard error" in caplog.text


def test_maps_that_explain_the_label_are_not_warned_of(caplog):
    chosen()
    assert "may not show" not in caplog.text
