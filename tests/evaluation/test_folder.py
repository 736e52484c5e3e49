import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffunet import api
from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.errors import DatasetError, UsageError, WriteError
from diffunet.evaluation.folder import evaluate_folders
from diffunet.evaluation.scored_files import ScoredFolders
from diffunet.evaluation.scores import ScoreOptions, score_case
from diffunet.evaluation.table import format_table
from diffunet.labels import LabelScheme

LABELS = LabelScheme(names=("core", "rim"), values=((1,), (2,)))
OPTIONS = ScoreOptions(num_bootstrap_draws=50)
RUN = {"num_processes", "progress", "options"}
CASES = ("a", "b", "c")
VOLUME = ImageGeometry(
    shape=(4, 8, 8),
    spacing_mm=(3.0, 1.0, 1.0),
    origin=(0.0, 0.0, 0.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
PLANE = ImageGeometry(shape=(8, 8), spacing_mm=(1.0, 1.0), has_spacing=False)


def random_map(seed: int, geometry: ImageGeometry = PLANE, *, highest: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(highest + 1, size=geometry.shape, dtype=np.uint8)


def write(folder: Path, name: str, label_map: np.ndarray, geometry: ImageGeometry = PLANE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ending = ".png" if geometry is PLANE else ".nii.gz"
    geometry = replace(geometry, shape=label_map.shape)
    write_label_map(folder / f"{name}{ending}", label_map, geometry)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return references of two raters, and predictions with three samples of each case."""
    reference, prediction = tmp_path / "reference", tmp_path / "prediction"
    for index, case in enumerate(CASES):
        for rater in range(2):
            write(reference, f"{case}_r{rater:02d}", random_map(10 * index + rater))
        write(prediction, case, random_map(10 * index + 2))
        for sample in range(3):
            write(
                prediction / "samples", f"{case}_s{sample:02d}", random_map(10 * index + 3 + sample)
            )
    return reference, prediction


def evaluate(folders: tuple[Path, Path], **changed):
    arguments = {"num_processes": 0, "options": OPTIONS}
    arguments |= {name: changed.pop(name) for name in RUN & changed.keys()}
    content = {"labels": LABELS, "file_ending": ".png", "has_raters": True, **changed}
    return evaluate_folders(
        ScoredFolders(reference=folders[0], prediction=folders[1], **content), **arguments
    )


def problems_of(folders: tuple[Path, Path], **changed) -> tuple[str, ...]:
    with pytest.raises(DatasetError) as caught:
        evaluate(folders, **changed)
    return caught.value.problems


def test_scores_of_files_are_those_of_their_masks(folders):
    summary = evaluate(folders)
    raters = np.stack([LABELS.masks(random_map(seed)) for seed in (10, 11)])
    samples = np.stack([LABELS.masks(random_map(seed)) for seed in (13, 14, 15)])
    expected = score_case(
        samples,
        raters,
        spacing_mm=(1.0, 1.0),
        consensus=LABELS.masks(random_map(12)),
        case="b",
        blob_volumes=list(summary["distribution"]["centre_blob"]["volumes"].values()),
        options=OPTIONS,
    )
    found = summary["metric_per_case"][1]
    assert found["case"] == "b"
    assert found["metrics"]["2"] == pytest.approx(expected.labels[1].consensus)
    assert found["distribution"]["core"] == pytest.approx(expected.labels[0].distribution)


def test_summary_has_the_blocks_of_nnunet(folders):
    summary = evaluate(folders)
    assert json.loads(json.dumps(summary)) == summary
    dice = [case["metrics"]["1"]["Dice"] for case in summary["metric_per_case"]]
    assert summary["mean"]["1"]["Dice"] == pytest.approx(np.mean(dice))
    both = [summary["mean"][label]["Dice"] for label in ("1", "2")]
    assert summary["foreground_mean"]["Dice"] == pytest.approx(np.mean(both))
    first = summary["metric_per_case"][0]
    assert [Path(path).name for path in first["reference_file"]] == ["a_r00.png", "a_r01.png"]
    assert Path(first["prediction_file"]).name == "a.png"


def test_plain_folder_of_volumes_is_its_own_only_sample(tmp_path):
    folders = tmp_path / "reference", tmp_path / "prediction"
    for folder, seed in zip(folders, (0, 1), strict=True):
        write(folder, "a", random_map(seed, VOLUME), VOLUME)
    summary = evaluate(folders, file_ending=".nii.gz", has_raters=False)
    assert summary["distribution"]["num_samples"] == [1, 1]
    expected = score_case(
        LABELS.masks(random_map(1, VOLUME))[None],
        LABELS.masks(random_map(0, VOLUME))[None],
        spacing_mm=VOLUME.spacing_mm,
    )
    assert summary["foreground_mean"]["HD95"] == pytest.approx(expected.consensus["HD95"])
    found = summary["distribution"]["mean"]["scores"]["ged"]["mean"]
    assert found == pytest.approx(expected.distribution["ged"])
    assert summary["metric_per_case"][0]["reference_file"].endswith("a.nii.gz")


def test_workers_score_as_this_process_does(folders):
    assert evaluate(folders, num_processes=2) == evaluate(folders)


def test_patients_are_those_given_and_cases_for_the_others(folders):
    summary = evaluate(folders, patients={"a": "p", "b": "p"})
    assert summary["distribution"]["num_patients"] == 2
    assert [case["patient"] for case in summary["metric_per_case"]] == ["p", "p", "c"]


def test_centre_blob_comes_from_the_references(folders):
    found = evaluate(folders)["distribution"]["centre_blob"]
    counts = [
        [(random_map(10 * case + rater) == value).sum() for case in range(3) for rater in range(2)]
        for value in (1, 2)
    ]
    assert found["origin"].startswith("mean over these references")
    assert list(found["volumes"].values()) == pytest.approx([np.mean(each) for each in counts])


def test_label_that_no_reference_holds_has_an_empty_blob(folders):
    three = LabelScheme(names=("core", "rim", "none"), values=((1,), (2,), (3,)))
    volumes = evaluate(folders, labels=three)["distribution"]["centre_blob"]["volumes"]
    assert volumes["none"] == 0.0


def test_evaluation_without_trivial_answers_has_no_blob(folders):
    options = ScoreOptions(num_bootstrap_draws=50, has_trivial_answers=False)
    distribution = evaluate(folders, options=options)["distribution"]
    assert "centre_blob" not in distribution
    assert distribution["mean"]["trivial_answers"] == {}


def test_regions_have_the_keys_of_nnunet(folders):
    regions = LabelScheme(
        names=("whole", "rim"), values=((1, 2), (2,)), is_regions=True, class_order=(1, 2)
    )
    summary = evaluate(folders, labels=regions)
    assert list(summary["mean"]) == ["(1, 2)", "2"]
    whole = random_map(0) > 0
    assert summary["metric_per_case"][0]["metrics"]["2"]["n_pred"] == (random_map(2) == 2).sum()
    counted = summary["metric_per_case"][0]["distribution"]["whole"]["S_c"]
    drawn = np.any([random_map(seed) > 0 for seed in (3, 4, 5)], axis=0)
    marked = whole | (random_map(1) > 0)
    assert counted == pytest.approx((drawn & marked).sum() / marked.sum())


def test_voxels_that_a_rater_ignored_are_scored_for_none(folders):
    ignoring = LabelScheme(names=("core",), values=((1,),), ignore_value=2)
    summary = evaluate(folders, labels=ignoring)
    is_scored = (random_map(0) != 2) & (random_map(1) != 2)
    metrics = summary["metric_per_case"][0]["metrics"]["1"]
    assert metrics["TP"] + metrics["FP"] + metrics["FN"] + metrics["TN"] == is_scored.sum()
    assert metrics["n_pred"] == ((random_map(2) == 1) & is_scored).sum()


@pytest.mark.parametrize("rater", [None, "r01"])
def test_a_rater_who_annotated_nothing_silences_no_case(folders, rater):
    write(folders[0], "a_r01", np.full((8, 8), 3, np.uint8))
    labels = LabelScheme(names=("core", "rim"), values=((1,), (2,)), ignore_value=3)
    (problem,) = problems_of(folders, labels=labels, rater=rater)
    assert "a_r01.png', found the ignore label everywhere" in problem
    assert "remove the file" in problem


def test_a_mask_for_viewing_is_told_as_one(folders):
    write(folders[0], "a_r01", np.where(random_map(1) > 0, 255, 0).astype(np.uint8))
    (problem,) = problems_of(folders)
    assert "write 1 in place of 255" in problem


def test_a_rater_written_in_two_ways_is_no_second_rater(folders):
    write(folders[0], "a_r001", random_map(1))
    (problem,) = problems_of(folders)
    assert "found 'r001' of case 'a' and 'r01' of case 'a', which would be two raters" in problem


def test_references_of_other_names_get_the_names_of_their_cases(folders):
    for path in sorted(folders[0].iterdir()):
        path.rename(path.with_name(path.name.replace("_r", "_rater_")))
    problem = problems_of(folders)[0]
    assert "rename 'a_rater_00.png' to 'a_r00.png'" in problem


def test_a_folder_of_each_rater_is_told(folders):
    for path in sorted(folders[0].iterdir()):
        case, _, rater = path.stem.partition("_")
        (folders[0] / rater).mkdir(exist_ok=True)
        path.rename(folders[0] / rater / f"{case}.png")
    (problem,) = problems_of(folders)
    assert "found none, but some in the folders 'r00', 'r01'; move them up" in problem


def test_maps_beside_the_predictions_are_no_predictions(folders):
    for name in ("a_probability", "a_uncertainty", "a_probability_core", "a_saliency"):
        write(folders[1], name, random_map(0, highest=200))
    (folders[1] / "predictions.json").write_text("{}")
    assert evaluate(folders)["distribution"]["num_cases"] == 3


def test_all_faults_are_reported_at_once(folders):
    prediction = folders[1]
    (prediction / "a.png").unlink()
    write(prediction, "x", random_map(0))
    (prediction / "samples" / "c_s02.png").unlink()
    write(prediction, "b", np.zeros((5, 8), np.uint8))
    found = problems_of(folders)
    assert len(found) == 4
    text = "\n".join(found)
    assert "found none of 1: 'a'" in text
    assert "found 1 others: 'x'; move them into another folder" in text
    assert "expected 3 samples of each case, found fewer of 1: 'c'" in text
    assert "case 'b': expected the shape (8, 8) of 'b_r00.png', found (5, 8)" in text


def test_faults_within_files_are_reported_for_all_cases(folders):
    write(folders[1], "a", np.full((8, 8), 7, np.uint8))
    write(folders[0], "b_r01", np.zeros((8, 9), np.uint8))
    (folders[1] / "samples" / "c_s01.png").write_bytes(b"no image")
    first, second, third = problems_of(folders)
    assert "expected the values 0, 1, 2 in" in first
    assert "found also 7" in first
    assert "found (8, 9)" in second
    assert "c_s01.png" in third


def test_unreadable_reference_is_reported_once(folders):
    (folders[0] / "a_r00.png").write_bytes(b"no image")
    (problem,) = problems_of(folders)
    assert "a_r00.png" in problem


@pytest.mark.parametrize("index", [0, 1])
def test_missing_folder_is_reported(folders, tmp_path, index):
    changed = list(folders)
    changed[index] = tmp_path / "nowhere"
    (problem,) = problems_of((changed[0], changed[1]))
    assert "nowhere': expected a folder" in problem


def test_references_without_a_rater_in_their_name_are_reported(folders):
    write(folders[0], "y", random_map(0))
    (problem,) = problems_of(folders)
    assert "y_r00.png" in problem


def test_empty_reference_folder_is_reported(tmp_path):
    for name in ("reference", "prediction"):
        (tmp_path / name).mkdir()
    (problem,) = problems_of((tmp_path / "reference", tmp_path / "prediction"))
    assert "expected label maps, found none" in problem


def test_samples_of_odd_names_or_numbers_are_reported(folders):
    samples = folders[1] / "samples"
    (samples / "a_s01.png").rename(samples / "a_s07.png")
    (samples / "b_s02.png").rename(samples / "b-two.png")
    text = "\n".join(problems_of(folders))
    assert "case 'a': expected 3 samples numbered from s00" in text
    assert "found no s01" in text
    assert "found 'b-two.png'" in text


def test_progress_wraps_each_pass(folders):
    seen = []

    def progress(items, total, description):
        seen.append((total, description))
        return iter(items)

    evaluate(folders, progress=progress)
    assert seen == [(3, "references"), (3, "scoring")]


def test_table_shows_scores_intervals_and_trivial_answers(folders):
    summary = evaluate(folders)
    lines = format_table(summary).splitlines()
    assert lines[0].startswith(
        "3 cases, each counted as a patient of its own, 3 sample(s) and 2 rater(s) per case"
    )
    (row,) = [line for line in lines if line.startswith("GED ")]
    block = summary["distribution"]["mean"]
    assert f"{block['scores']['ged']['mean']:.4f} [" in row
    assert f"{block['trivial_answers']['always_empty']['ged']['mean']:.4f}" in row
    assert row.endswith("(lower is better)")
    answers = block["trivial_answers"]
    header = next(line for line in lines if line.startswith("distribution"))
    assert header.split() == ["distribution", "samples", *["perfect", "model"], *answers]


def test_the_unbiased_ged_is_the_first_number_of_each_table_of_the_distribution(folders):
    summary = evaluate(folders)
    lines = format_table(summary).splitlines()
    of_labels = lines[lines.index("") + 1]
    assert of_labels.split("  ")[:2] == ["label", "unbiased GED"]
    header = next(number for number, line in enumerate(lines) if line.startswith("distribution"))
    mean = summary["distribution"]["mean"]["scores"]["ged_fully_unbiased"]["mean"]
    assert lines[header + 2].split()[:3] == ["unbiased", "GED", f"{mean:.4f}"]


def test_the_table_shows_what_a_perfect_model_would_score(folders):
    summary = evaluate(folders)
    block = summary["distribution"]["mean"]
    expected = block["scores"]["D_yy"]["mean"] * (1 / 3 + 1 / 2)
    assert block["perfect_model"]["ged"]["mean"] == pytest.approx(expected)
    (row,) = [line for line in format_table(summary).splitlines() if line.startswith("GED ")]
    assert row.split("]")[1].split()[0] == f"{expected:.4f}"


def test_cases_with_and_without_a_label_are_told_apart(folders):
    keep_one_rater(folders)
    assert "cases have it" not in format_table(evaluate(folders))
    nothing = np.zeros(PLANE.shape, np.uint8)
    for case in ("a", "b"):
        write(folders[0], f"{case}_r00", nothing)
    write(folders[1], "a", nothing)
    summary = evaluate(folders)
    dice = summary["metric_per_case"][2]["metrics"]["1"]["Dice"]
    assert (
        f"core: 1 of 3 cases have it, with a mean Dice of {dice:.4f}.\n"
        "In 1 of the 2 others the mask is empty too, which counts as a Dice of 1."
    ) in format_table(summary)


def test_many_labels_that_some_cases_lack_are_rows_of_one_table(folders):
    keep_one_rater(folders)
    numbers = range(1, 7)
    labels = LabelScheme(
        names=tuple(f"organ {number}" for number in numbers), values=tuple((n,) for n in numbers)
    )
    mask = np.zeros(PLANE.shape, np.uint8)
    mask[1:7, 0] = numbers
    for case in CASES:
        write(folders[0], f"{case}_r00", mask if case == "c" else mask % 2)
        write(folders[1], case, mask)
    text = format_table(evaluate(folders, labels=labels))
    assert "cases have it" not in text
    _, _, table = text.partition("5 labels are not in all cases. Where a label is not, an empty ")
    rows = [line.split() for line in table.splitlines()[4:9]]
    assert rows[0] == ["organ", "2", "1", "1.0000", "2", "0"]
    assert [row[1] for row in rows] == ["2", "3", "4", "5", "6"]


def rows_of_distribution(text: str) -> list[str]:
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("distribution "))
    return [line.split("  ")[0] for line in lines[first + 2 : lines.index("", first)]]


def keep_one_rater(folders) -> None:
    for path in folders[0].glob("*_r01.png"):
        path.unlink()


def keep_one_mask(folders) -> None:
    for path in (folders[1] / "samples").iterdir():
        path.unlink()


def test_with_one_rater_the_table_says_that_no_perfect_score_is_known(folders):
    keep_one_rater(folders)
    text = format_table(evaluate(folders))
    assert "One rater per case" in text
    assert "unbiased GED" not in text
    assert "perfect model  " not in text


def test_with_one_rater_the_table_has_no_row_that_needs_several(folders):
    assert {"hm_iou", "D_a", "D_yy"} < set(rows_of_distribution(format_table(evaluate(folders))))
    keep_one_rater(folders)
    text = format_table(evaluate(folders))
    rows = rows_of_distribution(text)
    assert rows[:3] == ["energy score", "GED", "D_ss"]
    assert not {"hm_iou", "D_a", "D_yy", "ece_over_raters"} & set(rows)
    assert "_over_raters" not in text
    assert "oracle" not in text
    assert "Scores that need several raters are in the summary" in text


def test_table_of_one_patient_has_no_intervals(folders):
    text = format_table(evaluate(folders, patients=dict.fromkeys(CASES, "p")))
    assert "[" not in text
    assert "nan" not in text


def test_table_spans_numbers_of_raters_that_differ(folders):
    (folders[0] / "a_r01.png").unlink()
    assert "1 to 2 rater(s)" in format_table(evaluate(folders))


def test_table_of_one_mask_has_the_rows_that_say_something_of_it(folders):
    keep_one_mask(folders)
    text = format_table(evaluate(folders))
    assert rows_of_distribution(text) == ["GED", "D_yy"]
    assert "unbiased GED" not in text
    keep_one_rater(folders)
    text = format_table(evaluate(folders))
    assert rows_of_distribution(text) == ["GED"]
    assert "energy score" not in text


def test_table_of_one_mask_says_how_to_get_the_other_rows(folders):
    hint = "diffunet_predict --save_samples writes them"
    assert hint not in format_table(evaluate(folders))
    keep_one_mask(folders)
    assert hint in format_table(evaluate(folders))


def test_an_evaluation_ends_with_a_verdict_that_every_terminal_can_show(folders, caplog):
    content = {"channel_names": {"0": "x"}, "labels": {"background": 0, "a": 1, "b": 2}}
    described = folders[0].parent / "dataset.json"
    described.write_text(
        json.dumps({**content, "raters": True, "numTraining": 3, "file_ending": ".png"})
    )
    with caplog.at_level(logging.INFO):
        api.evaluate(*folders, dataset_json=described, num_processes=1)
    verdict = caplog.records[-1].message
    assert verdict.startswith("Unbiased GED")
    assert "always empty" in verdict
    assert "Worst cases" in verdict
    assert verdict.isascii()


TURNED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"origin": (0.0, 0.0, 7.0)}, r"the origin \(0, 0, 0\) mm of .* found \(0, 0, 7\) mm in"),
        ({"spacing_mm": (3.0, 1.0, 2.0)}, r"the spacing \(3, 1, 1\) mm of .* found \(3, 1, 2\) mm"),
        ({"direction": TURNED}, r"the direction \(1, 0, .* found \(-1, 0, "),
    ],
)
@pytest.mark.parametrize("place", ("prediction", "samples"))
def test_a_mask_that_lies_elsewhere_is_not_scored(changed, said, place, tmp_path):
    mask = random_map(0, VOLUME)
    write(tmp_path / "reference", "a", mask, VOLUME)
    write(tmp_path / "prediction", "a", mask, VOLUME)
    write(tmp_path / "prediction" / "samples", "a_s00", mask, VOLUME)
    folder, name = (
        (tmp_path / "prediction", "a")
        if place == "prediction"
        else (tmp_path / "prediction" / "samples", "a_s00")
    )
    write(folder, name, mask, replace(VOLUME, **changed))
    (found,) = problems_of(
        (tmp_path / "reference", tmp_path / "prediction"), file_ending=".nii.gz", has_raters=False
    )
    assert re.search(rf"case 'a': expected {said}.*{name}\.nii\.gz'", found), found


def test_what_moves_no_voxel_to_its_neighbour_is_scored(tmp_path):
    mask = random_map(0, VOLUME)
    moved = replace(VOLUME, origin=(0.05, 0.0, 0.0), spacing_mm=(3.0005, 1.0, 1.0))
    write(tmp_path / "reference", "a", mask, VOLUME)
    write(tmp_path / "prediction", "a", mask, moved)
    folders = (tmp_path / "reference", tmp_path / "prediction")
    summary = evaluate(folders, file_ending=".nii.gz", has_raters=False)
    assert summary["foreground_mean"]["Dice"] == 1.0


def test_a_summary_that_cannot_be_written_is_found_before_anything_is_scored(
    folders, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "diffunet.evaluation.folder.evaluate_folders", lambda *_, **__: pytest.fail("scored")
    )
    content = {"labels": {"background": 0, "core": 1}, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="a file stands where a folder should be"):
        api.evaluate(
            *folders,
            dataset_json=tmp_path / "dataset.json",
            output=tmp_path / "file" / "summary.json",
            num_processes=0,
        )


def test_swapped_folders_are_told_from_masks_to_score_by(folders):
    reference, prediction = folders
    (prediction / "records").mkdir()
    with pytest.raises(UsageError, match=f"are swapped: .* in '{prediction}'.*other way round"):
        api.evaluate(prediction, reference)


def test_one_folder_given_twice_is_refused(folders):
    with pytest.raises(UsageError, match="is given twice"):
        api.evaluate(folders[0], folders[0].parent / "prediction" / ".." / "reference")


def test_a_dataset_in_place_of_its_masks_is_told_of_its_folders(folders, tmp_path):
    (tmp_path / "dataset" / "labelsTs").mkdir(parents=True)
    with pytest.raises(DatasetError) as refused:
        evaluate((tmp_path / "dataset", folders[1]))
    (problem,) = refused.value.problems
    assert problem.endswith("found none (.png); give its folder 'labelsTs'")


def test_masks_of_other_cases_are_told_once(folders, tmp_path):
    write(tmp_path / "labelsTr", "x_r00", random_map(0))
    (problem,) = problems_of((tmp_path / "labelsTr", folders[1]))
    assert "found none in both" in problem
    assert "labelsTr' has 'x'" in problem
