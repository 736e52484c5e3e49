"""The passes of a choice are counted before it is made; here it is made, and they are counted."""

import dataclasses
import itertools
import re

import numpy as np
import pytest
import torch

from diffunet.durations import in_words
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.parallel import without_progress
from diffunet.planning.cost import Work, measure_work
from diffunet.plans import CamPlan, EncodingPlan, TrajectoryPlan
from diffunet.training.distributed import Ranks
from diffunet.training.header import sentence_of_time, training_header
from diffunet.wsss.choice import choose, cost, tagged_images
from diffunet.wsss.choice.choose import choose_saliency
from diffunet.wsss.choice.cost import passes_of_choice, seconds_of_choice
from diffunet.wsss.choice.gains import Gains
from diffunet.wsss.choice.tagged_images import validation_images
from tests.training.test_fold_data import opened
from tests.wsss.weak_folds import weak_plans, write_tagged

LABELS = LabelScheme(names=("disc",), values=((1,),))
FULL = {
    "cdm": TrajectoryPlan(),
    "cg_cdm": TrajectoryPlan(guidance_scale=1.0),
    "cg_diff": EncodingPlan(),
    "cam": CamPlan(),
}


@pytest.fixture
def fold(tmp_path):
    def make(method, **weak):
        plans = weak_plans(method=method, weak={**FULL, **weak})
        return opened(write_tagged(tmp_path / method), plans)

    return make


class Tally:
    """Counts the images that go through a network: through its first convolution."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.number = 0
        convolutions = (each for each in network.modules() if isinstance(each, torch.nn.Conv2d))
        next(convolutions).register_forward_pre_hook(self)

    def __call__(self, _, inputs) -> None:
        self.number += len(inputs[0])


def model_of(data):
    model = METHODS[data.plans.method].build_model(
        data.plans.configuration, num_image_channels=1, labels=LABELS
    )
    return model.eval().requires_grad_(False)


def masks_that_differ():
    number = itertools.count()

    def mask(oriented, *_, **__):
        one = np.zeros(oriented.shape, bool)
        one.flat[next(number) % one.size] = True
        return one

    return mask


@pytest.mark.parametrize("method", ["cdm", "classifier"])
def test_a_choice_takes_the_passes_that_were_counted(fold, monkeypatch, method):
    monkeypatch.setattr(tagged_images, "NUM_COMPARED", 2)
    monkeypatch.setattr(Gains, "first_as_good", lambda _: 0)
    monkeypatch.setattr(cost, "_PASSES_OF_A_GRADIENT", 1.0)  # hooks see no backward pass
    monkeypatch.setattr(cost, "_DISTINCT_SHARE", 1.0)
    monkeypatch.setattr(choose, "mask_of", masks_that_differ())
    data = fold(method)
    images = validation_images(data, has_slice_labels=False)
    model = model_of(data)
    classifier = Tally(model if method == "classifier" else model.classifier)
    denoiser = Tally(model if method == "classifier" else model.denoiser.network)
    choose_saliency(data, model, images, ranks=Ranks(), progress=without_progress)
    expected = passes_of_choice(data, images)
    assert expected.denoiser == (denoiser.number if method == "cdm" else 0)
    assert expected.classifier == pytest.approx(classifier.number, rel=0.02)


def test_fields_of_the_user_and_fewer_images_take_less(fold):
    data = fold("cdm")
    images = validation_images(data, has_slice_labels=False)
    work = measure_work(data.plans, LABELS)
    seconds = seconds_of_choice(data, images, work=work)
    kept = dataclasses.replace(data.plans, set_by_user=("weak.cdm.log_snr", "weak.cdm.tau"))
    assert 0 < seconds_of_choice(dataclasses.replace(data, plans=kept), images, work=work) < seconds
    assert seconds_of_choice(data, images[:2], work=work) < seconds
    assert seconds_of_choice(data, [], work=work) == 0


def test_denoiser_and_classifier_have_work_of_their_own(fold):
    data = fold("cdm")
    images = validation_images(data, has_slice_labels=False)
    passes = passes_of_choice(data, images)
    voxels = 16 * 16
    for work, expected in (
        (Work(image=1.0, draw=0.0), passes.classifier),
        (Work(image=0.0, draw=1.0), passes.denoiser),
    ):
        assert seconds_of_choice(data, images, work=work) == pytest.approx(voxels * expected)


def test_a_training_says_how_long_its_choice_takes_and_again_at_its_speed(fold):
    data = fold("cdm")
    finishing = METHODS["cdm"].training().finishing(data, is_whole=False)
    assert finishing is not None
    said = training_header(
        data, fold="0", iteration=0, num_ranks=1, model=model_of(data), finishing=finishing
    )
    (sentence,) = [each for each in said if each.startswith("time:")]
    assert re.search(
        "besides validations; choosing how to make masks takes about .+ then$", sentence
    )
    work = measure_work(data.plans, LABELS)
    slow = 10 * work.of_step(data.plans.configuration)
    told = sentence_of_time(data, seconds_per_iteration=slow, num_left=5, finishing=finishing)
    expected = in_words(10 * finishing.seconds)
    assert told.endswith(f"choosing how to make masks takes about {expected} then")
