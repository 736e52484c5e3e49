import dataclasses

import pytest

from diffunet.errors import PlansError
from diffunet.jsonio import read_json, write_json
from diffunet.plans import (
    AugmentationPlan,
    ConfigurationPlan,
    CropPlan,
    DiffusionPlan,
    ImageDiffusionPlan,
    NetworkPlan,
    NormalizationPlan,
    Plans,
    PreprocessingPlan,
    ResolvedPlans,
    SamplingPlan,
    TrainingPlan,
)
from diffunet.plans.edits import edited_fields, save_planned
from diffunet.records import record_from_json


def network():
    return NetworkPlan(
        channels=(16, 32),
        strides=((1, 1), (2, 2)),
        kernel_sizes=((3, 3), (3, 3)),
        num_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        has_attention=(False, True),
        image_channels=(16, 32),
        num_image_blocks=(1, 1),
    )


@pytest.fixture
def plans():
    configuration = ConfigurationPlan(
        dimensions=2,
        data_identifier="2d",
        median_shape=(128, 128),
        patch_size=(64, 64),
        preprocessing=PreprocessingPlan(
            spacing_mm=(1.0, 1.0), normalization=(NormalizationPlan(),)
        ),
        crop=CropPlan(),
        augmentation=AugmentationPlan(),
        network=network(),
        diffusion=DiffusionPlan(),
        sampling=SamplingPlan(),
        training=TrainingPlan(),
    )
    return Plans(
        dataset_name="Dataset001_X",
        method="diffusion",
        recommended_configuration="2d",
        transpose_forward=(2, 0, 1),
        configurations={"2d": configuration, "wide": configuration},
        reasons={"configurations": {"2d": {"diffusion": {"input_scale": "N = 100 voxels"}}}},
    )


def test_plans_survive_the_file(plans, tmp_path):
    plans.save(tmp_path / "diffunet_plans.json")
    assert Plans.load(tmp_path / "diffunet_plans.json") == plans


def test_plain_values_stand_in_the_file_where_set_finds_them(plans, tmp_path):
    plans.save(tmp_path / "p.json")
    content = read_json(tmp_path / "p.json")
    assert content["configurations"]["2d"]["diffusion"]["input_scale"] == 0.1


def test_an_unknown_key_in_the_file_is_refused_with_its_path(plans, tmp_path):
    content = dataclasses.asdict(plans)
    content["configurations"]["2d"]["diffusion"]["input_scael"] = 0.1
    write_json(tmp_path / "diffunet_plans.json", content)
    with pytest.raises(
        PlansError,
        match=r"diffunet_plans.json.configurations.2d.diffusion: unknown key 'input_scael'",
    ):
        Plans.load(tmp_path / "diffunet_plans.json")


def test_resolving_keeps_one_configuration_and_applies_settings(plans):
    resolved = plans.resolve(
        "2d", method="supervised", settings=["diffusion.input_scale=0.3", "patch_size=[32, 32]"]
    )
    assert resolved.configuration_name == "2d"
    assert resolved.method == "supervised"
    assert resolved.configuration.diffusion.input_scale == 0.3
    assert resolved.configuration.patch_size == (32, 32)
    assert resolved.reasons["diffusion"]["input_scale"] == "set by the user to 0.3"
    assert set(resolved.set_by_user) == {"diffusion.input_scale", "patch_size"}
    assert plans.resolve("2d").set_by_user == ()


def test_resolving_takes_the_recommended_configuration_and_leaves_the_plans_alone(plans):
    resolved = plans.resolve(settings=["diffusion.schedule=linear"])
    assert resolved.configuration_name == "2d"
    assert plans.configurations["2d"].diffusion.schedule == "cosine"
    assert plans.reasons["configurations"]["2d"]["diffusion"]["input_scale"] == "N = 100 voxels"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("diffusion.foo=1", "diffusion has no field 'foo'; known: .*input_scale"),
        ("foo=1", "the configuration has no field 'foo'"),
        ("patch_size.x=1", "patch_size has no field 'x'; known: nothing below it"),
        ("diffusion=1", "'diffusion' is a group"),
        ("diffusion.input_scale", "expected path.to.field=value"),
        ("diffusion.input_scale=2", "input_scale should be from 0.0001 to 1, got 2.0"),
        ("diffusion.input_scale=big", "expected float, found 'big'"),
        ("diffusion.prediction=eps", "'eps' is not one of 'x_0', 'v', 'noise'"),
        ("diffusion.log_snr_limit=0", "log_snr_limit should be from 1 to 40, got 0"),
        ("patch_size=[33, 32]", r"patch_size\[0\] = 33 should be a multiple of 2"),
        ("patch_size=[32]", "patch_size: expected 2 to 3 entries, found 1"),
        ("patch_size=[32, 32, 32]", "patch_size should have 2 values"),
        ("preprocessing.spacing_mm=[1]", "spacing_mm: expected 2 to 3 entries"),
        ("preprocessing.spacing_mm=[1, 1, 1]", "spacing_mm should have 2 values"),
        ("crop.foreground_share=0.5", "'random' takes no foreground_share"),
        ("crop.foreground_share=2", "foreground_share should be from 0 to 1"),
        ("sampling.num_steps=0", "num_steps should be from 1 to 10000, got 0"),
        ("sampling.num_samples=0", "num_samples should be from 1 to 10000"),
        ("sampling.tile_step_size=0", "tile_step_size should be from 0.1 to 1"),
        ("training.batch_size=0", "batch_size should be from 1 to 65536"),
        ("training.ema_decay=1.5", "ema_decay should be from 0 to below 1"),
        ("network.num_blocks=[1]", "num_blocks should have 2 entries"),
        ("network.conditioning=concatenated", "image_channels are only for"),
    ],
)
def test_a_bad_setting_is_refused_with_what_is_possible(plans, setting, message):
    with pytest.raises(PlansError, match=message):
        plans.resolve("2d", settings=[setting])


