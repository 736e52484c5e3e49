"""Samplers: each says, in numbers, what the next x_t is made of.

One step goes from noise level t to a cleaner level s. Its result x_s is a sum of x_t, of the
x_0_hat at t and at the levels before, and of fresh noise; a sampler is the function that says how
much of each. It knows x_t and x_0_hat alone, so the noise that belongs to a clipped x_0_hat is
computed anew from the two. `sampling.draw` takes the steps. No torch here: plans read `SAMPLERS`.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

Variance = Literal["large", "small"]


class Level(NamedTuple):
    """A noise level: log SNR, and alpha and sigma that go with it."""

    log_snr: float
    alpha: float
    sigma: float


class Step(NamedTuple):
    """x_s = of_x_t x_t + sum of of_x_0[i] x_0_hat[i] + of_noise noise.

    Attributes:
        of_x_0: of x_0_hat at t, at the level before t, and so on; as many as the step uses.
        of_noise: 0 where the step is deterministic.
    """

    of_x_t: float
    of_x_0: tuple[float, ...]
    of_noise: float = 0.0


@runtime_checkable
class Sampler(Protocol):
    """The one signature of all samplers."""

    def __call__(self, levels: Sequence[Level], *, variance: Variance) -> Step:
        """Return the step from `levels[-2]` to `levels[-1]`.

        Args:
            levels: those passed so far, t and s, in the order of the steps; at the first step t and
                s alone. Log SNR rises strictly.
            variance: of fresh noise; deterministic samplers have none.
        """
        ...


def ddpm(levels: Sequence[Level], *, variance: Variance) -> Step:
    """Draw x_s from q(x_s | x_t, x_0), Ho et al. 2020, arXiv:2006.11239, eq. 6 and 7.

    With r = SNR_t / SNR_s: mean r alpha_s / alpha_t x_t + (1 - r) alpha_s x_0; variance "small":
    (1 - r) sigma_s^2, the posterior's; "large": (1 - r) sigma_t^2, P1's.

    Raises:
        ValueError: s is noisier than t.
    """
    *_, t, s = levels
    if s.log_snr < t.log_snr:
        raise ValueError(
            f"log SNR of s should be at least that of t = {t.log_snr}, got {s.log_snr}; "
            "an ancestral step goes from noise to data"
        )
    ratio = math.exp(t.log_snr - s.log_snr)
    fresh = -math.expm1(t.log_snr - s.log_snr)
    deviation = math.sqrt(fresh) * {"large": t.sigma, "small": s.sigma}[variance]
    return Step(ratio * s.alpha / t.alpha, (fresh * s.alpha,), deviation)


def ddim(levels: Sequence[Level], *, variance: Variance = "large") -> Step:
    """Go to x_s = alpha_s x_0 + sigma_s noise, with the noise that x_t and x_0 imply.

    Song et al. 2021, arXiv:2010.02502, eq. 12 with eta = 0. Goes either way: to a noisier level it
    is DDIM's encoding.
    """
    *_, t, s = levels
    return Step(s.sigma / t.sigma, (s.alpha - t.alpha * s.sigma / t.sigma,))


def dpm_solver_2m(levels: Sequence[Level], *, variance: Variance) -> Step:
    """Take a step of DPM-Solver++ (2M), Lu et al. 2022, arXiv:2211.01095, algorithm 2.

    The multistep method with x_0_hat extrapolated from its last two values. The first step of a
    trajectory is DDIM's.
    """
    if len(levels) < 3:
        return ddim(levels)
    *_, t, s = levels
    (width,) = _half_rises(t, s)
    return Step(s.sigma / t.sigma, _extrapolated(-s.alpha * math.expm1(-width), levels))


def dpm_solver_2m_sde(levels: Sequence[Level], *, variance: Variance) -> Step:
    """Take a step of SDE-DPM-Solver++ (2M), Lu et al. 2022, arXiv:2211.01095, algorithm 4.

    It is ddpm's step with the variance "small", from the x_0_hat that 2M extrapolates: fresh noise
    lets later steps mend what earlier ones got wrong. The first step of a trajectory is ddpm's.
    """
    mean = ddpm(levels, variance="small")
    return mean._replace(of_x_0=_extrapolated(mean.of_x_0[0], levels))


def dpm_solver_3m(levels: Sequence[Level], *, variance: Variance) -> Step:
    """Take a step of third order: x_0_hat is a parabola in lambda through its last three values.

    With lambda = log_snr / 2 the exact x_s is sigma_s / sigma_t x_t plus alpha_s times the integral
    from t to s of exp(lambda - lambda_s) x_0_hat d lambda (Lu et al. 2022, arXiv:2211.01095, prop.
    4.1). This is DPM-Solver++'s multistep method of order 3, but with the second derivative as it
    is: the published implementations take half of it, and are thereby of second order. The first
    two steps of a trajectory are those of 2M.
    """
    if len(levels) < 4:
        return dpm_solver_2m(levels, variance=variance)
    *_, earliest, before, t, s = levels
    first, second, width = _half_rises(earliest, before, t, s)
    # integrals of exp(lambda - lambda_s) times 1, (lambda - lambda_t) and half its square
    constant = -math.expm1(-width)
    linear = width - constant
    square = width**2 / 2 - linear
    # Newton's divided differences of x_0_hat at t, before, earliest, and their integrals
    of_slope = linear
    of_curvature = 2 * square + second * linear
    latest = constant + of_slope / second + of_curvature / (second * (first + second))
    middle = -of_slope / second - of_curvature / (first * second)
    oldest = of_curvature / (first * (first + second))
    of_x_0 = (s.alpha * latest, s.alpha * middle, s.alpha * oldest)
    return Step(s.sigma / t.sigma, of_x_0)


def _extrapolated(weight: float, levels: Sequence[Level]) -> tuple[float, ...]:
    """Return what a step takes of x_0_hats, of whose linear extrapolation it takes `weight`.

    To the middle of the step in lambda, from the last two; the first step has only one.
    """
    if len(levels) < 3:
        return (weight,)
    width_before, width = _half_rises(*levels[-3:])
    extrapolation = width / (2 * width_before)
    return (weight * (1 + extrapolation), -weight * extrapolation)


def _half_rises(*levels: Level) -> list[float]:
    """Return by how much lambda, half a log SNR, rises from each level to the next."""
    return [(b.log_snr - a.log_snr) / 2 for a, b in itertools.pairwise(levels)]


SAMPLERS: dict[str, Sampler] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm_solver_2m": dpm_solver_2m,
    "dpm_solver_2m_sde": dpm_solver_2m_sde,
    "dpm_solver_3m": dpm_solver_3m,
}
