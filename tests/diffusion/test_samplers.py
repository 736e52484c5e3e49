import gc
import inspect
import itertools
import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from diffunet.diffusion.process import DiscreteSchedule, ScaledSchedule
from diffunet.diffusion.samplers import SAMPLERS
from diffunet.diffusion.sampling import (
    ddim_step,
    draw,
    level_of,
    num_volumes,
    sampling_steps,
    sampling_times,
    take_step,
)
from diffunet.diffusion.schedules import (
    SCHEDULES,
    CosineSchedule,
    FlowMatchingSchedule,
    ParabolaSchedule,
    alpha_sigma,
)

SCHEDULE = ScaledSchedule(CosineSchedule(), 1.0, 20.0)
HARD_SCHEDULE = ScaledSchedule(CosineSchedule(), 0.1, 20.0)


def step_of(name, *log_snrs, variance="large"):
    return SAMPLERS[name]([level_of(log_snr) for log_snr in log_snrs], variance=variance)


# a step in the midst of a trajectory, and what it tells of its sampler
STEPS = {name: step_of(name, -6.0, -5.0, -4.0, -3.0, -1.0) for name in SAMPLERS}
DETERMINISTIC = [name for name, step in STEPS.items() if step.of_noise == 0]
NUM_USED = {name: len(step.of_x_0) for name, step in STEPS.items()}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def no_noise(step):
    raise AssertionError(f"noise of step {step} was asked for")


def run(
    name,
    predict_x_0,
    x_T,
    *,
    num_steps=10,
    times=None,
    schedule=SCHEDULE,
    noise_source=None,
    variance="large",
):
    times = times or sampling_times(num_steps, "t", schedule)
    return draw(
        predict_x_0,
        x_T.clone(),  # it is given away
        times=times,
        steps=sampling_steps(SAMPLERS[name], times, schedule=schedule, variance=variance),
        noise_source=noise_source or (lambda step: noise(*x_T.shape, seed=step + 1)),
    )


# Times


