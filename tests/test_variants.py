"""A schedule, weighting, prediction or sampler is a class or function and a line beside it."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from diffunet.build import build_denoiser, build_sampler, build_schedule, build_weighting
from diffunet.cli import reference
from diffunet.cli.predict import parser
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.samplers import SAMPLERS
from diffunet.diffusion.schedules import DDPM_GRIDS, SCHEDULES
from diffunet.diffusion.weighting import WEIGHTINGS
from diffunet.errors import PlansError
from diffunet.plans import DiffusionPlan, ImageDiffusionPlan, SamplingPlan
from diffunet.records import record_from_json
from tests.test_build import CONFIGURATION, ONE_LABEL

FIELDS = [
    (DiffusionPlan, "schedule", SCHEDULES),
    (DiffusionPlan, "prediction", PREDICTIONS),
    (DiffusionPlan, "loss_weighting", WEIGHTINGS),
    (ImageDiffusionPlan, "schedule", SCHEDULES),
    (ImageDiffusionPlan, "schedule", DDPM_GRIDS),
    (ImageDiffusionPlan, "prediction", PREDICTIONS),
    (ImageDiffusionPlan, "loss_weighting", WEIGHTINGS),
    (SamplingPlan, "sampler", SAMPLERS),
]
parametrize_fields = pytest.mark.parametrize(
    "plan, field, registry", FIELDS, ids=[f"{plan.__name__}.{name}" for plan, name, _ in FIELDS]
)


def from_json(plan, **content):
    return record_from_json(plan, content, where="plans.json: group", error=PlansError)


@parametrize_fields
def test_plans_take_what_is_in_the_registry_from_files_and_from_python(
    plan, field, registry, monkeypatch
):
    monkeypatch.setitem(registry, "mine", next(iter(registry.values())))
    assert from_json(plan, **{field: "mine"}) == plan(**{field: "mine"})


@parametrize_fields
@pytest.mark.parametrize("name", ["mine", "", 3, None, ["ddpm"]])
def test_plans_refuse_what_is_not_in_the_registry(plan, field, registry, name):
    first = next(iter(registry))
    with pytest.raises(
        PlansError, match=rf"^plans.json: group\.{field}: .* is not one of .*'{first}'"
    ):
        from_json(plan, **{field: name})
    with pytest.raises(ValueError, match=rf"^{field}: .* is not one of .*'{first}'"):
        plan(**{field: name})


@parametrize_fields
def test_the_reference_names_what_is_in_the_registry(plan, field, registry, monkeypatch):
    monkeypatch.setitem(registry, "mine", None)
    assert 'or `"mine"`' in " ".join(reference._plan_section("group", plan).split())


def test_the_command_takes_and_shows_every_sampler(monkeypatch):
    monkeypatch.setitem(SAMPLERS, "mine", None)
    assert parser().parse_args(["-i", "a", "-o", "b", "--sampler", "mine"]).sampler == "mine"
    assert ",mine}" in parser().format_help()


def test_a_new_variant_of_each_kind_draws_a_sample(monkeypatch):
    for registry, usual in (
        (SCHEDULES, "parabola"),
        (PREDICTIONS, "v"),
        (WEIGHTINGS, "snr"),
        (SAMPLERS, "ddim"),
    ):
        monkeypatch.setitem(registry, "mine", registry[usual])
    diffusion = DiffusionPlan(schedule="mine", prediction="mine", loss_weighting="mine")
    denoiser = build_denoiser(
        replace(CONFIGURATION, diffusion=diffusion), num_image_channels=1, labels=ONE_LABEL
    )
    sampler = build_sampler(
        SamplingPlan(sampler="mine", num_steps=2), schedule=build_schedule(diffusion)
    )
    features = denoiser.encode_image(torch.zeros(1, 1, 16, 16))
    x_0 = sampler(
        lambda x_t, t: denoiser.predict_x_0(x_t, t, features=features),
        torch.randn(1, 1, 16, 16),
        noise_source=lambda step: torch.zeros(1, 1, 16, 16),
    )
    assert x_0.shape == (1, 1, 16, 16)
    assert build_weighting(diffusion)(torch.zeros(1)) == 1


def test_the_names_are_known_without_torch():
    """Plans read them, and no command should take seconds to say what its options are."""
    code = (
        "import sys, diffunet.plans, diffunet.cli.predict; "
        "print({'torch', 'numpy', 'jaxtyping'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