@pytest.mark.parametrize("name", ["../../elsewhere", "/elsewhere", "a/b", "..", ""])
@pytest.mark.parametrize(
    "field", ["plans_name", "dataset_name", "data_identifier", "configuration"]
)
def test_no_name_in_a_plans_file_leads_out_of_its_folder(plans, tmp_path, field, name):
    content = dataclasses.asdict(plans)
    if field == "data_identifier":
        content["configurations"]["2d"][field] = name
    elif field == "configuration":
        content["configurations"][name] = content["configurations"]["2d"]
    else:
        content[field] = name
    write_json(tmp_path / "p.json", content)
    with pytest.raises(PlansError, match="expected a name that a file can have"):
        Plans.load(tmp_path / "p.json")


def test_an_unknown_configuration_lists_the_known_ones(plans):
    with pytest.raises(PlansError, match="no configuration '3d'; they have 2d, wide"):
        plans.resolve("3d")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 0}, "format_version should be 1, got 0; plan again"),
        ({"format_version": 9, "of_tomorrow": 1}, "at most 1, got 9: a newer diffunet wrote it"),
        ({"recommended_configuration": "4d"}, "'4d' is not one of"),
        ({"transpose_forward": (0, 0)}, "should be a permutation"),
        ({"method": "magic"}, "'magic' is not one of 'diffusion', 'supervised'"),
    ],
)
def test_inconsistent_plans_are_refused(plans, tmp_path, change, message):
    write_json(tmp_path / "p.json", dataclasses.asdict(plans) | change)
    with pytest.raises(PlansError, match=message):
        Plans.load(tmp_path / "p.json")


def test_plans_of_a_run_by_a_newer_version_are_refused_as_such(plans, tmp_path):
    content = dataclasses.asdict(plans.resolve()) | {"format_version": 9, "of_tomorrow": 1}
    write_json(tmp_path / "p.json", content)
    with pytest.raises(PlansError, match="at most 2, got 9: a newer diffunet wrote it; update"):
        ResolvedPlans.load(tmp_path / "p.json")


def test_the_ct_normalisation_needs_its_numbers():
    with pytest.raises(ValueError, match="'ct' needs lower"):
        NormalizationPlan(scheme="ct", lower=0.0)


@pytest.mark.parametrize("noted", ["text", None, {"2d": "text"}, [1]])
def test_reasons_of_another_form_are_refused(plans, tmp_path, noted):
    plans.save(tmp_path / "p.json")
    content = read_json(tmp_path / "p.json")
    write_json(tmp_path / "p.json", content | {"reasons": {"configurations": noted}})
    with pytest.raises(PlansError, match=r"p\.json: reasons\.configurations should be an object"):
        Plans.load(tmp_path / "p.json")


def test_a_setting_is_noted_where_a_reason_stands_for_a_whole_group(plans):
    name = plans.recommended_configuration
    changed = dataclasses.replace(plans, reasons={"configurations": {name: {"training": "short"}}})
    resolved = changed.resolve(settings=["training.num_iterations=5"])
    assert set(resolved.set_by_user) == {"training.num_iterations"}


def test_the_plans_of_a_run_come_back_from_their_file(plans, tmp_path):
    resolved = plans.resolve("2d", settings=["patch_size=[32, 32]"], edited=["crop.policy"])
    resolved.save(tmp_path / "plans.resolved.json")
    assert ResolvedPlans.load(tmp_path / "plans.resolved.json") == resolved
    assert resolved.set_by_user == ("crop.policy", "patch_size")


