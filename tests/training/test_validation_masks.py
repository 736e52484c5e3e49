"""What the final validation of a fold leaves beside its scores."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diffunet.data.image_io import read_label_map, write_label_map
from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.data.prediction_records import read_records
from diffunet.data.store.case import CaseProperties, FilePlace
from diffunet.data.store.case_store import CaseStore
from diffunet.errors import UsageError
from diffunet.evaluation.folder import evaluate_folders
from diffunet.evaluation.scored_files import ScoredFolders
from diffunet.geometry import Box
from diffunet.inference.output import OutputFolder
from diffunet.jsonio import read_json
from diffunet.labels import LabelScheme
from diffunet.training.fold import FoldResult, train_fold
from diffunet.training.reporting import Pictures
from tests.training.folds import SIZE, plans, with_options, write_preprocessed
from tests.wsss.weak_folds import weak_plans

CASES = [f"case_{number:02}" for number in range(6, 10)]


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    monkeypatch.setattr(Pictures, "update", lambda self: None)


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory) -> Path:
    return write_preprocessed(tmp_path_factory.mktemp("fold") / "preprocessed")


def train(preprocessed: Path, folder: Path, resolved=None, **settings) -> FoldResult:
    return train_fold(
        resolved or plans(training={"num_iterations": 2, "num_validations": 0}),
        **with_options(
            **{
                "preprocessed_folder": preprocessed,
                "fold_folder": folder / "fold_0",
                "fold": "0",
                "seed": 0,
                "device": torch.device("cpu"),
                "validates_all_cases": True,
                **settings,
            }
        ),
    )


@pytest.mark.parametrize("method", ["diffusion", "supervised"])
def test_validation_leaves_a_folder_of_predictions_with_the_scores_of_its_masks(
    preprocessed, tmp_path, method
):
    resolved = plans(method=method, training={"num_iterations": 2, "num_validations": 0})
    result = train(preprocessed, tmp_path, resolved, saves_samples=True)
    folder = tmp_path / "fold_0" / "validation"
    assert sorted(read_records(folder)) == CASES
    assert result.summary is not None
    references = tmp_path / "references"
    references.mkdir()
    store = CaseStore(preprocessed / "2d" / "labels")
    geometry = ImageGeometry(shape=(SIZE, SIZE), spacing_mm=(1.0, 1.0), has_spacing=False)
    for case in CASES:
        for rater, mask in enumerate(store.array(case, "labels")[:]):
            write_label_map(references / f"{case}_r{rater:02}.png", mask, geometry)
    again = evaluate_folders(
        ScoredFolders(
            reference=references,
            prediction=folder,
            labels=LabelScheme(names=("disc",), values=((1,),)),
            file_ending=".png",
            has_raters=True,
            patients={case: f"p{int(case[-2:]) // 2}" for case in CASES},
        ),
        num_processes=0,
    )
    for ours, theirs in zip(
        result.summary["metric_per_case"], again["metric_per_case"], strict=True
    ):
        assert ours["metrics"] == theirs["metrics"]
        assert ours["distribution"] == theirs["distribution"]


def test_samples_are_written_only_when_asked_for(preprocessed, tmp_path):
    train(preprocessed, tmp_path)
    folder = tmp_path / "fold_0" / "validation"
    assert not (folder / "samples").exists()
    train(preprocessed, tmp_path, only_validates=True, saves_samples=True)
    assert len(list((folder / "samples").glob("*.png"))) == 4 * len(CASES)


def test_a_smaller_validation_leaves_nothing_of_a_larger_one(preprocessed, tmp_path):
    train(preprocessed, tmp_path)
    result = train(preprocessed, tmp_path, only_validates=True, validates_all_cases=False)
    assert result.summary is not None
    scored = {each["case"] for each in result.summary["metric_per_case"]}
    folder = tmp_path / "fold_0" / "validation"
    assert len(scored) == 3
    assert {path.stem for path in folder.glob("case_??.png")} == scored
    assert set(read_records(folder)) == scored


def test_a_stopped_validation_has_no_scores_and_only_whole_cases(
    preprocessed, tmp_path, monkeypatch
):
    train(preprocessed, tmp_path)
    written = []

    def stop(self, case, votes, geometry, *, has_probabilities, original=OutputFolder.write_maps):
        if written:
            raise KeyboardInterrupt
        written.append(case)
        original(self, case, votes, geometry, has_probabilities=has_probabilities)

    monkeypatch.setattr(OutputFolder, "write_maps", stop)
    with pytest.raises(KeyboardInterrupt):
        train(preprocessed, tmp_path, only_validates=True)
    folder = tmp_path / "fold_0" / "validation"
    assert not (folder / "summary.json").exists()
    assert list(read_records(folder)) == written


def test_without_the_library_of_images_a_validation_still_has_its_scores(
    preprocessed, tmp_path, monkeypatch, caplog
):
    first = train(preprocessed, tmp_path)
    folder = tmp_path / "fold_0" / "validation"
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    again = train(preprocessed, tmp_path, only_validates=True)
    assert read_json(folder / "summary.json") == first.summary == again.summary
    assert not list(folder.glob("**/case_*"))
    assert not (folder / "predictions.json").exists()
    (told,) = [each.getMessage() for each in caplog.records if "no masks" in each.getMessage()]
    assert "pip install Pillow" in told
    assert "diffunet_train --val writes them" in told


def test_cases_whose_masks_would_share_a_name_still_have_their_scores(
    preprocessed, tmp_path, monkeypatch, caplog
):
    def refuse(self, cases):
        raise UsageError("one name")

    monkeypatch.setattr(OutputFolder, "check_names", refuse)
    result = train(preprocessed, tmp_path)
    assert read_json(tmp_path / "fold_0" / "validation" / "summary.json") == result.summary
    assert "writes no masks: one name" in caplog.text


def test_samples_that_cannot_be_written_are_refused_before_training(
    preprocessed, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(UsageError, match=r"\.png files need the package Pillow"):
        train(preprocessed, tmp_path, saves_samples=True)
    assert not (tmp_path / "fold_0" / "checkpoint_latest.pth").exists()


def test_data_preprocessed_by_an_earlier_version_say_that_masks_have_no_place(
    preprocessed, tmp_path, caplog
):
    train(preprocessed, tmp_path)
    assert len(read_records(tmp_path / "fold_0" / "validation")) == len(CASES)
    assert "does not tell where 4 images lie in space" in caplog.text


def test_masks_get_the_header_of_the_images(tmp_path):
    turned = ImageGeometry(
        shape=(2, 3, 4),
        spacing_mm=(3.0, 2.0, 1.0),
        origin=(-5.0, 6.0, 7.0),
        direction=(0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    )
    write_label_map(tmp_path / "a.nii.gz", np.ones((2, 3, 4), np.uint8), turned)
    _, read = read_label_map(tmp_path / "a.nii.gz")
    properties = CaseProperties(
        case="a",
        patient="a",
        original_shape=(2, 3, 4),
        original_spacing_mm=(3.0, 2.0, 1.0),
        transpose_forward=(0, 1, 2),
        crop_box=Box((0, 0, 0), (2, 3, 4)),
        shape=(2, 3, 4),
        spacing_mm=(3.0, 2.0, 1.0),
        normalization=(),
        is_normalized=True,
        place=FilePlace.of(read),
    )
    kept = properties.original_geometry
    assert (kept.origin, kept.direction) == (read.origin, read.direction)
    assert kept.nifti_header == read.nifti_header
    assert kept.nifti_header is not None


def test_a_weak_method_has_no_samples_to_save(preprocessed, tmp_path):
    with pytest.raises(UsageError, match="saves_samples: a model of -m cdm"):
        train(preprocessed, tmp_path, weak_plans(method="cdm"), saves_samples=True)
    assert not (tmp_path / "fold_0").exists()
