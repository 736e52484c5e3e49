import math

import pytest

from diffunet.arguments import check_planning
from diffunet.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gpu_memory_gb": math.nan}, "gpu_memory_gb should be from 0.1 to 10000, got nan"),
        ({"gpu_memory_gb": -8.0}, "gpu_memory_gb should be from 0.1"),
        ({"gpu_memory_gb": math.inf}, "gpu_memory_gb should be from 0.1"),
        ({"target_spacing_mm": (1.0, 0.0)}, "target_spacing_mm should be from 1e-07"),
        ({"target_spacing_mm": (1.0, math.nan)}, "target_spacing_mm should be from 1e-07"),
    ],
)
def test_absurd_numbers_of_the_planner_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        check_planning(**{"gpu_memory_gb": 8.0, "target_spacing_mm": None, **arguments})


def test_ordinary_numbers_of_the_planner_are_taken():
    check_planning(8.0, None)
    check_planning(0.5, (1.0, 0.5, 0.5))