@pytest.mark.parametrize("spacing", ["t", "log_snr"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("base", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_times_fall_strictly_from_1_to_0(spacing, num_steps, base):
    times = sampling_times(num_steps, spacing, ScaledSchedule(base(), 0.1, 20.0))
    assert len(times) == num_steps + 1
    assert (times[0], times[-1]) == (1.0, 0.0)
    assert all(late > early for late, early in itertools.pairwise(times))
    assert all(type(t) is float for t in times)


def test_times_even_in_t():
    expected = [1.0, 0.75, 0.5, 0.25, 0.0]
    assert list(sampling_times(4, "t", SCHEDULE)) == pytest.approx(expected)


def test_times_even_in_log_snr_have_even_steps_of_log_snr():
    times = torch.tensor(sampling_times(10, "log_snr", HARD_SCHEDULE), dtype=torch.float64)
    ends = HARD_SCHEDULE.log_snr(torch.tensor([0.95, 0.05], dtype=torch.float64))
    steps = HARD_SCHEDULE.log_snr(times[1:-1]).diff()
    torch.testing.assert_close(steps, ((ends[1] - ends[0]) / 10).expand(8))


def test_times_even_in_log_snr_are_symmetric_where_the_schedule_is():
    times = sampling_times(4, "log_snr", SCHEDULE)
    assert times[2] == pytest.approx(0.5)
    assert times[1] == pytest.approx(1 - times[3])


@pytest.mark.parametrize(
    "num_steps, spacing, message",
    [
        (0, "t", "num_steps should be at least 1, got 0"),
        (5, "sigma", "spacing should be 't' or 'log_snr', got 'sigma'"),
    ],
)
def test_times_that_cannot_be_are_refused(num_steps, spacing, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(sampling_times)(num_steps, spacing, SCHEDULE)


# Contract of every sampler


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_step_returns_x_0_hat_of_the_noise(name):
    x_T = noise(2, 1, 3, 3)
    found = run(name, lambda x, t: 0.1 * x + t / 10, x_T, num_steps=1, noise_source=no_noise)
    torch.testing.assert_close(found, 0.1 * x_T + 0.1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_last_step_returns_x_0_hat_and_never_evaluates_at_0(name):
    seen = []

    def predict(x_t, t):
        seen.append((type(t), t))
        return torch.full_like(x_t, t)

    found = run(name, predict, noise(1, 1, 2, 2), num_steps=4)
    assert seen == [(float, t) for t in (1.0, 0.75, 0.5, 0.25)]
    assert torch.equal(found, torch.full((1, 1, 2, 2), 0.25, dtype=torch.float64))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("num_steps", [1, 5])
def test_x_0_is_clipped(name, num_steps):
    found = run(name, lambda x, t: 5 * x, noise(1, 1, 4, 4), num_steps=num_steps)
    assert float(found.abs().max()) == 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_steps_see_the_clipped_x_0(name):
    x_T = noise(1, 1, 4, 4)
    wild = run(name, lambda x, t: 100 * x.sign(), x_T)
    assert torch.equal(wild, run(name, lambda x, t: x.sign(), x_T))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("wild_until", [0.9, 0.5])
def test_an_early_x_0_beyond_1_leads_no_further_than_1(name, wild_until):
    """The last answer shows how far the steps before it went: it is made of x_t."""

    def run_from(first):
        return run(name, lambda x, t: 0.1 * x if t < wild_until else first * x.sign(), x_T)

    x_T = noise(1, 1, 4, 4)
    assert torch.equal(run_from(100), run_from(1))


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in DETERMINISTIC])
def test_ancestral_sampling_asks_for_each_noise_once_and_in_order(name):
    asked = []

    def source(step):
        asked.append(step)
        return noise(1, 1, 2, 2, seed=step)

    run(name, lambda x, t: 0.1 * x, noise(1, 1, 2, 2), num_steps=5, noise_source=source)
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_sampling_never_asks_for_noise(name):
    found = run(name, lambda x, t: 0.1 * x, noise(1, 1, 2, 2), num_steps=5, noise_source=no_noise)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("name", SAMPLERS)
def test_predictions_and_fresh_noise_are_not_written_to(name):
    fresh, constant = noise(1, 1, 4, 4), 3 * noise(1, 1, 4, 4, seed=1)
    before = fresh.clone(), constant.clone()
    run(name, lambda x, t: constant, noise(1, 1, 4, 4, seed=2), noise_source=lambda step: fresh)
    assert torch.equal(fresh, before[0])
    assert torch.equal(constant, before[1])


@pytest.mark.parametrize("name", SAMPLERS)
def test_predictions_that_are_given_away_are_clipped_in_place(name):
    times = sampling_times(3, "t", SCHEDULE)
    steps = sampling_steps(SAMPLERS[name], times, schedule=SCHEDULE, variance="large")
    given = []

    def predict(x_t, t):
        given.append(3 * x_t)
        return given[-1]

    settings = {"times": times, "steps": steps}
    found = draw(
        predict,
        noise(1, 1, 4, 4),
        noise_source=lambda step: noise(1, 1, 4, 4, seed=step),
        takes_predictions=True,
        **settings,
    )
    assert found is given[-1]
    assert all(float(each.abs().max()) <= 1 for each in given)
    copied = draw(
        lambda x_t, t: 3 * x_t,
        noise(1, 1, 4, 4),
        noise_source=lambda step: noise(1, 1, 4, 4, seed=step),
        **settings,
    )
    assert torch.equal(found, copied)


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_volume_is_made_for_x_t(name):
    """x_T becomes x_t, so that whoever holds x_T costs nothing."""
    times = sampling_times(3, "t", SCHEDULE)
    steps = sampling_steps(SAMPLERS[name], times, schedule=SCHEDULE, variance="large")
    x_T, places = noise(1, 1, 4, 4), []

    def predict(x_t, t):
        places.append(x_t.data_ptr())
        return 0.1 * x_t

    draw(predict, x_T, times=times, steps=steps, noise_source=lambda step: noise(1, 1, 4, 4))
    assert set(places) == {x_T.data_ptr()}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("shape", [(4, 5), (2, 1, 4, 5), (1, 3, 4, 5, 6)])
def test_any_shape_and_float32_stay_as_they_are(name, shape):
    x_T = noise(*shape).float()
    found = run(name, lambda x, t: x / 2, x_T, noise_source=lambda step: noise(*shape).float())
    assert found.shape == shape
    assert found.dtype == torch.float32


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_graph_is_kept(name):
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert not run(name, lambda x, t: weight * x, noise(1, 1, 2, 2)).requires_grad


@pytest.mark.parametrize("name", SAMPLERS)
def test_predictions_made_in_inference_mode_are_accepted(name):
    @torch.inference_mode()
    def predict(x_t, t):
        return 2 * x_t

    assert bool(run(name, predict, noise(1, 1, 2, 2)).isfinite().all())


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    "times", [(1.0,), (0.5, 0.7, 0.0), (1.0, 1.0, 0.0), (1.1, 0.0), (1.0, -0.1)]
)
def test_times_that_do_not_fall_from_1_to_0_are_refused(name, times):
    with pytest.raises(ValueError, match="times should be two or more, falling"):
        run(name, lambda x, t: x, noise(1, 1, 2, 2), times=times)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_schedule_without_limit_is_refused(name):
    with pytest.raises(ValueError, match="limit the schedule with ScaledSchedule"):
        run(name, lambda x, t: x, noise(1, 1, 2, 2), schedule=ParabolaSchedule())


@pytest.mark.parametrize("name", SAMPLERS)
def test_only_x_t_and_what_the_method_needs_is_held_during_a_prediction(name):
    num_voxels, num_steps, held = 1237, NUM_USED[name] + 2, []

    def volumes():
        tensors = [item for item in gc.get_objects() if type(item) is torch.Tensor]
        return {t.untyped_storage().data_ptr() for t in tensors if t.numel() == num_voxels}

    def predict(x_t, t):
        held.append(len(volumes()))
        return 0.1 * x_t

    run(name, predict, noise(num_voxels), num_steps=num_steps)
    most = 1 + (NUM_USED[name] - 1)  # x_t and the x_0_hats before
    assert max(held) <= most + 1  # and x_T, which `run` holds
    steps = [STEPS[name]] * num_steps
    assert num_volumes(steps) == most + 1  # and x_0_hat


# Steps


def test_a_ddim_step_keeps_the_noise():
    x_0, eps = 0.3 * noise(2, 3), noise(2, 3, seed=1)
    (alpha_t, alpha_s), (sigma_t, sigma_s) = alpha_sigma(
        torch.tensor([-3.0, 1.0], dtype=torch.float64)
    )
    x_t = alpha_t * x_0 + sigma_t * eps
    found = ddim_step(x_t, x_0, log_snr_t=-3.0, log_snr_s=1.0)
    torch.testing.assert_close(found, alpha_s * x_0 + sigma_s * eps)


def test_a_ddim_step_back_undoes_the_step():
    x_t, x_0 = noise(2, 3), noise(2, 3, seed=1)
    there = ddim_step(x_t, x_0, log_snr_t=-3.0, log_snr_s=1.0)
    back = ddim_step(there, x_0, log_snr_t=1.0, log_snr_s=-3.0)
    torch.testing.assert_close(back, x_t)


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("num_levels", [2, 3, 4, 5])
def test_a_deterministic_step_whose_x_0_stands_still_is_a_ddim_step(name, num_levels):
    x_t, x_0 = noise(2, 3), noise(2, 3, seed=1)
    step = step_of(name, *[-7.0, -4.5, -4.0, -3.0, 1.0][-num_levels:])
    found = take_step(step, x_t, [x_0] * len(step.of_x_0))
    torch.testing.assert_close(found, ddim_step(x_t, x_0, log_snr_t=-3.0, log_snr_s=1.0))


@pytest.mark.parametrize("variance", ["large", "small"])
def test_a_ddpm_step_that_goes_nowhere_changes_nothing(variance):
    x_t, x_0 = noise(2, 3), noise(2, 3, seed=1)
    step = step_of("ddpm", -3.0, -3.0, variance=variance)
    assert step.of_noise == 0
    torch.testing.assert_close(take_step(step, x_t, [x_0]), x_t)


def test_a_small_variance_step_from_x_t_of_a_known_x_0_has_the_marginal_of_x_s():
    # x_t = alpha_t x_0 + sigma_t eps; the posterior's x_s has mean alpha_s x_0, variance sigma_s^2
    t, s = level_of(-3.0), level_of(1.0)
    step = step_of("ddpm", -3.0, 1.0, variance="small")
    assert step.of_x_t * t.alpha + step.of_x_0[0] == pytest.approx(s.alpha)
    assert (step.of_x_t * t.sigma) ** 2 + step.of_noise**2 == pytest.approx(s.sigma**2)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_step_may_write_into_x_t(name):
    x_t, step = noise(2, 3), STEPS[name]
    x_0_hats = [noise(2, 3, seed=1 + index) for index in range(len(step.of_x_0))]
    before = x_t.clone()
    expected = take_step(step, x_t, x_0_hats)
    assert torch.equal(x_t, before)
    assert take_step(step, x_t, x_0_hats, out=x_t) is x_t
    torch.testing.assert_close(x_t, expected)


def test_an_ancestral_step_to_more_noise_is_refused():
    with pytest.raises(ValueError, match="log SNR of s should be at least that of t = 1.0, got -3"):
        step_of("ddpm", 1.0, -3.0)


def test_a_third_order_step_integrates_the_parabola_through_three_predictions():
    """The definition, by Lagrange's polynomials and Gauss' rule: an independent statement."""
    log_snrs, x_0_hats = [-5.0, -4.2, -3.0, -1.6], [0.3, -0.2, 0.5]
    lambdas = [log_snr / 2 for log_snr in log_snrs]
    nodes, weights = np.polynomial.legendre.leggauss(20)
    points = (lambdas[3] - lambdas[2]) / 2 * (nodes + 1) + lambdas[2]
    parabola = np.polyval(np.polyfit(lambdas[:3], x_0_hats, 2), points)
    integral = (lambdas[3] - lambdas[2]) / 2 * weights @ (np.exp(points - lambdas[3]) * parabola)
    t, s = level_of(log_snrs[2]), level_of(log_snrs[3])
    expected = s.sigma / t.sigma * 0.7 + s.alpha * integral
    step = step_of("dpm_solver_3m", *log_snrs)
    found = 0.7 * step.of_x_t + np.dot(step.of_x_0, x_0_hats[::-1])
    assert found == pytest.approx(expected, rel=1e-12)


def test_euler_steps_of_flow_matching_are_ddim_steps_of_its_schedule():
    """On any grid of times; x_t of the flow is that of DDIM times sqrt((1 - t)^2 + t^2)."""
    generator = torch.Generator().manual_seed(3)
    inner = torch.rand(12, generator=generator, dtype=torch.float64).sort(descending=True).values
    times = [0.999, *inner.mul(0.99).tolist(), 0.0]

    def predict(x_t, t):
        return torch.tanh(x_t + t).clamp(-1, 1)

    def norm(t):
        return math.hypot(1 - t, t)

    x_T = noise(1, 1, 4, 4)
    schedule = FlowMatchingSchedule()
    found = run("ddim", predict, x_T, times=times, schedule=schedule, noise_source=no_noise)
    x = norm(times[0]) * x_T
    for t, s in itertools.pairwise(times):
        x_0 = predict(x / norm(t), t)
        velocity = (x - (1 - t) * x_0) / t - x_0  # noise - x_0
        x = x + (s - t) * velocity
    torch.testing.assert_close(found, x, rtol=0, atol=1e-9)


# Against diffusers


@pytest.mark.parametrize("variance", ["large", "small"])
@pytest.mark.parametrize("timestep", [999, 500, 10])
def test_ddpm_step_is_that_of_diffusers(variance, timestep):
    oracle = DDPMScheduler(
        prediction_type="sample", variance_type=f"fixed_{variance}", clip_sample=False
    )
    x_t, x_0 = noise(2, 1, 3, 3).float(), noise(2, 1, 3, 3, seed=1).float()
    generator = torch.Generator().manual_seed(7)
    expected = oracle.step(x_0, timestep, x_t, generator=generator).prev_sample
    fresh = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(7))
    log_snr = DiscreteSchedule("ddpm_linear", 1000).log_snr_at(
        torch.tensor([timestep, timestep - 1])
    )
    step = step_of("ddpm", *log_snr.tolist(), variance=variance)
    found = take_step(step, x_t, [x_0]).add_(fresh, alpha=step.of_noise)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "grid, beta_schedule", [("ddpm_linear", "linear"), ("ddpm_cosine", "squaredcos_cap_v2")]
)
@pytest.mark.parametrize("timestep", [980, 500, 40])
def test_ddim_step_is_that_of_diffusers(grid, beta_schedule, timestep):
    oracle = DDIMScheduler(beta_schedule=beta_schedule, prediction_type="sample", clip_sample=False)
    oracle.set_timesteps(50)
    x_t, x_0 = noise(2, 1, 3, 3).float(), noise(2, 1, 3, 3, seed=1).float()
    expected = oracle.step(x_0, timestep, x_t, eta=0.0).prev_sample
    log_snr = DiscreteSchedule(grid, 1000).log_snr_at(torch.tensor([timestep, timestep - 20]))
    found = ddim_step(x_t, x_0, log_snr_t=float(log_snr[0]), log_snr_s=float(log_snr[1]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def bent(x_t, log_snr):
    return torch.tanh(x_t + log_snr / 20)


def straight(x_t, log_snr):
    return torch.full_like(x_t, 0.1 + log_snr / 40)


@pytest.mark.parametrize("num_steps", [2, 3, 10, 25])
@pytest.mark.parametrize("order, x_0_hat", [(2, bent), (3, straight)])
def test_solver_trajectory_is_that_of_diffusers(num_steps, order, x_0_hat):
    """Of third order where x_0_hat is straight in log SNR: theirs halves its second derivative."""
    oracle = DPMSolverMultistepScheduler(
        beta_schedule="linear",
        prediction_type="sample",
        algorithm_type="dpmsolver++",
        solver_order=order,
        solver_type="midpoint",
        lower_order_final=False,
        final_sigmas_type="zero",
    )
    oracle.set_timesteps(num_steps)
    schedule = DiscreteSchedule("ddpm_linear", 1000)

    def predict(x_t, t):
        return x_0_hat(x_t, float(schedule.log_snr(torch.tensor(t, dtype=torch.float64))))

    x_T = noise(2, 1, 3, 3).float()
    expected = x_T
    for timestep in oracle.timesteps:
        x_0 = predict(expected, schedule.time(int(timestep)))
        expected = oracle.step(x_0, timestep, expected).prev_sample
    times = [schedule.time(int(timestep)) for timestep in oracle.timesteps]
    found = run(f"dpm_solver_{order}m", predict, x_T, times=(*times, 0.0), schedule=schedule)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("num_steps", [2, 3, 10, 25])
def test_the_trajectory_with_fresh_noise_is_that_of_diffusers(num_steps):
    oracle = DPMSolverMultistepScheduler(
        beta_schedule="linear",
        prediction_type="sample",
        algorithm_type="sde-dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=False,
        final_sigmas_type="zero",
    )
    oracle.set_timesteps(num_steps)
    schedule = DiscreteSchedule("ddpm_linear", 1000)

    def predict(x_t, t):
        return bent(x_t, float(schedule.log_snr(torch.tensor(t, dtype=torch.float64))))

    x_T = noise(2, 1, 3, 3).float()
    expected = x_T
    for index, timestep in enumerate(oracle.timesteps):
        x_0 = predict(expected, schedule.time(int(timestep)))
        generator = torch.Generator().manual_seed(index)
        expected = oracle.step(x_0, timestep, expected, generator=generator).prev_sample
    times = [schedule.time(int(timestep)) for timestep in oracle.timesteps]
    found = run(
        "dpm_solver_2m_sde",
        predict,
        x_T,
        times=(*times, 0.0),
        schedule=schedule,
        noise_source=lambda index: torch.randn(
            x_T.shape, generator=torch.Generator().manual_seed(index)
        ),
    )
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


# Gaussian data: the ideal denoiser is linear, so mean and variance are known exactly

MEAN, SPREAD = 0.1, 0.1
GAUSSIAN_CASES = [
    (name, variance)
    for name in SAMPLERS
    for variance in (("large",) if name in DETERMINISTIC else ("large", "small"))
]


def ideal_gain(t, schedule):
    """Return alpha_t, sigma_t and k of E[x_0 | x_t] = MEAN + k (x_t - alpha_t MEAN)."""
    alpha, sigma = alpha_sigma(schedule.log_snr(torch.tensor(t, dtype=torch.float64)))
    alpha, sigma = float(alpha), float(sigma)
    return alpha, sigma, SPREAD**2 * alpha / (SPREAD**2 * alpha**2 + sigma**2)


def sampled_mean_and_variance(name, variance, num_steps, schedule=SCHEDULE):
    """Return exact mean and variance of the sampler's result, by its response to each input.

    The result is linear in x_T and every noise. Element 0 has all of them 0; element i has a small
    input i - 1 (no clipping) and all others 0.
    """
    size, small = num_steps + 1, 1e-2

    def unit(index):
        vector = torch.zeros(size, dtype=torch.float64)
        vector[index] = small
        return vector

    def predict(x_t, t):
        alpha, _, gain = ideal_gain(t, schedule)
        return MEAN + gain * (x_t - alpha * MEAN)

    found = run(
        name,
        predict,
        unit(1),
        num_steps=num_steps,
        schedule=schedule,
        noise_source=lambda step: unit(step + 2),
        variance=variance,
    )
    responses = (found[1:] - found[0]) / small
    return float(found[0]), float(responses.square().sum())


def recursion(name, variance, num_steps, schedule=SCHEDULE):
    """Return mean and variance after the steps, written with betas as Ho et al. 2020 do."""
    times = [1 - i / num_steps for i in range(num_steps)]
    mean, spread_squared = 0.0, 1.0
    for t, s in itertools.pairwise(times):
        alpha_t, sigma_t, gain = ideal_gain(t, schedule)
        alpha_s, sigma_s, _ = ideal_gain(s, schedule)
        if name == "ddpm":
            beta = 1 - (alpha_t / alpha_s) ** 2
            of_x_t = math.sqrt(1 - beta) * sigma_s**2 / sigma_t**2
            of_x_0 = alpha_s * beta / sigma_t**2
            added = beta if variance == "large" else beta * sigma_s**2 / sigma_t**2
        else:
            of_x_t, added = sigma_s / sigma_t, 0.0
            of_x_0 = alpha_s - alpha_t * sigma_s / sigma_t
        mean = of_x_t * mean + of_x_0 * (MEAN + gain * (mean - alpha_t * MEAN))
        spread_squared = (of_x_t + of_x_0 * gain) ** 2 * spread_squared + added
    alpha, _, gain = ideal_gain(times[-1], schedule)
    return MEAN + gain * (mean - alpha * MEAN), gain**2 * spread_squared


@pytest.mark.parametrize(
    "name, variance", [("ddpm", "large"), ("ddpm", "small"), ("ddim", "large")]
)
@pytest.mark.parametrize("num_steps", [1, 2, 10, 100])
@pytest.mark.parametrize("schedule", [SCHEDULE, HARD_SCHEDULE], ids=["b 1", "b 0.1"])
def test_gaussian_data_follow_the_exact_recursion(name, variance, num_steps, schedule):
    expected = recursion(name, variance, num_steps, schedule)
    found = sampled_mean_and_variance(name, variance, num_steps, schedule)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name, variance", GAUSSIAN_CASES)
def test_gaussian_data_come_back_with_their_mean_and_spread(name, variance):
    mean, spread_squared = sampled_mean_and_variance(name, variance, 1000)
    assert mean == pytest.approx(MEAN, rel=0.01)
    assert math.sqrt(spread_squared) == pytest.approx(SPREAD, rel=0.03)


def test_large_variance_spreads_more_than_small():
    large = sampled_mean_and_variance("ddpm", "large", 20)[1]
    assert large > sampled_mean_and_variance("ddpm", "small", 20)[1]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_the_order_of_a_method_is_the_number_of_predictions_that_it_uses(name):
    # On data N(0, 1/4) the probability flow keeps x_t / sqrt(alpha_t^2 / 4 + sigma_t^2) constant.
    def spread(level):
        return math.sqrt(level.alpha**2 / 4 + level.sigma**2)

    def error(num_steps):
        levels = [level_of(-6 + 8 * i / num_steps) for i in range(num_steps + 1)]
        gains = [level.alpha / 4 / spread(level) ** 2 for level in levels]
        x_0_hats = [gains[index] * spread(levels[index]) for index in range(NUM_USED[name] - 1)]
        x = spread(levels[len(x_0_hats)])  # the steps before were exact
        for index in range(len(x_0_hats), num_steps):
            x_0_hats.append(gains[index] * x)
            step = SAMPLERS[name](levels[: index + 2], variance="large")
            x = step.of_x_t * x + np.dot(step.of_x_0, x_0_hats[: -NUM_USED[name] - 1 : -1])
        return abs(x - spread(levels[-1]))

    assert math.log2(error(100) / error(200)) == pytest.approx(NUM_USED[name], abs=0.15)


# Masks that are there or not: what makes segmentation ambiguous

PRESENCE, NUM_VOXELS = 0.3, 16


@pytest.mark.parametrize("name, variance", GAUSSIAN_CASES)
def test_an_object_is_drawn_as_often_as_it_is_there(name, variance):
    num_samples = 4000
    schedule = ScaledSchedule(CosineSchedule(), NUM_VOXELS**-0.5, 20.0)

    def predict(x_t, t):
        alpha, sigma = alpha_sigma(schedule.log_snr(torch.tensor(t, dtype=torch.float64)))
        evidence = 2 * alpha / sigma.square() * x_t.sum(dim=1, keepdim=True)
        half_logit = (math.log(PRESENCE / (1 - PRESENCE)) + evidence) / 2
        return torch.tanh(half_logit).expand_as(x_t)

    found = run(
        name,
        predict,
        noise(num_samples, NUM_VOXELS, seed=99),
        num_steps=100,
        schedule=schedule,
        variance=variance,
    )
    is_there = found.mean(dim=1) > 0
    standard_error = math.sqrt(PRESENCE * (1 - PRESENCE) / num_samples)
    assert float(is_there.double().mean()) == pytest.approx(PRESENCE, abs=4 * standard_error)
    assert float((found.abs() > 0.99).double().mean()) > 0.98
