import dataclasses
import shutil

import pytest
import torch

from diffunet.errors import CheckpointError
from diffunet.inference.model import load_model
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model

PLANS = small_plans(small_configuration())


def load(folder, *, folds=None, checkpoint="final"):
    return load_model(folder, folds=folds, checkpoint=checkpoint, device=torch.device("cpu"))


@pytest.fixture
def folder(tmp_path):
    content = dataset_content()
    return write_model(tmp_path / "model", PLANS, content=content, folds=("0", "2", "10", "all"))


def test_all_trained_folds_are_taken_in_the_order_of_their_numbers_and_all_is_left_out(folder):
    (folder / "fold_3").mkdir()
    assert load(folder).folds == ("0", "2", "10")


def test_a_trained_fold_all_that_is_not_used_is_said(folder, caplog):
    caplog.set_level("INFO")
    load(folder, folds=["0"])
    assert not caplog.text
    load(folder)
    assert "fold_all is there too and is not used; -f all takes it alone" in caplog.text


def test_copies_of_a_fold_are_no_folds_and_said(folder, caplog):
    caplog.set_level("INFO")
    for name in ("fold_0 (copy)", "fold_2_old", "fold_00"):
        shutil.copytree(folder / "fold_0", folder / name)
    assert load(folder).folds == ("0", "2", "10")
    assert "not used, since no fold has such a name: fold_0 (copy), fold_00, fold_2_old" in (
        caplog.text
    )


def test_fold_all_is_taken_where_there_is_no_other(tmp_path):
    folder = write_model(tmp_path, PLANS, content=dataset_content(), folds=("all",))
    assert load(folder).folds == ("all",)


def test_chosen_folds_keep_their_order(folder):
    assert load(folder, folds=[2, "0"]).folds == ("2", "0")


def test_the_averaged_weights_are_loaded_for_evaluation(folder):
    model = load(folder, folds=[2])
    written = torch.load(folder / "fold_2" / "checkpoint_final.pth", weights_only=True)
    for name, tensor in model.networks[0].state_dict().items():
        assert torch.equal(tensor, written["content"]["weights"][name])
    assert not model.networks[0].training
    assert not any(parameter.requires_grad for parameter in model.networks[0].parameters())


def test_a_missing_checkpoint_says_which_folds_have_which(folder):
    (folder / "fold_3").mkdir()
    with pytest.raises(CheckpointError) as caught:
        load(folder, folds=[0, 3, 4])
    message = str(caught.value)
    assert "expected checkpoint_final.pth in fold_3, fold_4" in message
    assert "fold_0 (checkpoint_final.pth)" in message
    assert "fold_3 (none)" in message


def test_another_kind_of_checkpoint_says_what_there_is(folder):
    with pytest.raises(CheckpointError, match=r"checkpoint_best.pth in at least one fold.*-chk"):
        load(folder, checkpoint="best")


def test_a_folder_without_folds_is_said_to_have_none(tmp_path):
    folder = write_model(tmp_path, PLANS, content=dataset_content(), folds=())
    with pytest.raises(CheckpointError, match="found none; train it"):
        load(folder)


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load(tmp_path / "nothing")


def test_a_folder_that_is_no_model_lists_what_it_holds(tmp_path):
    (tmp_path / "fold_0").mkdir()
    with pytest.raises(CheckpointError, match="no model folder.*found fold_0"):
        load(tmp_path)


def test_dataset_json_needs_a_file_ending(tmp_path):
    content = dataset_content()
    del content["file_ending"]
    folder = write_model(tmp_path, PLANS, content=content)
    with pytest.raises(CheckpointError, match="'file_ending' is missing"):
        load(folder)


@pytest.mark.parametrize("ending", ["/../../x.nii.gz", "../x.png", "/x.png", "", ".", 3, None])
def test_the_file_ending_of_a_model_leads_nowhere(tmp_path, ending):
    content = dataset_content() | {"file_ending": ending}
    folder = write_model(tmp_path, PLANS, content=content)
    with pytest.raises(CheckpointError, match="'file_ending' should be one of"):
        load(folder)


def test_folds_of_different_networks_are_refused_with_the_field(tmp_path):
    folder = write_model(tmp_path / "a", PLANS, content=dataset_content())
    configuration = PLANS.configuration
    network = dataclasses.replace(configuration.network, channels=(8, 24))
    other = small_plans(dataclasses.replace(configuration, network=network))
    write_model(tmp_path / "b", other, content=dataset_content(), folds=("1",))
    shutil.copytree(tmp_path / "b" / "fold_1", folder / "fold_1")
    with pytest.raises(CheckpointError, match=r"'network' of fold_1 differs.*channels: \(8, 24\)"):
        load(folder)
    assert load(folder, folds=[1]).configuration.network.channels == (8, 24)


def test_folds_of_different_patches_are_refused(tmp_path):
    folder = write_model(tmp_path / "a", PLANS, content=dataset_content())
    other = small_plans(small_configuration(patch=32))
    write_model(folder, other, content=dataset_content(), folds=("1",))
    with pytest.raises(CheckpointError, match=r"'patch_size' of fold_1.*\(32, 32\) and \(16, 16\)"):
        load(folder)


def test_folds_may_differ_in_training(tmp_path):
    folder = write_model(tmp_path, PLANS, content=dataset_content())
    training = dataclasses.replace(PLANS.configuration.training, num_iterations=7)
    other = small_plans(dataclasses.replace(PLANS.configuration, training=training))
    write_model(folder, other, content=dataset_content(), folds=("1",))
    assert load(folder).folds == ("0", "1")


def test_a_checkpoint_of_other_content_is_refused(folder):
    from diffunet.checkpoint import save_checkpoint

    save_checkpoint(folder / "fold_0" / "checkpoint_final.pth", {"other": 1})
    with pytest.raises(CheckpointError, match="expected 'weights' as dict, found nothing"):
        load(folder)


def test_the_names_of_channels_are_those_of_the_dataset(tmp_path):
    plans = small_plans(small_configuration(num_channels=2))
    content = {**dataset_content(num_channels=2), "channel_names": {"0": "T1", "1": "T2"}}
    model = load(write_model(tmp_path, plans, content=content))
    assert (model.num_channels, model.channel_names) == (2, ("T1", "T2"))
