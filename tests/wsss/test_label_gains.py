import numpy as np

from diffunet.wsss.choice.gains import Gains
from diffunet.wsss.choice.label_gains import gains_by_label, summary_with_labels, warn_of_labels


def gains_of_two_labels() -> tuple[Gains, dict[str, Gains]]:
    """Masks of the first label explain much, those of the second nothing."""
    gains = Gains(gain=np.array([[4.0], [0.1], [4.2], [-0.1], [4.1]]), area=np.full((5, 1), 0.04))
    return gains, gains_by_label(gains, (0, 1, 0, 1, 0), names=("anterior", "posterior", "none"))


def test_each_label_is_summed_up_over_its_own_images():
    gains, by_label = gains_of_two_labels()
    told = summary_with_labels(gains, by_label)
    assert told["num_images"] == 5
    assert {name: each["num_images"] for name, each in told["labels"].items()} == {
        "anterior": 3,
        "posterior": 2,
    }
    assert told["labels"]["anterior"]["gain"] > 4
    assert abs(told["labels"]["posterior"]["gain"]) < 1e-9


def test_a_label_whose_masks_explain_nothing_is_warned_of(caplog):
    warn_of_labels("cdm", *gains_of_two_labels())
    (message,) = caplog.messages
    assert "'posterior'" in message
    assert "2 images" in message
    assert "though erasing those of 'anterior' does" in message


def test_nothing_is_said_of_labels_where_the_masks_of_all_explain_nothing(caplog):
    gains = Gains(gain=np.array([[1.0], [-1.0]]), area=np.full((2, 1), 0.1))
    warn_of_labels("cdm", gains, gains_by_label(gains, (0, 1), names=("a", "b")))
    assert not caplog.messages


def test_nothing_is_said_of_labels_that_have_too_few_images_to_be_told_apart(caplog):
    gains = Gains(gain=np.array([[1.0], [0.2], [1.1], [0.3]]), area=np.full((4, 1), 0.1))
    assert gains.is_above_zero(0)
    by_label = gains_by_label(gains, (0, 0, 1, 1), names=("a", "b"))
    assert not any(each.is_above_zero(0) for each in by_label.values())
    warn_of_labels("cdm", gains, by_label)
    assert not caplog.messages
