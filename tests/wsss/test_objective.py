import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from diffunet.build import build_schedule, build_weighting
from diffunet.diffusion.process import DiscreteSchedule, add_noise
from diffunet.diffusion.schedules import DDPM_GRIDS, SCHEDULES
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.plans import ImageDiffusionPlan
from diffunet.training.objective import TensorBatch, noise_of, times_of
from diffunet.wsss.training.objective import (
    CdmObjective,
    ClassifierObjective,
    classified_images,
    clean_turns,
)
from tests.training.folds import SIZE
from tests.wsss.weak_folds import weak_plans

TWO = LabelScheme(names=("a", "b"), values=((1,), (2,)))
ALL_SCHEDULES = (*SCHEDULES, *DDPM_GRIDS)


def batch(num_samples: int = 8, *, iteration: int = 3, indices=None) -> TensorBatch:
    generator = torch.Generator().manual_seed(1)
    indices = tuple(range(num_samples)) if indices is None else indices
    images = torch.randn(num_samples, 1, SIZE, SIZE, generator=generator)
    tags = torch.randint(0, 2, (num_samples, 2), generator=generator).float()
    return TensorBatch(
        images=images[list(indices)],
        label_maps=None,
        tags=tags[list(indices)],
        iteration=iteration,
        indices=indices,
        global_size=num_samples,
    )


def cdm(*, clean_share: float = 0.25, **diffusion) -> CdmObjective:
    weak = {"clean_share": clean_share, "diffusion": ImageDiffusionPlan(**diffusion)}
    return CdmObjective(configuration=weak_plans(weak=weak).configuration, labels=TWO, seed=5)


def built(objective):
    torch.manual_seed(0)
    method = "cdm" if isinstance(objective, CdmObjective) else "classifier"
    model = METHODS[method].build_model(
        objective.configuration, num_image_channels=1, labels=objective.labels
    )
    for parameter in model.parameters():  # zero-initialised layers would hide what comes before
        parameter.data.normal_(std=0.1)
    return model


class Recorder(nn.Module):
    """Wraps a network and keeps what it is asked."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.asked: list[tuple] = []

    def embed_labels(self, tags):
        return self.network.embed_labels(tags)

    def forward(self, *arguments):
        self.asked.append(arguments)
        return self.network(*arguments)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_the_classifier_sees_the_very_noise_that_the_denoiser_sees(schedule):
    """The same bits of x_t and of t, through the objective as a whole."""
    objective = cdm(clean_share=0, schedule=schedule)
    model = built(objective)
    model.denoiser.network = Recorder(model.denoiser.network)
    model.classifier = Recorder(model.classifier)
    objective(model, batch())
    (denoised,), (classified,) = model.denoiser.network.asked, model.classifier.asked
    assert torch.equal(denoised[0], classified[0])
    assert torch.equal(denoised[1], classified[1])


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_the_classifier_sees_at_t_what_the_sampler_makes_at_t(schedule):
    """`predict_x_0`, the samplers' door, passes the same x_t and t on to the network."""
    plan = ImageDiffusionPlan(schedule=schedule)
    planned, given = build_schedule(plan), batch()
    if isinstance(planned, DiscreteSchedule):
        steps = torch.arange(0, 1000, 125)
        times = torch.tensor([planned.time(int(step)) for step in steps], dtype=torch.float64)
        torch.testing.assert_close(planned.log_snr(times), planned.log_snr_at(steps))
    else:
        times = times_of(given, seed=0)
    noise = noise_of(given, given.images.shape[1:], seed=0)
    image, seen = classified_images(
        given.images, times, noise, schedule=planned, is_clean=(False,) * 8
    )
    expected = add_noise(given.images, noise, log_snr=planned.log_snr(times))
    assert torch.equal(image, expected)
    model = built(cdm(schedule=schedule))
    model.denoiser.network = Recorder(model.denoiser.network)
    model.denoiser.predict_x_0(
        expected, times, features=None, condition=model.embed_labels(given.tags)
    )
    ((x_t, t, _, _),) = model.denoiser.network.asked
    assert torch.equal(x_t, image)
    assert torch.equal(t, seen.to(image))


def test_clean_samples_are_the_images_themselves_at_time_zero():
    objective = cdm(clean_share=0.25)
    model = built(objective)
    model.classifier = Recorder(model.classifier)
    given = batch()
    objective(model, given)
    ((image, times),) = model.classifier.asked
    is_clean = torch.tensor(clean_turns(given, share=0.25))
    assert is_clean.sum() == 2
    assert torch.equal(image[is_clean], given.images[is_clean])
    assert (times[is_clean] == 0).all()
    assert (times[~is_clean] == times_of(given, seed=5)[~is_clean].float()).all()


