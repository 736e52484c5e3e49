import math

import pytest
import torch
from diffusers import DDPMScheduler

from diffunet.diffusion.process import DiscreteSchedule, ScaledSchedule, time_of_log_snr
from diffunet.diffusion.schedules import (
    DDPM_GRIDS,
    SCHEDULES,
    CosineSchedule,
    FlowMatchingSchedule,
    LinearGammaSchedule,
    LinearSchedule,
    ParabolaSchedule,
    alpha_sigma,
)

INNER_TIMES = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)

parametrize_bases = pytest.mark.parametrize("base", SCHEDULES.values(), ids=SCHEDULES.keys())
parametrize_scales = pytest.mark.parametrize("input_scale", [1.0, 0.1, 0.03])

GAMMAS = {
    CosineSchedule: lambda t: math.cos(math.pi * t / 2) ** 2,
    LinearSchedule: lambda t: math.exp(-(1e-4 + 10 * t**2)),
    LinearGammaSchedule: lambda t: 1 - t,
    ParabolaSchedule: lambda t: (1 - t**2) ** 2,
    FlowMatchingSchedule: lambda t: (1 - t) ** 2 / ((1 - t) ** 2 + t**2),
}


def numerical_slope(schedule, t, step=1e-6):
    return (schedule.log_snr(t + step) - schedule.log_snr(t - step)) / (2 * step)


@pytest.mark.parametrize("base", GAMMAS)
def test_log_snr_is_the_logit_of_gamma(base):
    gammas = [GAMMAS[base](float(t)) for t in INNER_TIMES]
    expected = torch.tensor([math.log(g / (1 - g)) for g in gammas], dtype=torch.float64)
    torch.testing.assert_close(base().log_snr(INNER_TIMES), expected, rtol=1e-9, atol=1e-9)


@parametrize_bases
def test_slope_is_the_derivative(base):
    schedule = base()
    torch.testing.assert_close(
        schedule.slope(INNER_TIMES), numerical_slope(schedule, INNER_TIMES), rtol=1e-5, atol=1e-6
    )


@parametrize_bases
@parametrize_scales
def test_scaled_slope_is_the_derivative(base, input_scale):
    schedule = ScaledSchedule(base(), input_scale, 20.0)
    torch.testing.assert_close(
        schedule.slope(INNER_TIMES), numerical_slope(schedule, INNER_TIMES), rtol=1e-5, atol=1e-6
    )


@parametrize_bases
@parametrize_scales
@pytest.mark.parametrize("limit", [5.0, 20.0, 40.0])
def test_scaled_log_snr_ends_at_the_limits(base, input_scale, limit):
    schedule = ScaledSchedule(base(), input_scale, limit)
    expected = torch.tensor([limit, -limit], dtype=torch.float64)
    torch.testing.assert_close(schedule.log_snr(ENDS), expected, rtol=0, atol=1e-9)


@parametrize_bases
@parametrize_scales
def test_scaled_log_snr_falls_strictly(base, input_scale):
    schedule = ScaledSchedule(base(), input_scale, 20.0)
    log_snr = schedule.log_snr(torch.linspace(0, 1, 10001, dtype=torch.float64))
    assert bool((log_snr.diff() < 0).all())


@parametrize_bases
@parametrize_scales
def test_scaled_slope_is_negative_and_finite_up_to_the_ends(base, input_scale):
    slope = ScaledSchedule(base(), input_scale, 20.0).slope(
        torch.tensor([0.0, 1e-15, 1e-6, 1 - 1e-6, 1.0], dtype=torch.float64)
    )
    assert bool(slope.isfinite().all())
    assert bool((slope <= 0).all())


