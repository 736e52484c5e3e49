"""Plans of one dataset for another."""

import dataclasses

import pytest

from diffunet import api
from diffunet.cli import plan_and_preprocess
from diffunet.errors import PlansError, UsageError
from diffunet.jsonio import read_json, write_json
from diffunet.plans import Plans
from diffunet.workspace import Workspace
from tests.preprocessing.raw_datasets import configuration, plans, write_pictures, write_volumes


@pytest.fixture
def place(tmp_path) -> Workspace:
    """Return a workspace: plans of dataset 1, and the raw pictures of dataset 2."""
    found = Workspace.resolve(folder=tmp_path, environment={}, current_folder=tmp_path)
    write_pictures(found.raw / "Dataset002_Pictures", 4)
    folder = found.preprocessed / "Dataset001_Test"
    folder.mkdir(parents=True)
    write_json(folder / "dataset.json", read_json(found.raw / "Dataset002_Pictures/dataset.json"))
    save(found, plans({"2d": configuration(data_identifier="2d")}))
    return found


def save(place, made: Plans) -> None:
    made.save(place.preprocessed / "Dataset001_Test" / "diffunet_plans.json")


def moved(place, name: str) -> Plans:
    return Plans.load(place.preprocessed / "Dataset002_Pictures" / f"{name}.json")


def test_moved_plans_preprocess_and_train_the_other_dataset(place):
    words = ["-s", "1", "-t", "2", "-tp", "from_1", "--workspace", str(place.raw.parent)]
    assert plan_and_preprocess.main_move(words) == 0
    plan = moved(place, "from_1")
    assert (plan.dataset_name, plan.plans_name) == ("Dataset002_Pictures", "from_1")
    assert plan.configuration("2d").data_identifier == "from_1_2d"
    assert "Chosen for Dataset001_Test" in plan.reasons["dataset_name"]
    api.preprocess(2, workspace=place, plans_name="from_1", num_processes=0)
    quick = [f"training.{each}" for each in ("num_iterations=1", "num_final_validation_cases=1")]
    folder = api.train(
        2, 0, workspace=place, plans_name="from_1", settings=quick, device="cpu", num_processes=0
    )
    assert folder.parent.name == "diffusion__from_1__2d"
    assert (folder / "checkpoint_final.pth").is_file()


def test_all_that_was_chosen_stays(place):
    before = Plans.load(place.preprocessed / "Dataset001_Test" / "diffunet_plans.json")
    after = api.move_plans(1, 2, workspace=place)
    assert after.configurations == before.configurations
    assert after.transpose_forward == before.transpose_forward


def test_moving_twice_is_harmless_and_other_plans_are_not_lost(place):
    api.move_plans(1, 2, workspace=place)
    api.move_plans(1, 2, workspace=place)
    save(place, plans({"2d": configuration(data_identifier="2d", patch_size=(16, 16))}))
    with pytest.raises(UsageError, match="holds other plans, which would be lost.*-tp"):
        api.move_plans(1, 2, workspace=place)
    assert moved(place, "diffunet_plans").configuration("2d").patch_size == (8, 8)


def test_plans_for_other_channels_or_dimensions_are_refused(place):
    save(place, plans({"2d": configuration(num_channels=2)}))
    with pytest.raises(PlansError, match="2d of 'diffunet_plans' is for 2 channels, and .* has 1"):
        api.move_plans(1, 2, workspace=place)
    save(place, plans({"2d": configuration()}))
    write_volumes(place.raw / "Dataset003_Volumes", 1)
    with pytest.raises(PlansError, match="is for images of 2 dimensions, and those of .* have 3"):
        api.move_plans(1, 3, workspace=place)


@pytest.mark.parametrize("is_measured", [False, True])
def test_orientations_are_those_of_the_target_as_far_as_it_was_measured(place, is_measured):
    made = plans({"3d_fullres": configuration(patch_size=(8, 8, 8), spacing_mm=(3.0, 1.0, 1.0))})
    save(place, dataclasses.replace(made, transpose_forward=(0, 1, 2), orientations=("RAS",)))
    write_volumes(place.raw / "Dataset003_Volumes", 1)
    if is_measured:
        api.extract_fingerprint(3, workspace=place, num_processes=0)
    assert api.move_plans(1, 3, workspace=place).orientations == (("LPS",) if is_measured else ())


@pytest.mark.parametrize("has_tags", [False, True])
def test_a_method_that_the_target_has_no_labels_for_is_not_recommended(place, has_tags):
    save(place, dataclasses.replace(plans({"2d": configuration()}), method="cdm"))
    if has_tags:
        write_pictures(place.raw / "Dataset004_Tagged", 4, image_labels=True)
    plan = api.move_plans(1, 4 if has_tags else 2, workspace=place)
    assert plan.method == ("cdm" if has_tags else "diffusion")