@pytest.mark.parametrize(
    ("size", "share", "counts"), [(8, 0.25, {2}), (4, 0.0, {0}), (4, 1.0, {4})]
)
def test_every_batch_has_as_many_clean_samples(size, share, counts):
    found = {sum(clean_turns(batch(size, iteration=i), share=share)) for i in range(20)}
    assert found == counts


@pytest.mark.parametrize("size", [1, 2, 3])
def test_small_batches_meet_the_share_over_several_iterations(size):
    turns = [clean_turns(batch(size, iteration=i), share=0.25) for i in range(40)]
    assert sum(map(sum, turns)) == 10 * size


def test_a_rank_has_the_turns_of_its_samples():
    whole = clean_turns(batch(), share=0.5)
    part = clean_turns(batch(indices=(1, 6)), share=0.5)
    assert part == (whole[1], whole[6])


def test_denoising_is_the_planned_weighting_of_the_error_of_x_0():
    objective = cdm(clean_share=0, loss_weighting="sigmoid", loss_weighting_bias=1.5)
    model, given = built(objective), batch()
    times = times_of(given, seed=5)
    noise = noise_of(given, given.images.shape[1:], seed=5)
    log_snr = model.schedule.log_snr(times)
    x_0_hat = model.denoiser.predict_x_0(
        add_noise(given.images, noise, log_snr=log_snr),
        times,
        features=None,
        condition=model.embed_labels(given.tags),
    )
    weight = build_weighting(objective.configuration.weak.diffusion)(log_snr)
    assert float(weight[0]) == pytest.approx(1 / (1 + math.exp(1.5 - float(log_snr[0]))))
    errors = (x_0_hat - given.images).square().flatten(1).sum(dim=1)
    term = objective(model, given)["denoising"]
    assert float(term.total.detach()) == pytest.approx(
        float((weight * errors).sum().detach()), rel=1e-4
    )
    assert float(term.count) == given.images.numel()


def test_classification_is_the_cross_entropy_of_each_label():
    objective = ClassifierObjective(
        configuration=weak_plans(method="classifier").configuration, labels=TWO, seed=0
    )
    model, given = built(objective), batch()
    probabilities = model(given.images).sigmoid()
    expected = -torch.where(given.tags == 1, probabilities, 1 - probabilities).log().sum()
    term = objective(model, given)["classification"]
    assert float(term.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(term.count) == 16
    assert objective.components(model) == (model,)


def test_parts_of_a_batch_add_up_to_the_whole():
    objective = cdm()
    model = built(objective)
    whole = objective(model, batch())
    parts = [objective(model, batch(indices=indices)) for indices in ((0, 1, 2), (3, 4, 5, 6, 7))]
    for name, term in whole.items():
        sums = [
            getattr(parts[0][name], kind) + getattr(parts[1][name], kind)
            for kind in ("total", "count")
        ]
        torch.testing.assert_close([term.total, term.count], sums)


def test_the_two_components_share_no_gradient_and_leave_nothing_out():
    objective = cdm()
    model = built(objective)
    terms = objective(model, batch())
    parts = objective.components(model)
    names = [{id(parameter) for parameter in part.parameters()} for part in parts]
    assert names[0].isdisjoint(names[1])
    assert names[0] | names[1] == {id(parameter) for parameter in model.parameters()}
    terms["denoising"].total.backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in parts[1].parameters())
    model.zero_grad()
    terms["classification"].total.backward()
    assert all(parameter.grad is None for parameter in parts[0].parameters())
    assert all(parameter.grad is not None for parameter in parts[1].parameters())


def test_the_denoiser_learns_from_the_noised_samples_alone():
    objective, given = cdm(clean_share=0.25), batch()
    model = built(objective)
    model.denoiser.network = Recorder(model.denoiser.network)
    term = objective(model, given)["denoising"]
    ((x_t, *_),) = model.denoiser.network.asked
    assert len(x_t) == 6
    assert float(term.count) == x_t.numel()


def test_a_part_without_noised_samples_has_no_denoising_loss_but_gradients_for_all_ranks():
    objective = cdm(clean_share=0.25)
    model, part = built(objective), batch(indices=(3,))
    assert clean_turns(part, share=0.25) == (True,)
    term = objective(model, part)["denoising"]
    assert (float(term.total.detach()), float(term.count)) == (0, 0)
    term.total.backward()
    gradients = [parameter.grad for parameter in model.denoiser.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_labels_reach_the_denoiser_as_its_condition():
    objective = cdm()
    model, given = built(objective), batch()
    other = dataclasses.replace(given, tags=1 - given.tags)
    terms = [float(objective(model, each)["denoising"].total.detach()) for each in (given, other)]
    assert not np.isclose(*terms)
