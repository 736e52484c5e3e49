"""Of two commands that would write to one place, the second says who holds it."""

import pytest

from diffunet.cli import demo, plan_and_preprocess, pseudo_label
from diffunet.data.synthetic import SceneFamily
from diffunet.data.synthetic_dataset import write_ambiguous_dataset
from diffunet.errors import InUseError
from diffunet.inference.options import FolderRun
from diffunet.inference.run import _alone_in
from diffunet.parts import Part
from tests.cli.test_weak_commands import build_pictures
from tests.test_locks import hold
from tests.training.folds import plans, write_preprocessed
from tests.training.test_fold import train

DATASET = "Dataset001_NAME"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "workspace"
    raw = folder / "raw" / DATASET
    write_ambiguous_dataset(
        raw, num_training=4, num_test=1, num_raters=2, family=SceneFamily(size=(16, 16))
    )
    weak = folder / "raw" / "Dataset002_Weak"
    weak.mkdir()
    build_pictures(weak)
    return folder


PLANNING = {
    "diffunet_plan_and_preprocess": plan_and_preprocess.main,
    "diffunet_extract_fingerprint": plan_and_preprocess.main_fingerprint,
    "diffunet_plan_experiment": plan_and_preprocess.main_plan,
    "diffunet_preprocess": plan_and_preprocess.main_preprocess,
}


def test_two_commands_plan_or_preprocess_one_dataset(workspace, capsys):
    with hold(workspace / "preprocessed" / DATASET) as holder:
        for name, main in PLANNING.items():
            assert main(["-d", "1", "--workspace", str(workspace)]) == 2, name
            assert f"in use by process {holder.pid} on " in capsys.readouterr().err
        holder.communicate()
    assert not list((workspace / "preprocessed").glob("*"))


def test_two_commands_make_one_dataset_of_pseudo_masks(workspace, capsys):
    with hold(workspace / "raw" / "Dataset502_WeakPseudo") as holder:
        for more in ([], ["--continue"]):
            words = ["-d", "2", "-o", "502", "-device", "cpu", "--workspace", str(workspace)]
            assert pseudo_label.main([*words, *more]) == 2
            assert f"in use by process {holder.pid} on " in capsys.readouterr().err
        holder.communicate()


def test_two_demos(tmp_path, capsys):
    with hold(tmp_path) as holder:
        assert demo.main(["--output", str(tmp_path)]) == 2
        holder.communicate()
    assert "in use by process" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_two_trainings_of_one_fold(tmp_path):
    preprocessed = write_preprocessed(tmp_path / "preprocessed", num_cases=6, num_held=2)
    for settings in ({}, {"continues": True}, {"only_validates": True}):
        with hold(tmp_path / "fold_0") as holder:
            with pytest.raises(InUseError, match=f"in use by process {holder.pid} on "):
                train(preprocessed, tmp_path, plans(), **settings)
            holder.communicate()
    assert not (tmp_path / "fold_0").exists()


@pytest.mark.parametrize(
    ("first", "second"),
    [("", (1, 0)), ("", (2, 1)), ("part_1_of_2", (2, 1)), ("part_0_of_3", (2, 1))],
)
def test_two_predictions_into_one_folder(tmp_path, first, second):
    run = FolderRun(part=Part(num_parts=second[0], part_id=second[1]))
    with hold(tmp_path, first) as holder:
        with pytest.raises(InUseError), _alone_in(tmp_path, [], run):
            pytest.fail("two at once")
        holder.communicate()


def test_parts_of_one_division_predict_into_one_folder_together(tmp_path):
    with hold(tmp_path, "part_0_of_2") as holder:
        with _alone_in(tmp_path, [], FolderRun(part=Part(num_parts=2, part_id=1))):
            pass
        holder.communicate()
