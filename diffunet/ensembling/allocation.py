"""How many samples of a mixture come from which model, which ones, and in which order."""

from collections.abc import Sequence
from fractions import Fraction

from diffunet.plans import SamplingPlan
from diffunet.randomness import numpy_generator
from diffunet.ranges import range_of


def allocate(weights: Sequence[float], total: int) -> tuple[int, ...]:
    """Return how many of `total` samples each model gives: whole numbers closest to its share.

    The method of largest remainders: every model gives its share rounded down, and what is left
    goes to the largest remainders; among equals to the first.
    """
    whole = sum(map(Fraction, weights))
    shares = [Fraction(weight) * total / whole for weight in weights]
    counts = [int(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda place: counts[place] - shares[place])
    for place in by_remainder[: total - sum(counts)]:
        counts[place] += 1
    return tuple(counts)


def largest_allocation(
    weights: Sequence[float], available: Sequence[int | None]
) -> tuple[int, ...] | None:
    """Return the largest allocation for which there are samples; None if there is no largest.

    Args:
        available: how many samples a model has; None for one that gives one mask, which may stand
            for any number of samples.
    """
    whole = sum(weights)
    most = [
        int((number + 1) * whole / weight)
        for weight, number in zip(weights, available, strict=True)
        if number is not None
    ]
    if not most:
        return None
    highest = int(range_of(SamplingPlan, "num_samples").highest)
    for total in range(min([*most, highest]), 0, -1):
        counts = allocate(weights, total)
        pairs = zip(counts, available, strict=True)
        if all(number is None or count <= number for count, number in pairs):
            return counts
    return None


def chosen_samples(
    count: int, available: int | None, *, seed: int, case: str, place: int
) -> tuple[int, ...]:
    """Return which samples a model gives of a case, in their order.

    All, or a random choice without repetition; of a model that gives one mask (None) that mask
    again and again.

    Args:
        place: of the model among all.
    """
    if available is None:
        return (0,) * count
    if count == available:
        return tuple(range(available))
    generator = numpy_generator(seed, "ensemble", case, place)
    return tuple(sorted(generator.choice(available, count, replace=False).tolist()))


def interleaved(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Return (model, number of its sample) in an order whose beginnings are mixtures as well."""
    places = [(model, number) for model, count in enumerate(counts) for number in range(count)]
    return sorted(places, key=lambda each: (Fraction(2 * each[1] + 1, counts[each[0]]), each[0]))
