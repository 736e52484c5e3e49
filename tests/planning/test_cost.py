"""What a training costs is counted on its networks, and said in words."""

import dataclasses

import pytest
import torch
from torch import nn

from diffunet.durations import in_words
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.planning.cost import measure_work
from diffunet.planning.memory import forward_cost
from tests.training.folds import plans
from tests.wsss.weak_folds import weak_plans

LABELS = LabelScheme(names=("disc",), values=((1,),))


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Conv2d(2, 3, 3, padding=1), (1, 2, 4, 5), 4 * 5 * 3 * 2 * 9),
        (nn.Conv3d(2, 3, 3, padding=1, stride=2), (2, 2, 4, 4, 4), 2 * 8 * 3 * 2 * 27),
        (nn.Linear(5, 7), (2, 5), 2 * 5 * 7),
    ],
)
def test_multiply_adds_of_a_layer(layer, shape, expected):
    network = nn.Sequential(layer)
    assert forward_cost(network, lambda: network(torch.zeros(shape))).multiply_adds == expected


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_work_that_grows_with_batch_and_patch(method):
    made = weak_plans(method=method)
    configuration = made.configuration
    work = measure_work(made, LABELS)
    training = dataclasses.replace(configuration.training, batch_size=8)
    doubled = dataclasses.replace(configuration, training=training, patch_size=(32, 16))
    assert 0 < 4 * work.of_step(configuration) == pytest.approx(work.of_step(doubled))
    assert work.of_training(configuration) == pytest.approx(12 * work.of_step(configuration))


def test_attention_grows_with_the_square_of_a_patch():
    def seconds_of_draw(*, edge, has_attention):
        network = dataclasses.replace(
            plans().configuration.network, has_attention=(has_attention, False)
        )
        made = plans(network=network, patch_size=(edge, edge))
        return edge**2 * measure_work(made, LABELS).draw

    small, large = (
        seconds_of_draw(edge=edge, has_attention=True)
        - seconds_of_draw(edge=edge, has_attention=False)
        for edge in (32, 64)
    )
    ratio = large / small  # the projections of attention grow with the patch alone
    assert 10 < ratio < 16


def test_a_noise_level_more_costs_less_than_an_image_more():
    made = plans()
    work = measure_work(made, LABELS)
    several = plans(training={"num_draws": 2})
    twice = plans(training={"batch_size": 8})
    assert work.draw > 0
    once = work.of_step(made.configuration)
    assert once < work.of_step(several.configuration) < work.of_step(twice.configuration)


def test_a_self_conditioned_network_has_a_little_more_work():
    diffusion = dataclasses.replace(plans().configuration.diffusion, is_self_conditioned=True)
    work, before = measure_work(plans(diffusion=diffusion), LABELS), measure_work(plans(), LABELS)
    assert before.draw < work.draw < 1.2 * before.draw


def test_an_image_of_many_tiles_takes_longer_than_its_voxels_alone():
    work = measure_work(plans(), LABELS)
    small = work.of_case(plans(median_shape=(16, 16)))
    large = work.of_case(plans(median_shape=(32, 32)))
    assert large == pytest.approx(4 * 4 * small)  # tiles overlap by half along each axis


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.412, "0.41 seconds"),
        (1, "1 second"),
        (89, "89 seconds"),
        (90, "1.5 minutes"),
        (26 * 60 + 3, "26 minutes"),
        (3600 * 3.46, "3.5 hours"),
        (3600 * 48, "2 days"),
        (86400 * 123, "120 days"),
    ],
)
def test_durations_in_words(seconds, words):
    assert in_words(seconds) == words
