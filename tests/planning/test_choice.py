import dataclasses

import numpy as np
import pytest

from diffunet.errors import PlansError
from diffunet.planning.choice import Choice, with_choices
from diffunet.plans import MaskPlan, ResolvedPlans, TrajectoryPlan
from tests.wsss.weak_folds import weak_plans


def weak_of(plans: ResolvedPlans):
    assert plans.configuration.weak is not None
    return plans.configuration.weak


def reasons_of(plans: ResolvedPlans) -> dict:
    return plans.reasons


def test_values_of_any_depth_are_replaced_and_say_why():
    choices = {
        "weak.cdm.log_snr": Choice(2.5, "best of five"),
        "weak.presence_thresholds": Choice((0.25,), "Youden"),
        "training.batch_size": Choice(np.int64(3), "small"),
    }
    chosen = with_choices(weak_plans(), choices)
    assert weak_of(chosen).cdm == dataclasses.replace(weak_of(weak_plans()).cdm, log_snr=2.5)
    assert weak_of(chosen).presence_thresholds == (0.25,)
    assert chosen.configuration.training.batch_size == 3
    assert reasons_of(chosen)["weak"] == {
        "cdm": {"log_snr": "best of five"},
        "presence_thresholds": "Youden",
    }
    assert reasons_of(chosen)["training"]["batch_size"] == "small"


def test_whole_groups_and_entries_of_dictionaries_can_be_chosen():
    trajectory, mask = TrajectoryPlan(num_draws=3), MaskPlan(smoothing_voxels=2.0)
    chosen = with_choices(
        weak_plans(),
        {"weak.cdm": Choice(trajectory, "a"), "weak.masks.cdm": Choice(mask, "b")},
    )
    assert weak_of(chosen).cdm == trajectory
    assert weak_of(chosen).mask("cdm") == mask
    assert reasons_of(chosen)["weak"] == {"cdm": "a", "masks": {"cdm": "b"}}


def test_other_values_and_reasons_stay_and_nothing_is_changed_in_place():
    before = with_choices(weak_plans(), {"weak.cdm.tau": Choice(0.5, "first")})
    after = with_choices(before, {"weak.cdm.log_snr": Choice(0.0, "second")})
    assert reasons_of(after)["weak"]["cdm"] == {"tau": "first", "log_snr": "second"}
    assert reasons_of(before)["weak"]["cdm"] == {"tau": "first"}
    assert weak_of(after).cdm == dataclasses.replace(weak_of(before).cdm, log_snr=0.0)
    assert weak_of(after).cdm.tau == 0.5
    assert weak_of(after).network == weak_of(before).network


@pytest.mark.parametrize("users", ["weak.cdm.tau", "weak.cdm", "weak"])
def test_what_the_user_set_is_not_chosen(users):
    plans = dataclasses.replace(weak_plans(), set_by_user=(users,))
    assert with_choices(plans, {"weak.cdm.tau": Choice(0.5, "better")}) == plans


def test_a_group_is_chosen_around_what_the_user_set_of_it():
    plans = dataclasses.replace(weak_plans(), set_by_user=("weak.cdm.tau",))
    chosen = with_choices(plans, {"weak.cdm": Choice(TrajectoryPlan(tau=0.5, num_draws=3), "a")})
    assert weak_of(chosen).cdm.num_draws == 3
    assert weak_of(chosen).cdm.tau == weak_of(plans).cdm.tau != 0.5


def test_a_sentence_for_a_whole_group_makes_way_for_one_of_its_fields():
    whole = with_choices(weak_plans(), {"weak.cdm": Choice(TrajectoryPlan(), "all of it")})
    field = with_choices(whole, {"weak.cdm.tau": Choice(0.5, "one of it")})
    assert reasons_of(field)["weak"]["cdm"] == {"tau": "one of it"}


def test_chosen_plans_come_back_from_their_file(tmp_path):
    chosen = with_choices(weak_plans(), {"weak.masks.cdm": Choice(MaskPlan(), "b")})
    chosen.save(tmp_path / "plans.json")
    assert ResolvedPlans.load(tmp_path / "plans.json") == chosen


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("weak.nothing.log_snr", 1.0, "there is no group 'nothing'"),
        ("weak.clean_share.x", 1.0, "there is no group 'clean_share'"),
        ("weak.cdm.unknown", 1.0, "unknown key 'unknown'"),
        ("weak.cdm.tau", 2.0, "weak.cdm: tau should be from 0 to below 1"),
        ("weak.cdm.tau", "high", "expected float"),
    ],
)
def test_what_does_not_fit_is_an_error_with_its_path(path, value, message):
    with pytest.raises(PlansError, match=message):
        with_choices(weak_plans(), {path: Choice(value, "why")})
