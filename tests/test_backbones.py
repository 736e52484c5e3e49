"""A backbone is a class and a line in `BACKBONES`; plans, training and prediction take its name."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffunet.backbones import BACKBONES
from diffunet.backbones.concatenated import Concatenated
from diffunet.build import build_image_networks
from diffunet.checkpoint import load_checkpoint, weights_of
from diffunet.cli import reference
from diffunet.errors import PlansError
from diffunet.inference.model import AVERAGED_WEIGHTS
from diffunet.methods import METHODS
from diffunet.planning.memory import measure_training_memory
from diffunet.plans import NetworkPlan, WeakPlan
from diffunet.training.fold import FoldOptions, train_fold
from diffunet.training.reporting import Pictures
from tests.test_build import CONFIGURATION, ONE_LABEL
from tests.training.folds import plans, with_settings, write_preprocessed


class OneConvolution(nn.Module):
    """A network that no U-Net is a part of."""

    def __init__(self, num_image_channels: int, num_label_channels: int):
        super().__init__()
        self.body = nn.Conv2d(num_image_channels + num_label_channels, num_label_channels, 3, 1, 1)

    def encode_image(self, image: Tensor) -> tuple[Tensor]:
        return (image,)

    def forward(self, x_t, t, features, condition=None):
        image = features[0].to(x_t.dtype).expand(len(x_t), *features[0].shape[1:])
        return self.body(torch.cat([x_t, image], dim=1))


class Plain(Concatenated):
    """One convolution."""

    def denoising(self, plan, task) -> Any:
        return OneConvolution(task.num_image_channels, task.num_label_channels)

    def supervised(self, plan, task) -> Any:
        return nn.Conv2d(task.num_image_channels, task.num_label_channels, 3, 1, 1)


PLAIN = ("network.conditioning=plain", "network.image_channels=[]", "network.num_image_blocks=[]")


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setitem(BACKBONES, "plain", Plain())
    return with_settings(plans(), *PLAIN, "training.num_iterations=2", "training.num_validations=1")


def of_backbone(name: str) -> NetworkPlan:
    """Return a small plan that the backbone can build."""
    plan = CONFIGURATION.network
    if BACKBONES[name].has_image_encoder:
        return dataclasses.replace(plan, conditioning=name)
    return dataclasses.replace(
        plan,
        conditioning=name,
        image_channels=(),
        num_image_blocks=(),
        num_decoder_blocks=(2, 2),
        num_groups=4,
    )


def built(name: str) -> str:
    """Return a backbone's name, where all that it needs is installed."""
    if name == "monai":
        pytest.importorskip("monai")
        pytest.importorskip("einops")
    return name


@pytest.mark.parametrize("name", ["mine", ""])
def test_an_unknown_backbone_is_refused_with_those_that_there_are(name):
    with pytest.raises(PlansError, match=r"conditioning: .* is not one of 'encoded', 'concaten"):
        with_settings(plans(), f"network.conditioning={name}")


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("method", ["diffusion", "supervised"])
def test_the_sizes_of_a_backbone_are_no_more_than_its_networks_have(name, method):
    configuration = dataclasses.replace(CONFIGURATION, network=of_backbone(built(name)))
    model = METHODS[method].build_model(configuration, num_image_channels=1, labels=ONE_LABEL)
    bound = sum(size.num_weights for size in METHODS[method].network_sizes(configuration))
    exact = sum(parameter.numel() for parameter in model.parameters())
    assert exact / 20 < bound <= exact


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_denoises_images_that_labels_condition(name):
    bare = dataclasses.replace(of_backbone(built(name)), image_channels=(), num_image_blocks=())
    network, _ = build_image_networks(WeakPlan(network=bare), num_image_channels=2, num_classes=3)
    image, tags = torch.zeros(2, 2, 16, 16), torch.zeros(2, 3)
    assert network(image, torch.zeros(2), None, network.embed_labels(tags)).shape == image.shape


def test_the_planner_measures_a_new_backbone(plain):
    memory = measure_training_memory(
        plain.configuration.network, num_image_channels=1, num_label_channels=1
    )
    usual = measure_training_memory(
        plans().configuration.network, num_image_channels=1, num_label_channels=1
    )
    assert memory.fixed < usual.fixed / 10


@pytest.mark.parametrize("method", ["diffusion", "supervised"])
def test_a_new_backbone_trains_and_is_validated_by_its_name_alone(
    plain, method, tmp_path, monkeypatch
):
    monkeypatch.setattr(Pictures, "update", lambda self: None)
    preprocessed = write_preprocessed(tmp_path / "preprocessed")
    train_fold(
        dataclasses.replace(plain, method=method),
        preprocessed_folder=preprocessed,
        fold_folder=tmp_path / "fold_0",
        fold="0",
        seed=0,
        device=torch.device("cpu"),
        options=FoldOptions(),
    )
    content = load_checkpoint(tmp_path / "fold_0" / "checkpoint_final.pth", "cpu")
    assert len(weights_of(content, AVERAGED_WEIGHTS, where=tmp_path)) == 2


def test_the_reference_says_what_each_backbone_is(plain):
    assert '`conditioning` `"plain"`: One convolution.' in reference.plans_page()
