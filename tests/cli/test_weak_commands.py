"""From raw data to a validated model by the commands, where no mask can be read."""

import json
from pathlib import Path

import numpy as np
import pytest

from diffunet.cli import plan_and_preprocess, train
from diffunet.plans import ResolvedPlans
from diffunet.training.reporting import Pictures
from tests.data.tiny_datasets import build_2d, describe, write_csv, write_png, write_volume
from tests.wsss.weak_folds import offer_few_settings

SIZE, NUM_CASES = 16, 10
SMALL = [
    "--iterations",
    "2",
    "--batch_size",
    "2",
    "--set",
    "training.num_validations=1",
    "weak.network.channels=[8,8]",
    "weak.network.strides=[[1,1],[2,2]]",
    "weak.network.kernel_sizes=[[3,3],[3,3]]",
    "weak.network.num_blocks=[1,1]",
    "weak.network.num_decoder_blocks=[1,1]",
    "weak.network.has_attention=[false,false]",
    "weak.cdm.num_steps=1",
    "weak.cdm.num_draws=1",
    "weak.cg_cdm.num_draws=1",
    "weak.cg_diff.num_steps=2",
    "weak.cam.is_smoothed=false",
]


@pytest.fixture(autouse=True)
def _in_little_time(monkeypatch):
    monkeypatch.setattr(Pictures, "update", lambda self: None)
    offer_few_settings(monkeypatch)


def image(number: int) -> np.ndarray:
    generator = np.random.default_rng(number)
    pixels = generator.integers(20, 60, (SIZE, SIZE), np.uint8)
    if number % 2:
        pixels[4:9, 4:9] += 150
    return pixels


def build_pictures(raw: Path) -> list[str]:
    """Write pictures of which every other one has the label; returns names of mask files."""
    describe(raw, file_ending=".png", channels=["grey"], image_labels="image_labels.csv")
    cases = [f"c{number}" for number in range(NUM_CASES)]
    for number, case in enumerate(cases):
        write_png(raw / "imagesTr" / f"{case}_0000.png", image(number))
    rows = [(case, number % 2) for number, case in enumerate(cases)]
    write_csv(raw / "image_labels.csv", [("case", "lesion"), *rows])
    return [f"{case}.png" for case in cases]


def build_volumes(raw: Path) -> list[str]:
    """Write volumes with labels of slices; returns names of mask files."""
    describe(raw, file_ending=".nii.gz", channels=["T1"], image_labels="image_labels.csv")
    cases = [f"c{number}" for number in range(NUM_CASES)]
    rows = []
    for number, case in enumerate(cases):
        slices = np.stack([image(number + index) for index in range(3)]).astype(np.float32)
        write_volume(raw / "imagesTr" / f"{case}_0000.nii.gz", slices)
        rows += [(case, index, (number + index) % 2) for index in range(3)]
    write_csv(raw / "image_labels.csv", [("case", "slice", "lesion"), *rows])
    return [f"{case}.nii.gz" for case in cases]


def seal_masks(raw: Path, names: list[str]) -> None:
    """Put files that are no masks where masks would be, and take away the right to read them."""
    folder = raw / "labelsTr"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"no mask")
        (folder / name).chmod(0)
    folder.chmod(0o300)


@pytest.mark.parametrize("build", [build_pictures, build_volumes])
def test_both_methods_go_from_raw_data_to_their_final_validation_without_masks(tmp_path, build):
    raw = tmp_path / "raw" / "Dataset001_Sealed"
    raw.mkdir(parents=True)
    seal_masks(raw, build(raw))
    place = ["--workspace", str(tmp_path), "-np", "0"]
    assert plan_and_preprocess.main_verify(["-d", "1", *place]) == 0
    assert plan_and_preprocess.main_fingerprint(["-d", "1", *place]) == 0
    assert plan_and_preprocess.main_plan(["-d", "1", "--workspace", str(tmp_path)]) == 0
    assert plan_and_preprocess.main_preprocess(["-d", "1", *place]) == 0
    for method in ("cdm", "classifier"):
        assert train.main(["1", "0", "-m", method, "-device", "cpu", *SMALL, *place]) == 0
        fold = tmp_path / "results" / raw.name / f"{method}__diffunet_plans__2d" / "fold_0"
        assert (fold / "checkpoint_final.pth").exists()
        assert (fold / "checkpoint_best.pth").exists()
        summary = json.loads((fold / "validation" / "summary.json").read_text())
        assert summary["labels"]["lesion"]["num_with"] > 0
        chosen = ResolvedPlans.load(fold / "plans.resolved.json")
        assert chosen.configuration.weak is not None
        assert len(chosen.configuration.weak.presence_thresholds) == 1
        reasons = chosen.reasons["weak"]["masks"]
        assert any("validation images" in str(each) for each in reasons.values())
    (raw / "labelsTr").chmod(0o700)