def test_a_field_is_set_by_the_user_with_the_group_that_it_is_in(plans):
    resolved = dataclasses.replace(plans.resolve(), set_by_user=("training",))
    assert resolved.is_set_by_user("training.batch_size")
    assert not resolved.is_set_by_user("training_2.batch_size")


def test_plans_of_a_run_of_the_first_version_are_read(plans, tmp_path):
    noted = {"2d": {"diffusion": {"input_scale": "set by the user to 0.1", "schedule": "P1"}}}
    first = dataclasses.replace(
        plans,
        configurations={"2d": plans.configurations["2d"]},
        reasons={"method": "masks are there", "configurations": noted},
    )
    first.save(tmp_path / "plans.resolved.json")
    found = ResolvedPlans.load(tmp_path / "plans.resolved.json")
    assert found.configuration == plans.configurations["2d"]
    assert found.set_by_user == ("diffusion.input_scale",)
    assert found.reasons["diffusion"]["schedule"] == "P1"


def test_plans_of_a_dataset_are_not_those_of_a_run(plans, tmp_path):
    plans.save(tmp_path / "plans.resolved.json")
    with pytest.raises(PlansError, match=r"plans of a run, of one configuration, found 2"):
        ResolvedPlans.load(tmp_path / "plans.resolved.json")


def test_an_edit_of_the_file_is_a_field_that_the_user_set(plans, tmp_path):
    path = tmp_path / "diffunet_plans.json"
    save_planned(plans, path)
    assert edited_fields(path, configuration=None) == ()
    content = read_json(path)
    content["configurations"]["2d"]["training"]["learning_rate"] = 0.5
    content["configurations"]["2d"]["patch_size"] = [32, 32]
    content["reasons"] = {}
    write_json(path, content)
    found = edited_fields(path, configuration="2d")
    assert set(found) == {"training.learning_rate", "patch_size"}
    assert edited_fields(path, configuration="wide") == ()


def test_plans_written_by_hand_and_configurations_of_the_users_own_have_no_edits(plans, tmp_path):
    plans.save(tmp_path / "mine.json")
    assert edited_fields(tmp_path / "mine.json", configuration="2d") == ()
    save_planned(plans, tmp_path / "ours.json")
    more = {**plans.configurations, "own": plans.configurations["2d"]}
    dataclasses.replace(plans, configurations=more).save(tmp_path / "ours.json")
    assert edited_fields(tmp_path / "ours.json", configuration="own") == ()


def test_planning_that_is_killed_while_it_writes_leaves_no_edits(plans, tmp_path, monkeypatch):
    path = tmp_path / "diffunet_plans.json"
    save_planned(plans, path)
    other = dataclasses.replace(
        plans, configurations={"2d": dataclasses.replace(plans.configurations["2d"], weak=None)}
    )
    changed = dataclasses.replace(other.configurations["2d"], data_identifier="other")
    other = dataclasses.replace(other, configurations={"2d": changed})
    save, saved = Plans.save, []

    def killed(self, where):
        saved.append(where)
        if len(saved) == 2:
            raise KeyboardInterrupt
        save(self, where)

    with monkeypatch.context() as patch:
        patch.setattr(Plans, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            save_planned(other, path)
    assert Plans.load(path) == other
    assert edited_fields(path, configuration=None) == ()


@pytest.mark.parametrize("setting", ["network.num_groups=64", "network.num_groups=16"])
def test_a_group_of_a_single_number_is_refused(plans, setting):
    """A group norm of one number ends in an error of torch, at the first prediction of one tile."""
    tiny = ["patch_size=[2, 2]", "network.has_attention=[false, false]"]
    width = plans.configurations["2d"].network.channels[-1]
    is_wide = width > int(setting.rpartition("=")[2])
    if is_wide:
        assert plans.resolve(settings=[*tiny, setting])
        return
    with pytest.raises(PlansError, match=r"one voxel of a patch of \[2, 2\].*single number"):
        plans.resolve(settings=[*tiny, setting])


def test_a_plan_of_noise_on_images_that_was_written_before_is_read():
    content = {
        "schedule": "ddpm_linear",
        "num_timesteps": 500,
        "input_scale": 1.0,
        "log_snr_limit": 20.0,
        "prediction": "v",
        "loss_weighting": "snr_plus_one",
        "loss_weighting_bias": 0.0,
    }
    read = record_from_json(ImageDiffusionPlan, content, where="plans.json", error=PlansError)
    assert read == ImageDiffusionPlan(schedule="ddpm_linear", num_timesteps=500)
    assert dataclasses.asdict(read) == content
