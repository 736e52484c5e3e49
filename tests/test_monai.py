"""MONAI's network as a backbone: what plans can tell it, and the whole road with it."""

import dataclasses
import importlib.util

import pytest
import torch

from diffunet.build import build_denoising_network, build_image_networks, build_supervised_network
from diffunet.cli import plan_and_preprocess, predict, train
from diffunet.errors import PlansError
from diffunet.planning.memory import (
    measure_image_model_memory,
    measure_training_memory,
)
from diffunet.plans import NetworkPlan, WeakPlan
from diffunet.plans.presets import monai_network
from diffunet.training.reporting import Pictures
from tests.data.tiny_datasets import build_3d
from tests.training.folds import plans, with_settings

IS_INSTALLED = all(importlib.util.find_spec(name) for name in ("monai", "einops"))
needs_monai = pytest.mark.skipif(not IS_INSTALLED, reason="the extra 'monai' is not installed")
axes = pytest.mark.parametrize("dimensions", [2, 3])


def small(dimensions: int, **changes) -> NetworkPlan:
    plan = monai_network(dimensions)
    per_stage = ("strides", "kernel_sizes", "num_blocks", "num_decoder_blocks")
    stages = {name: getattr(plan, name)[:2] for name in per_stage}
    last = {"channels": (8, 16), "num_groups": 4, "num_heads": 2, "has_attention": (False, True)}
    return dataclasses.replace(plan, **{**stages, **last, **changes})


def denoiser(dimensions: int, **changes):
    torch.manual_seed(0)
    return build_denoising_network(
        small(dimensions, **changes),
        num_image_channels=2,
        num_label_channels=3,
        is_output_bounded=True,
    )


def randomized(network):
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.1, generator=generator)
    return network


@needs_monai
@axes
def test_a_new_network_predicts_zero(dimensions):
    x_t, image = torch.randn(2, 3, *(8,) * dimensions), torch.randn(1, 2, *(8,) * dimensions)
    network = denoiser(dimensions)
    output = network(x_t, torch.rand(2), network.encode_image(image))
    assert output.shape == x_t.shape
    assert not output.any()


@needs_monai
def test_time_is_the_share_of_a_thousand_timesteps(monkeypatch):
    network, told = denoiser(2), []
    forward = network.body.forward
    monkeypatch.setattr(
        network.body, "forward", lambda *a, **k: told.append(a[1]) or forward(*a, **k)
    )
    network(torch.zeros(3, 3, 8, 8), torch.tensor([0, 0.25, 1]), (torch.zeros(1, 2, 8, 8),))
    assert told[0].tolist() == [0, 250, 1000]


@needs_monai
@pytest.mark.parametrize("changed", ["x_t", "t", "image"])
def test_the_output_depends_on_all_that_goes_in(changed):
    network = randomized(denoiser(2))
    given = {
        "x_t": torch.randn(1, 3, 8, 8),
        "t": torch.tensor([0.3]),
        "image": torch.randn(1, 2, 8, 8),
    }
    before, after = (
        network(each["x_t"], each["t"], network.encode_image(each["image"]))
        for each in (given, {**given, changed: given[changed] + 0.1})
    )
    assert not torch.equal(before, after)
    assert max(before.abs().max(), after.abs().max()) <= 1


@needs_monai
def test_labels_condition_images_and_mix_linearly():
    plan = WeakPlan(network=small(2, has_final_tanh=False))
    network, _ = build_image_networks(plan, num_image_channels=1, num_classes=2)
    randomized(network)
    x_t, t = torch.randn(1, 1, 8, 8), torch.rand(1)
    absent, present = (network.embed_labels(torch.tensor([[0.0, tag]])) for tag in (0, 1))
    mixed = network.embed_labels(torch.tensor([[0.0, 0.25]]))
    torch.testing.assert_close(mixed, torch.lerp(absent, present, 0.25))
    outputs = [network(x_t, t, None, each) for each in (absent, present)]
    assert not torch.equal(*outputs)
    with pytest.raises(ValueError, match="expected a condition"):
        network(x_t, t)


@needs_monai
def test_the_supervised_network_maps_an_image_to_logits():
    network = build_supervised_network(small(2), num_image_channels=2, num_label_channels=3)
    assert randomized(network)(torch.randn(2, 2, 8, 8)).shape == (2, 3, 8, 8)


