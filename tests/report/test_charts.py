"""Numbers as people read them."""

import pytest

from diffunet.report.charts import number


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0"), (1.1e-16, "0"), (-2.2e-16, "0"), (2e-6, "2e-06"), (0.776, "0.776"), (None, "–")],
)
def test_a_difference_of_equal_scores_is_zero(value, expected):
    assert number(value) == expected
