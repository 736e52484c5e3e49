import dataclasses

import numpy as np
import pytest

from diffunet.errors import PlansError, UsageError
from diffunet.wsss.prediction.presence import decide_presence, given_tags
from tests.wsss.weak_models import weak_configuration

BY_CASE = weak_configuration().weak
BY_SLICE = dataclasses.replace(BY_CASE, has_slice_labels=True)
NAN = float("nan")


def decide(probabilities, plan, given=None):
    return decide_presence(np.array(probabilities), plan=plan, given=given or {})


def test_slices_are_decided_each_for_itself_where_slices_were_labelled():
    presence = decide([[0.2], [0.5], [0.9]], BY_SLICE)
    assert presence.is_present[:, 0].tolist() == [False, True, True]
    assert presence.is_by_slice
    assert not presence.is_given.any()


def test_cases_are_decided_by_the_mean_over_their_slices_where_cases_were_labelled():
    assert decide([[0.2], [0.5], [0.9]], BY_CASE).is_present.all()
    presence = decide([[0.2], [0.3], [0.9]], BY_CASE)
    assert not presence.is_present.any()
    assert not presence.is_by_slice
    assert presence.case_probabilities() == pytest.approx([1.4 / 3])


def test_each_label_has_its_threshold():
    plan = dataclasses.replace(BY_SLICE, presence_thresholds=(0.3, 0.8))
    presence = decide([[0.4, 0.7], [0.2, 0.8]], plan)
    assert presence.is_present.tolist() == [[True, False], [False, True]]


def test_thresholds_are_one_per_label():
    plan = dataclasses.replace(BY_SLICE, presence_thresholds=(0.3, 0.8))
    with pytest.raises(PlansError, match="one for each of the 1 labels"):
        decide([[0.4]], plan)


@pytest.mark.parametrize("plan", [BY_CASE, BY_SLICE])
def test_slices_that_were_cropped_away_show_nothing(plan):
    presence = decide([[NAN], [0.9], [0.9]], plan, {None: (1,)})
    assert presence.is_present[:, 0].tolist() == [False, True, True]
    assert not decide([[NAN], [0.1]], plan, {0: (1,)}).is_present.any()


@pytest.mark.parametrize("plan", [BY_CASE, BY_SLICE])
def test_a_case_given_as_0_shows_the_label_nowhere(plan):
    presence = decide([[0.9, 0.9], [0.8, 0.9]], plan, {None: (0, 1)})
    assert not presence.is_present[:, 0].any()
    assert presence.is_present[:, 1].all()
    assert presence.is_given[:, 0].all()


def test_a_case_given_as_1_shows_the_label_in_all_slices_where_cases_were_labelled():
    presence = decide([[0.1], [0.2]], BY_CASE, {None: (1,)})
    assert presence.is_present.all()
    assert presence.is_given.all()


def test_a_case_given_as_1_leaves_the_slices_to_the_classifier_where_slices_were_labelled():
    presence = decide([[0.1], [0.7]], BY_SLICE, {None: (1,)})
    assert presence.is_present[:, 0].tolist() == [False, True]
    assert not presence.is_given.any()


def test_a_case_given_as_1_has_the_label_at_least_in_its_likeliest_slice():
    presence = decide([[0.1], [0.3], [NAN], [0.2]], BY_SLICE, {None: (1,)})
    assert presence.is_present[:, 0].tolist() == [False, True, False, False]
    assert presence.is_given[:, 0].tolist() == [False, True, False, False]


def test_a_given_slice_with_the_label_is_enough_for_a_case_given_as_1():
    presence = decide([[0.1], [0.3], [0.2]], BY_SLICE, {None: (1,), 2: (1,)})
    assert presence.is_present[:, 0].tolist() == [False, False, True]
    assert presence.is_given[:, 0].tolist() == [False, False, True]


def test_the_likeliest_slice_of_a_case_given_as_1_is_none_that_was_given_as_0():
    presence = decide([[0.1], [0.3], [0.2]], BY_SLICE, {None: (1,), 1: (0,)})
    assert presence.is_present[:, 0].tolist() == [False, False, True]
    assert presence.is_given[:, 0].tolist() == [False, True, True]


def test_nothing_is_added_where_all_slices_of_a_case_were_given():
    assert not decide([[0.1], [0.3]], BY_SLICE, {None: (1,), 0: (0,), 1: (0,)}).is_present.any()


@pytest.mark.parametrize("plan", [BY_CASE, BY_SLICE])
def test_given_slices_are_as_they_are_given_and_leave_the_others_alone(plan):
    presence = decide([[0.9], [0.9], [0.9]], plan, {0: (0,), 2: (1,)})
    assert presence.is_present[:, 0].tolist() == [False, True, True]
    assert presence.is_given[:, 0].tolist() == [True, False, True]
    assert presence.is_by_slice


def test_tags_of_an_image_are_those_of_the_whole_case():
    assert given_tags([1, 0], num_labels=2, num_slices=None) == {None: (1, 0)}
    assert given_tags(None, num_labels=2, num_slices=None) == {}


def test_tags_of_a_volume_may_be_by_slice():
    given = given_tags(np.array([[1], [0]]), num_labels=1, num_slices=2)
    assert given == {0: (1,), 1: (0,)}


@pytest.mark.parametrize("tags", [[1], [1, 2], [[1, 0]], np.array([0.5, 1])])
def test_other_tags_are_refused_with_what_was_expected(tags):
    with pytest.raises(UsageError, match=r"expected numbers 0 and 1 in the shape \(2,\)"):
        given_tags(tags, num_labels=2, num_slices=None)