@needs_monai
@axes
def test_the_planner_measures_its_memory(dimensions):
    plan = small(dimensions)
    masks = measure_training_memory(plan, num_image_channels=1, num_label_channels=1)
    weak = WeakPlan(network=dataclasses.replace(plan, has_final_tanh=False))
    images = measure_image_model_memory(weak, num_image_channels=1, num_classes=1)
    assert 0 < masks.per_voxel < images.per_voxel
    assert 0 < masks.fixed < images.fixed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strides", ((1, 1, 1), (1, 2, 2))),
        ("kernel_sizes", ((3, 3, 3), (1, 3, 3))),
        ("num_decoder_blocks", (3, 2)),
        ("num_middle_blocks", 1),
        ("has_attention", (True, False)),
        ("dropout", 0.1),
        ("num_groups", 3),
        ("image_channels", (8, 16)),
    ],
)
def test_a_plan_that_it_cannot_be_told_is_refused_with_the_field(field, value):
    expected = {"num_groups": "multiples of num_groups = 3", "image_channels": "only for cond"}
    message = expected.get(field, f"{field} can only be ")
    with pytest.raises(ValueError, match=message):
        small(3, **{field: value})


def test_stages_without_a_block_are_refused():
    with pytest.raises(ValueError, match="num_blocks can only be 1 or more"):
        small(2, num_blocks=(0, 1), num_decoder_blocks=(1, 2))


@pytest.mark.parametrize("group", ["network", "weak.network"])
def test_one_word_takes_it(group):
    made = plans()
    weak = WeakPlan(network=dataclasses.replace(small(2), has_final_tanh=False))
    made = dataclasses.replace(
        made, configuration=dataclasses.replace(made.configuration, weak=weak)
    )
    configuration = with_settings(made, f"{group}=monai").configuration
    found = configuration.network if group == "network" else configuration.weak.network
    assert found == dataclasses.replace(monai_network(2), has_final_tanh=group == "network")


@pytest.mark.parametrize("method", ["diffusion", "supervised"])
def test_a_missing_package_is_named_before_anything_is_built(method, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    build = build_supervised_network if method == "supervised" else build_denoising_network
    more = {} if method == "supervised" else {"is_output_bounded": True}
    with pytest.raises(PlansError, match=r'monai and einops, .*pip install "diffunet\[monai\]"'):
        build(small(2), num_image_channels=1, num_label_channels=1, **more)


def test_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    planned(tmp_path, "2d")
    monkeypatch.setattr("diffunet.backbones.monai._PACKAGES", ("no_such_package",))
    assert (
        train.main([*training(tmp_path, "2d"), "--set", "network=monai", "patch_size=[8,8]"]) == 2
    )
    assert 'pip install "diffunet[monai]"' in capsys.readouterr().err
    assert not list((tmp_path / "results").rglob("*.pth"))


@pytest.mark.slow
@needs_monai
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_it_trains_continues_and_predicts_through_the_commands(
    tmp_path, configuration, monkeypatch
):
    monkeypatch.setattr(Pictures, "update", lambda self: None)
    planned(tmp_path, configuration)
    patch = [8, 8] if configuration == "2d" else [8, 8, 8]
    words = training(tmp_path, configuration)
    cheap = [
        "network.channels=[8,8,8,8]",
        "network.num_groups=4",
        "sampling.num_steps=2",
        "sampling.num_samples=2",
    ]
    settings = ["--set", "network=monai", f"patch_size={patch}", *cheap]
    assert not train.main([*words, "--iterations", "2", *settings])
    assert not train.main([*words, "--iterations", "3", "--c", *settings])
    out = tmp_path / "out"
    images = tmp_path / "raw" / "Dataset001_Boxes" / "imagesTr"
    asked = ["-i", str(images), "-o", str(out), "-d", "1", "-f", "0", "-c", configuration]
    assert not predict.main([*asked, "-device", "cpu", "--workspace", str(tmp_path)])
    assert len(list(out.glob("*.nii.gz"))) == len(list(images.glob("*.nii.gz")))


def planned(folder, configuration: str) -> None:
    build_3d(folder / "raw" / "Dataset001_Boxes")
    asked = ["-d", "1", "-c", configuration, "-np", "0", "--workspace", str(folder)]
    assert not plan_and_preprocess.main(asked)


def training(folder, configuration: str) -> list[str]:
    words = ["1", "0", "-c", configuration, "--batch_size", "2", "-np", "0", "-device", "cpu"]
    return [*words, "--workspace", str(folder)]