def test_scaled_slope_at_the_ends_is_the_one_sided_derivative():
    # gamma = floor + (1 - 2 floor)(1 - t), so at both ends -(1 - 2 floor) / (floor (1 - floor))
    floor = 1 / (1 + math.exp(5.0))
    expected = -(1 - 2 * floor) / (floor * (1 - floor))
    slope = ScaledSchedule(LinearGammaSchedule(), 1.0, 5.0).slope(ENDS)
    torch.testing.assert_close(slope, torch.full_like(slope, expected), rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    "base", [CosineSchedule, LinearGammaSchedule, ParabolaSchedule, FlowMatchingSchedule]
)
@parametrize_scales
def test_input_scale_shifts_log_snr_by_twice_its_logarithm(base, input_scale):
    unlimited = ScaledSchedule(base(), input_scale, 500.0)  # sigmoid(500) is 1 in float64
    shift = unlimited.log_snr(INNER_TIMES) - base().log_snr(INNER_TIMES)
    torch.testing.assert_close(
        shift, torch.full_like(shift, 2 * math.log(input_scale)), rtol=0, atol=1e-9
    )


def test_input_scale_is_the_formula_of_the_paper():
    # gamma_b = b^2 gamma / ((b^2 - 1) gamma + 1), P1
    b, gamma = 0.1, 1 - INNER_TIMES
    expected = b**2 * gamma / ((b**2 - 1) * gamma + 1)
    alpha, _ = alpha_sigma(ScaledSchedule(LinearGammaSchedule(), b, 40.0).log_snr(INNER_TIMES))
    torch.testing.assert_close(alpha.square(), expected, rtol=1e-9, atol=0)


def test_limit_is_affine_in_gamma():
    b, limit = 0.1, 3.0
    low, high = 1 / (1 + math.exp(limit)), 1 / (1 + math.exp(-limit))
    gamma = torch.sigmoid(CosineSchedule().log_snr(INNER_TIMES) + 2 * math.log(b))
    alpha, _ = alpha_sigma(ScaledSchedule(CosineSchedule(), b, limit).log_snr(INNER_TIMES))
    torch.testing.assert_close(alpha.square(), low + (high - low) * gamma)


def test_cosine_schedule_is_slowest_in_the_middle_at_twice_the_logarithm_of_the_scale():
    schedule = ScaledSchedule(CosineSchedule(), 0.1, 20.0)
    times = torch.linspace(0.1, 0.9, 801, dtype=torch.float64)
    slowest = times[schedule.slope(times).abs().argmin()]
    assert float(slowest) == pytest.approx(0.5, abs=2e-3)
    assert float(schedule.log_snr(slowest)) == pytest.approx(2 * math.log(0.1), abs=2e-2)


@pytest.mark.parametrize("values", [(0.0, 20.0), (-1.0, 20.0), (1.0, 0.0), (1.0, -20.0)])
def test_scaled_schedule_refuses_values_that_are_not_positive(values):
    with pytest.raises(ValueError, match="should be positive, got"):
        ScaledSchedule(CosineSchedule(), *values)


def test_alpha_and_sigma_have_the_log_snr_and_unit_variance():
    log_snr = torch.linspace(-20, 20, 41, dtype=torch.float64)
    alpha, sigma = alpha_sigma(log_snr)
    torch.testing.assert_close(2 * (alpha.log() - sigma.log()), log_snr)
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones_like(log_snr))


@parametrize_bases
def test_time_of_log_snr_inverts_the_schedule(base):
    schedule = ScaledSchedule(base(), 0.1, 20.0)
    found = time_of_log_snr(schedule, schedule.log_snr(INNER_TIMES))
    torch.testing.assert_close(found, INNER_TIMES, rtol=0, atol=1e-12)


def test_time_of_log_snr_outside_the_range_is_the_nearer_end():
    schedule = ScaledSchedule(CosineSchedule(), 0.1, 20.0)
    found = time_of_log_snr(schedule, torch.tensor([30.0, -30.0], dtype=torch.float64))
    torch.testing.assert_close(found, ENDS, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "grid, diffusers_name", [("ddpm_linear", "linear"), ("ddpm_cosine", "squaredcos_cap_v2")]
)
def test_discrete_grid_is_that_of_diffusers(grid, diffusers_name):
    expected = DDPMScheduler(num_train_timesteps=1000, beta_schedule=diffusers_name)
    schedule = DiscreteSchedule(grid, 1000)
    torch.testing.assert_close(
        schedule.alphas_cumprod, expected.alphas_cumprod.double(), rtol=2e-4, atol=1e-8
    )


