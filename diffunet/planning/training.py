"""How long and how fast to train."""

import math
from typing import Any

from diffunet.planning.choice import Choice, with_choices
from diffunet.plans import ResolvedPlans

_PASSES = 100  # over everything there is, in patches
_FEWEST_PATCHES, MOST_PATCHES = 160_000, 3_200_000  # P1 trained on 3.2 million
_FEWEST_ITERATIONS = 10_000
_REFERENCE_ITERATIONS, _REFERENCE_RATE = 400_000, 1e-4  # P1
_LARGEST_RATE = 1e-3
_WARMUP_SHARE, _MOST_WARMUP = 0.05, 1000
_AVERAGED_SHARE = 0.05
_LONGEST_AVERAGE = 10_000  # iterations: a decay of 0.9999


def choose_num_iterations(
    *, num_cases: int, patches_per_case: float, batch_size: int
) -> Choice[int]:
    """Choose the number of iterations: a hundred passes over the patches of the training cases.

    Between 160 thousand and 3.2 million patches, at least 10 thousand iterations, in thousands.

    Args:
        num_cases: training cases, of which four fifths are in a fold.
        patches_per_case: patches that cover a case of median size (slices, for slices of volumes).
    """
    available = max(1.0, 0.8 * num_cases * patches_per_case)
    patches = min(MOST_PATCHES, max(_FEWEST_PATCHES, _PASSES * available))
    value = max(_FEWEST_ITERATIONS, 1000 * math.ceil(patches / batch_size / 1000))
    drawn = value * batch_size
    return Choice(
        value,
        f"A fold trains on about {available:.0f} patches' worth of images; {value} iterations of "
        f"{batch_size} draw each {drawn / available:.0f} times. P1 drew "
        f"{MOST_PATCHES / 1e6:g} million for its published scores: more iterations still help.",
    )


def choose_learning_rate(num_iterations: int) -> Choice[float]:
    """Choose P1's 1e-4 at its 400 thousand iterations, and more for shorter trainings.

    The rate falls as the root of the number of iterations rises, and is at most 1e-3.
    """
    wanted = _REFERENCE_RATE * math.sqrt(_REFERENCE_ITERATIONS / num_iterations)
    value = float(f"{min(_LARGEST_RATE, max(_REFERENCE_RATE, wanted)):.2g}")
    return Choice(
        value,
        f"P1's {_REFERENCE_RATE:g} at {_REFERENCE_ITERATIONS} iterations; {num_iterations} "
        f"iterations need a larger rate, here by the root of how many fewer they are, at most "
        f"{_LARGEST_RATE:g}.",
    )


def choose_num_warmup_iterations(num_iterations: int) -> Choice[int]:
    """Choose the warm-up: a twentieth of the training, at most P1's 1000 iterations."""
    value = min(_MOST_WARMUP, math.ceil(_WARMUP_SHARE * num_iterations))
    return Choice(
        value, f"A twentieth of the training, at most {_MOST_WARMUP} iterations (P1's number)."
    )


def choose_ema_decay(num_iterations: int) -> Choice[float]:
    """Choose the decay that averages over a twentieth of the training, at most 0.9999."""
    length = min(_LONGEST_AVERAGE, max(1.0, _AVERAGED_SHARE * num_iterations))
    value = float(f"{1 - 1 / length:.6g}")
    return Choice(
        value,
        f"Weights are averaged over about {length:.0f} iterations, a twentieth of the training "
        f"(at most {_LONGEST_AVERAGE}).",
    )


def choices_by_iterations(num_iterations: int) -> dict[str, Choice[Any]]:
    """Choose the fields of a training plan that depend on its number of iterations."""
    return {
        "learning_rate": choose_learning_rate(num_iterations),
        "num_warmup_iterations": choose_num_warmup_iterations(num_iterations),
        "ema_decay": choose_ema_decay(num_iterations),
    }


def fit_to_iterations(plans: ResolvedPlans) -> ResolvedPlans:
    """Return plans whose training fits the number of iterations that the user set, if one is set.

    What else the user set stays. For a training that begins; one that goes on keeps its schedule.
    """
    if not plans.is_set_by_user("training.num_iterations"):
        return plans
    choices = choices_by_iterations(plans.configuration.training.num_iterations)
    return with_choices(plans, {f"training.{name}": choice for name, choice in choices.items()})
