"""A preset is a function and a line beside it; `--set` takes its name."""

import dataclasses

import pytest
import torch

from diffunet.build import build_denoising_network
from diffunet.cli import plan_and_preprocess, predict, reference, train
from diffunet.errors import PlansError
from diffunet.plans import NetworkPlan, ResolvedPlans, WeakPlan
from diffunet.plans.presets import PRESETS, p1_network
from tests.data.tiny_datasets import build_3d
from tests.training.folds import plans as planned
from tests.training.folds import with_settings


def num_parameters(plan: NetworkPlan, *, num_image_channels: int) -> int:
    with torch.device("meta"):
        network = build_denoising_network(
            plan,
            num_image_channels=num_image_channels,
            num_label_channels=1,
            is_output_bounded=True,
        )
    return sum(each.numel() for each in network.parameters())


def test_one_word_takes_the_network_of_the_paper():
    network = with_settings(planned(), "network=p1").configuration.network
    assert network == p1_network(2)
    assert num_parameters(network, num_image_channels=3) == 6_891_905


def test_a_network_preset_leaves_the_rest_as_planned():
    before, after = planned(), with_settings(planned(), "network=p1")
    changed = dataclasses.replace(after.configuration, network=before.configuration.network)
    assert changed == before.configuration


def test_a_whole_preset_is_one_word():
    made = with_settings(planned(), "p1").configuration
    assert made.network == p1_network(2)
    assert made.diffusion.loss_weighting == "snr_truncated"
    assert (made.sampling.num_steps, made.sampling.variance) == (10, "large")


def test_a_preset_is_noted_as_the_users_choice():
    resolved = with_settings(planned(), "network=p1", "sampling=p1")
    assert resolved.reasons["network"]["channels"] == "preset p1, set by the user"
    assert resolved.is_set_by_user("network.channels")
    assert resolved.is_set_by_user("sampling.num_steps")
    assert not resolved.is_set_by_user("sampling.num_samples")
    assert not resolved.is_set_by_user("diffusion.input_scale")


def test_one_word_takes_it_for_the_diffusion_of_images():
    usual = dataclasses.replace(p1_network(2), channels=(8, 8, 8, 8), has_final_tanh=False)
    made = planned(weak=WeakPlan(network=usual))
    resolved = with_settings(made, "weak.network=p1")
    found = resolved.configuration.weak.network
    assert found == dataclasses.replace(p1_network(2), has_final_tanh=False)
    assert resolved.is_set_by_user("weak.network.channels")
    assert not resolved.is_set_by_user("weak.network.has_final_tanh")
    assert resolved.configuration.network == made.configuration.network


def test_without_weak_supervision_there_is_no_network_of_images_to_set():
    with pytest.raises(PlansError, match="weak has no field 'network'"):
        with_settings(planned(), "weak.network=p1")


@pytest.mark.parametrize("is_first", [True, False])
def test_a_field_set_by_itself_wins_over_a_preset(is_first):
    settings = ["network.channels=[64,64,128,256]", "p1"]
    resolved = with_settings(planned(), *(settings if is_first else settings[::-1]))
    assert resolved.configuration.network.channels == (64, 64, 128, 256)
    assert resolved.reasons["network"]["channels"].startswith("set by the user to")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "network=p2",
            "'network' is a group; set one of its fields, or take a preset: p1, monai, mine",
        ),
        ("p2", "expected path.to.field=value, .*, or the name of a preset: p1, monai, mine"),
        ("augmentation=p1", "'augmentation' is a group; set one of its fields$"),
    ],
)
def test_an_unknown_preset_names_those_that_there_are(setting, message, monkeypatch):
    monkeypatch.setitem(PRESETS, "mine", PRESETS["p1"])
    with pytest.raises(PlansError, match=message):
        with_settings(planned(), setting)


def test_a_patch_that_a_preset_does_not_divide_is_refused_with_one_that_fits():
    patch = "patch_size=[20,16]"
    with pytest.raises(PlansError, match=r"multiple of 8, .* fits is patch_size=\[24,16\]"):
        with_settings(planned(), "network=p1", patch)


def test_help_and_reference_name_every_preset(monkeypatch):
    monkeypatch.setitem(PRESETS, "mine", PRESETS["p1"])
    assert "presets: p1, monai, mine" in " ".join(train.parser().format_help().split())
    assert '`preset` `"mine"`' in reference.plans_page()


@pytest.mark.parametrize(("configuration", "patch"), [("2d", "[8,8]"), ("3d_fullres", "[8,8,8]")])
def test_p1_trains_and_predicts_through_the_commands(tmp_path, configuration, patch):
    raw = tmp_path / "raw" / "Dataset001_Boxes"
    build_3d(raw)
    place = ["--workspace", str(tmp_path)]
    assert not plan_and_preprocess.main(["-d", "1", "-c", configuration, "-np", "0", *place])
    cheap = ["sampling.num_steps=1", "sampling.num_samples=1", "network.channels=[8,8,8,8]"]
    cheap.append("network.num_groups=4")
    words = ["1", "all", "-c", configuration, "--iterations", "2", "--batch_size", "2", *place]
    assert not train.main(
        [*words, "-np", "0", "--set", "p1", f"patch_size={patch}", *cheap, "-device", "cpu"]
    )
    (folder,) = (tmp_path / "results" / "Dataset001_Boxes").glob("*/fold_all")
    resolved = ResolvedPlans.load(folder / "plans.resolved.json")
    assert resolved.configuration.network.num_decoder_blocks == (2, 3, 4, 5)
    assert resolved.is_set_by_user("diffusion.loss_weighting")
    out = tmp_path / "out"
    asked = ["-i", str(raw / "imagesTr"), "-o", str(out), "-d", "1", "-f", "all"]
    assert not predict.main([*asked, "-c", configuration, "-device", "cpu", *place])
    assert list(out.glob("*.nii.gz"))