@pytest.mark.parametrize(
    "grid, num_timesteps, noise_std, log_snr",
    [
        ("ddpm_linear", 1000, 0.898, -1.43),
        ("ddpm_cosine", 1000, 0.595, 0.60),
        ("ddpm_linear", 4000, 0.322, 2.15),
        ("ddpm_cosine", 4000, 0.167, 3.55),
    ],
)
def test_noise_of_timestep_400_depends_on_the_grid(grid, num_timesteps, noise_std, log_snr):
    found = DiscreteSchedule(grid, num_timesteps).log_snr_at(torch.tensor(400))
    assert float(found) == pytest.approx(log_snr, abs=0.01)
    assert float(alpha_sigma(found)[1]) == pytest.approx(noise_std, abs=1e-3)


@pytest.mark.parametrize("grid", DDPM_GRIDS)
def test_discrete_log_snr_at_a_timestep_is_that_of_its_time(grid):
    schedule = DiscreteSchedule(grid, 100)
    times = torch.tensor([schedule.time(i) for i in range(100)], dtype=torch.float64)
    torch.testing.assert_close(schedule.log_snr(times), schedule.log_snr_at(torch.arange(100)))


def test_discrete_log_snr_is_linear_between_timesteps():
    schedule = DiscreteSchedule("ddpm_linear", 101)
    halfway = schedule.log_snr(torch.tensor(0.405, dtype=torch.float64))
    neighbours = schedule.log_snr_at(torch.tensor([40, 41]))
    assert float(halfway) == pytest.approx(float(neighbours.mean()), abs=1e-9)


@pytest.mark.parametrize("grid", DDPM_GRIDS)
def test_discrete_log_snr_falls_with_a_slope_that_is_its_derivative(grid):
    schedule = DiscreteSchedule(grid, 50)
    times = (torch.arange(49, dtype=torch.float64) + 0.5) / 49
    slope = schedule.slope(times)
    assert bool((slope < 0).all())
    torch.testing.assert_close(slope, numerical_slope(schedule, times), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("timestep", [-1, 100])
def test_discrete_schedule_refuses_unknown_timesteps(timestep):
    with pytest.raises(ValueError, match=r"timestep should be in 0 \.\.\. 99, got"):
        DiscreteSchedule("ddpm_linear", 100).time(timestep)


@pytest.mark.parametrize(
    "grid, num_timesteps, message",
    [
        ("quadratic", 100, "grid should be one of .'ddpm_cosine', 'ddpm_linear'., got 'quadratic'"),
        ("ddpm_cosine", 1, "num_timesteps should be at least 2, got 1"),
        ("ddpm_linear", 20, "num_timesteps should be more than 20 for 'ddpm_linear', got 20"),
    ],
)
def test_discrete_schedule_refuses_grids_that_are_none(grid, num_timesteps, message):
    with pytest.raises(ValueError, match=message):
        DiscreteSchedule(grid, num_timesteps)


def test_the_input_scale_of_flow_matching_is_a_shift_of_its_times():
    # Esser et al. 2024, arXiv:2403.03206: t' = s t / (1 + (s - 1) t), which is b = 1/s
    shift = 3.0
    scaled = ScaledSchedule(FlowMatchingSchedule(), 1 / shift, 500.0)
    times = shift * INNER_TIMES / (1 + (shift - 1) * INNER_TIMES)
    torch.testing.assert_close(
        scaled.log_snr(INNER_TIMES), FlowMatchingSchedule().log_snr(times), rtol=0, atol=1e-9
    )
