import dataclasses

from diffunet.fingerprint.fingerprint import RaterFingerprint, RaterHabits
from diffunet.planning.raters import choose_raters
from tests.planning.fingerprints import a_summary

RATERS = RaterFingerprint(
    per_case=a_summary(2),
    share_of_empty_masks=0.0,
    share_of_empty_masks_by_rater={"r00": 0.0, "r01": 0.0},
    share_of_cases_partly_empty=0.0,
)


def with_p_value(p_value):
    ranks = {"r01": 1.8, "r00": 1.2}
    habits = RaterHabits(num_patients=20, mean_ranks=ranks, p_value=p_value)
    return dataclasses.replace(RATERS, habits=habits)


def test_without_several_raters_there_are_no_names():
    assert choose_raters(None).value == ()
    assert choose_raters(dataclasses.replace(RATERS, per_case=a_summary(1))).value == ()


def test_raters_with_habits_may_be_people():
    choice = choose_raters(with_p_value(1e-5))
    assert choice.value == ("r00", "r01")
    assert "throughout (p = 1e-05, 20 patients; mean ranks r00 1.20" in choice.reason


def test_raters_without_habits_are_numbers():
    choice = choose_raters(with_p_value(0.4))
    assert choice.value == ("r00", "r01")
    assert "nothing shows that numbers mean people" in choice.reason


def test_few_patients_tell_nothing_but_who_the_raters_are():
    choice = choose_raters(RATERS)
    assert "too few patients" in choice.reason
    assert choice.value == ("r00", "r01")
