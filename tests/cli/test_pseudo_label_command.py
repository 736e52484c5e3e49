"""From image-level labels to a student by the commands, without a mask anywhere."""

import numpy as np
import pytest
import torch

from diffunet.cli import plan_and_preprocess, predict, pseudo_label, train
from diffunet.data.store.case_store import CaseStore
from diffunet.jsonio import read_json
from diffunet.labels import LabelScheme
from diffunet.plans import Plans
from diffunet.training.objective import SupervisedObjective, TensorBatch
from diffunet.training.reporting import Pictures
from tests.cli.test_weak_commands import SMALL, build_pictures, seal_masks

STUDENT = "Dataset501_SealedPseudo"
TINY = [
    *["--iterations", "2", "--batch_size", "2", "-device", "cpu", "-np", "0", "--set"],
    *["network.channels=[8,8]", "network.image_channels=[8,16]", "training.num_validations=1"],
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Return a workspace in which a weak model labelled a dataset, and a student was trained."""
    folder = tmp_path_factory.mktemp("student")
    raw = folder / "raw" / "Dataset001_Sealed"
    raw.mkdir(parents=True)
    seal_masks(raw, build_pictures(raw))
    place = ["--workspace", str(folder)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Pictures, "update", lambda self: None)
        assert plan_and_preprocess.main(["-d", "1", "-np", "0", *place]) == 0
        weak = ["1", "0", "-m", "classifier", "-device", "cpu", "-np", "0", *SMALL, *place]
        assert train.main(weak) == 0
        label = ["-d", "1", "-o", "501", "-m", "classifier", "-device", "cpu", *place]
        assert pseudo_label.main(label) == 0
        assert plan_and_preprocess.main(["-d", "501", "-np", "0", *place]) == 0
        student = ["501", "0", "-m", "supervised", *TINY, *place]
        assert train.main(student) == 0
    (raw / "labelsTr").chmod(0o700)
    return folder


def test_a_student_is_planned_like_any_dataset(workspace):
    plans = Plans.load(workspace / "preprocessed" / STUDENT / "diffunet_plans.json")
    assert plans.method == "diffusion"
    for method in ("diffusion", "supervised"):
        assert plans.resolve(method=method).method == method


def test_a_student_keeps_the_splits_of_the_weak_model(workspace):
    first, second = (
        read_json(workspace / "preprocessed" / name / "splits_final.json")
        for name in ("Dataset001_Sealed", STUDENT)
    )
    assert first == second


def test_unsure_pixels_take_no_part_in_the_loss_of_a_student(workspace):
    folder = workspace / "preprocessed" / STUDENT
    labels = LabelScheme.from_dataset_json(read_json(folder / "dataset.json"))
    plans = Plans.load(folder / "diffunet_plans.json").resolve(method="supervised")
    store = CaseStore(folder / plans.configuration.data_identifier / "labels")
    maps = np.stack([store.array(case, "labels")[0] for case in store.cases])
    label_maps = torch.from_numpy(maps.astype(np.int64))
    is_unsure = label_maps == labels.ignore_value
    assert is_unsure.any()

    class Logits(torch.nn.Module):
        def forward(self, image):
            return image

    logits = torch.randn(len(label_maps), 1, *label_maps.shape[1:], requires_grad=True)
    batch = TensorBatch(
        images=logits,
        label_maps=label_maps,
        tags=torch.zeros(len(label_maps), 0),
        iteration=0,
        indices=tuple(range(len(label_maps))),
        global_size=len(label_maps),
    )
    objective = SupervisedObjective(configuration=plans.configuration, labels=labels, seed=0)
    terms = objective(Logits(), batch)
    sum(term.total / term.count for term in terms.values()).backward()
    assert not logits.grad[:, 0][is_unsure].any()
    assert logits.grad[:, 0][~is_unsure].all()


def test_a_student_predicts_the_images_of_the_weak_dataset(workspace, tmp_path):
    model = workspace / "results" / STUDENT / "supervised__diffunet_plans__2d"
    assert (model / "fold_0" / "checkpoint_final.pth").exists()
    images = workspace / "raw" / "Dataset001_Sealed" / "imagesTr"
    arguments = ["-i", str(images), "-o", str(tmp_path / "out"), "--model", str(model)]
    assert predict.main([*arguments, "-device", "cpu"]) == 0
    assert len(list((tmp_path / "out").glob("c?.png"))) == 10


def test_a_mistake_is_one_message(workspace, capsys):
    place = ["--workspace", str(workspace)]
    mistakes = (
        (["-d", "1", "-o", "501"], "already"),
        (["-d", "1", "-o", "Pseudo"], "a number from 0 to 999"),
        (["-d", "501", "-o", "502"], "expected image-level labels"),
        (["-d", "1", "-o", "502", "-m", "cdm"], "no trained model"),
        (["-d", "1", "-o", "502", "-m", "classifier", "-f", "3"], "fold_3"),
    )
    for arguments, text in mistakes:
        assert pseudo_label.main([*arguments, *place]) == 2
        message = capsys.readouterr().err
        assert text in message
        assert "Traceback" not in message


def test_a_finished_dataset_is_continued_by_the_command(workspace):
    arguments = ["-d", "1", "-o", "501", "-m", "classifier", "--continue", "-device", "cpu"]
    assert pseudo_label.main([*arguments, "--workspace", str(workspace)]) == 0