def test_what_learns_from_masks_alone_is_preprocessed_only_with_them(tmp_path, capsys):
    raw = tmp_path / "raw" / "Dataset001_Tagged"
    raw.mkdir(parents=True)
    for name in build_volumes(raw):
        write_volume(raw / "labelsTr" / name, np.ones((3, SIZE, SIZE), np.uint8))
    place = ["--workspace", str(tmp_path), "-np", "0"]
    assert plan_and_preprocess.main(["-d", "1", *place]) == 0
    stores = tmp_path / "preprocessed" / raw.name
    assert sorted(path.name for path in stores.iterdir() if path.is_dir()) == ["2d"]
    assert train.main(["1", "0", "-c", "3d_fullres", "-device", "cpu", *place]) == 2
    assert "learns from image-level labels slice by slice" in capsys.readouterr().err
    assert plan_and_preprocess.main_preprocess(["-d", "1", "--with_labels", *place]) == 0
    assert (stores / "3d_fullres" / "labels").is_dir()


def test_training_on_masks_that_were_not_preprocessed_says_how_to(tmp_path, capsys):
    raw = tmp_path / "raw" / "Dataset001_Sealed"
    raw.mkdir(parents=True)
    build_pictures(raw)
    place = ["--workspace", str(tmp_path), "-np", "0"]
    assert plan_and_preprocess.main(["-d", "1", *place]) == 0
    assert train.main(["1", "0", "-m", "supervised", "-device", "cpu", *place]) == 2
    message = capsys.readouterr().err
    assert "--with_labels" in message
    assert "Traceback" not in message


def test_masks_of_some_cases_alone_are_told_before_training_and_counted(tmp_path, capsys):
    raw = tmp_path / "raw" / "Dataset001_Partly"
    raw.mkdir(parents=True)
    names = build_pictures(raw)
    place = ["--workspace", str(tmp_path), "-np", "0"]
    assert plan_and_preprocess.main(["-d", "1", *place]) == 0
    assert plan_and_preprocess.main_preprocess(["-d", "1", "--with_labels", *place]) == 2
    assert "masks in labelsTr (--with_labels), found none" in capsys.readouterr().err
    for name in names[:2]:
        write_png(raw / "labelsTr" / name, np.ones((SIZE, SIZE), np.uint8))
    assert plan_and_preprocess.main_preprocess(["-d", "1", "--with_labels", *place]) == 0
    told = f"{len(names) - 2} of {len(names)} training cases have no mask"
    assert told in capsys.readouterr().out
    assert plan_and_preprocess.main_verify(["-d", "1", "--check_labels", *place]) == 0
    assert (
        f"with their masks, which {len(names) - 2} training cases lack" in capsys.readouterr().out
    )
    for method in ("supervised", "diffusion"):
        assert train.main(["1", "0", "-m", method, "-device", "cpu", *place]) == 2
        message = capsys.readouterr().err
        assert "cases, found none of" in message
        assert "make a dataset of the cases that have masks" in message


def test_a_training_tells_that_the_raw_data_are_not_what_was_preprocessed(tmp_path, capsys):
    raw = tmp_path / "raw" / "Dataset001_Changed"
    raw.mkdir(parents=True)
    build_pictures(raw)
    place = ["--workspace", str(tmp_path), "-np", "0"]
    refused = ["1", "0", "-m", "supervised", "-device", "cpu", *place]  # right after the warning
    assert plan_and_preprocess.main(["-d", "1", *place]) == 0
    assert train.main(refused) == 2
    assert "have changed" not in capsys.readouterr().out
    table = raw / "image_labels.csv"
    first, line, *others = table.read_text().splitlines()
    turned = f"{line[:-1]}{1 - int(line[-1])}"
    table.write_text("\n".join([first, turned, *others]) + "\n")
    assert train.main(refused) == 2
    message = capsys.readouterr().out
    assert f"1 case with other files, patient, raters or image-level labels: '{line[:-2]}'" in (
        message
    )
    assert "this training knows the data as they were" in message


def test_a_weak_method_on_masks_alone_says_what_is_missing(tmp_path, capsys):
    raw = tmp_path / "raw" / "Dataset001_Marked"
    raw.mkdir(parents=True)
    build_2d(raw)
    place = ["--workspace", str(tmp_path), "-np", "0"]
    assert plan_and_preprocess.main(["-d", "1", *place]) == 0
    for method in ("cdm", "classifier"):
        assert train.main(["1", "0", "-m", method, "-device", "cpu", *place]) == 2
        message = capsys.readouterr().err
        assert "declare 'image_labels' in dataset.json" in message
        assert "Traceback" not in message
