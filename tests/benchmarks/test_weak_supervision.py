import itertools
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.data.raw.dataset import open_dataset
from diffunet.errors import UsageError
from diffunet.evaluation.scored_files import ScoredFolders
from diffunet.evaluation.slice_folder import score_slice_folder
from tests.data.tiny_datasets import write_csv, write_json, write_png, write_volume

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

# benchmarks are scripts, no package: pyright does not find them
import answers_without_learning as answers  # pyright: ignore[reportMissingImports]
import weak_supervision  # pyright: ignore[reportMissingImports]

SIZE = 32
NUM_SLICES = 7
PATIENTS = {"Tr": ("p1", "p2", "p3"), "Ts": ("p4", "p5", "p6")}
PLANE = ImageGeometry(shape=(SIZE, SIZE), spacing_mm=(1.0, 1.0), has_spacing=False)


def disc(radius: float, *, centre: tuple[float, float] = (16, 16)) -> np.ndarray:
    rows, columns = np.ogrid[:SIZE, :SIZE]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def head(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return slice `number` of a head, with a bright lesion in the middle slices."""
    lesion = disc(4, centre=(14, 18)) & (2 <= number <= 4)
    image = np.where(disc(12), 90, 0)
    image[lesion] = 240
    return image.astype(np.uint8), lesion


@pytest.fixture(scope="module")
def planes(tmp_path_factory) -> Path:
    """Return a dataset of 2D cases, seven of each patient."""
    folder = tmp_path_factory.mktemp("raw") / "Dataset001_Heads"
    tags: list[list[object]] = [["case", "lesion"]]
    patients = [["case", "patient"]]
    for part, names in PATIENTS.items():
        for patient, number in itertools.product(names, range(NUM_SLICES)):
            case = f"{patient}_{number}"
            image, lesion = head(number)
            write_png(folder / f"images{part}" / f"{case}_0000.png", image)
            write_png(folder / f"labels{part}" / f"{case}.png", lesion.astype(np.uint8))
            tags.append([case, int(lesion.any())])
            patients.append([case, patient])
    describe(folder, tags, file_ending=".png")
    write_csv(folder / "patients.csv", patients)
    return folder


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    """Return a dataset of volumes whose slices are tagged."""
    folder = tmp_path_factory.mktemp("raw") / "Dataset002_Volumes"
    tags: list[list[object]] = [["case", "slice", "lesion"]]
    for part, names in PATIENTS.items():
        for case in names:
            images, lesions = (
                np.stack(found) for found in zip(*map(head, range(NUM_SLICES)), strict=True)
            )
            write_volume(folder / f"images{part}" / f"{case}_0000.nii.gz", images)
            write_volume(folder / f"labels{part}" / f"{case}.nii.gz", lesions.astype(np.uint8))
            tags += [[case, index, int(lesion.any())] for index, lesion in enumerate(lesions)]
    describe(folder, tags, file_ending=".nii.gz")
    return folder


def describe(folder: Path, tags: list[list[object]], *, file_ending: str) -> None:
    write_csv(folder / "image_labels.csv", tags)
    content = {
        "channel_names": {"0": "FLAIR"},
        "labels": {"background": 0, "lesion": 1},
        "image_labels": "image_labels.csv",
        "numTraining": len(list((folder / "imagesTr").iterdir())),
        "file_ending": file_ending,
    }
    write_json(folder / "dataset.json", content)


@pytest.fixture(scope="module")
def predictions(planes, tmp_path_factory) -> dict[str, Path]:
    """Return folders of a perfect method, and of one that never marks anything."""
    root = tmp_path_factory.mktemp("predictions")
    records = {}
    for patient, number in itertools.product(PATIENTS["Ts"], range(NUM_SLICES)):
        case, lesion = f"{patient}_{number}", head(number)[1]
        for name, mask in (("cdm", lesion), ("cam", np.zeros_like(lesion))):
            (root / name).mkdir(exist_ok=True)
            write_label_map(root / name / f"{case}.png", mask.astype(np.uint8), PLANE)
        chance = 0.9 if lesion.any() else 0.1
        records[case] = {
            "shape": [SIZE, SIZE],
            "seconds_per_slice": 0.5 + 0.01 * number,
            "labels": {"lesion": {"probability": [chance]}},
        }
    content = {"settings": {"saliency": "cdm"}, "cases": records}
    (root / "cdm" / "predictions.json").write_text(json.dumps(content))
    return {"CDM": root / "cdm", "CAM": root / "cam"}


@pytest.fixture(scope="module")
def content(planes, predictions):
    return weak_supervision.make_table(planes, predictions)


def row_of(content, name: str):
    return next(row for row in content["labels"]["lesion"]["rows"] if row["name"] == name)


def mean_of(content, name: str, kind: str, score: str) -> float:
    return row_of(content, name)["scores"][kind]["scores"][score]["mean"]


def test_a_row_has_the_scores_time_and_chances_of_its_folder(content):
    assert mean_of(content, "CDM", "positive", "Dice") == 1
    assert mean_of(content, "CDM", "healthy", "marks_anything") == 0
    assert row_of(content, "CDM")["seconds_per_slice"] == pytest.approx(0.53)
    assert row_of(content, "CDM")["tag_auc"]["mean"] == 1


def test_the_time_of_volumes_that_are_segmented_whole_is_shared_by_their_slices(volumes, tmp_path):
    records = {}
    for case in PATIENTS["Ts"]:
        lesions = np.stack([head(number)[1] for number in range(NUM_SLICES)])
        write_volume(tmp_path / f"{case}.nii.gz", lesions.astype(np.uint8))
        records[case] = {"shape": [NUM_SLICES, SIZE, SIZE], "seconds": 1.5 * NUM_SLICES}
    (tmp_path / "predictions.json").write_text(json.dumps({"cases": records}))
    found = weak_supervision.make_table(volumes, {"supervised": tmp_path})
    assert row_of(found, "supervised")["seconds_per_slice"] == pytest.approx(1.5)
    assert row_of(found, "supervised")["tag_auc"] is None


def test_a_folder_without_records_has_neither_time_nor_chances(content):
    assert mean_of(content, "CAM", "positive", "misses_all") == 1
    assert row_of(content, "CAM")["seconds_per_slice"] is None
    assert row_of(content, "CAM")["tag_auc"] is None


def test_the_diffusion_method_is_compared_with_every_other_row(content, planes, predictions):
    block = content["labels"]["lesion"]
    assert block["compared"] == "CDM"
    assert set(block["differences"]) == {row["name"] for row in block["rows"]} - {"CDM"}
    assert block["differences"]["CAM"]["Dice"]["difference"] == 1
    assert block["differences"]["CAM"]["Dice"]["num_cases"] == 9
    named = weak_supervision.make_table(planes, predictions, compared="CAM")
    assert named["labels"]["lesion"]["differences"]["CDM"]["Dice"]["difference"] == -1


def test_without_methods_only_the_answers_without_learning_are_scored(planes):
    found = weak_supervision.make_table(planes, {})["labels"]["lesion"]
    assert found["compared"] is None
    assert len(found["rows"]) == 6
    assert found["differences"] == {}


def test_three_classes_find_a_lesion_that_one_threshold_does_not(content):
    assert mean_of(content, "three-class Otsu of the image", "positive", "Dice") > 0.8
    assert mean_of(content, "Otsu of the image", "positive", "Dice") < 0.4


def test_position_tells_the_tags_and_empties_healthy_slices(content):
    assert row_of(content, "position, Otsu")["tag_auc"]["mean"] == 1
    assert mean_of(content, "position, Otsu", "healthy", "marks_anything") == 0
    assert mean_of(content, "Otsu of the image", "healthy", "marks_anything") == 1
    assert mean_of(content, "position, Otsu", "positive", "Dice") == mean_of(
        content, "Otsu of the image", "positive", "Dice"
    )


def test_the_disc_of_the_true_area_marks_as_much_as_the_reference(content):
    name = "centre disc of the true area (upper bound)"
    assert 0.3 < mean_of(content, name, "positive", "Dice") < 1
    assert mean_of(content, name, "healthy", "marks_anything") == 0


def test_volumes_have_the_rows_of_their_slices(planes, volumes):
    flat = weak_supervision.make_table(planes, {})
    deep = weak_supervision.make_table(volumes, {})
    for name in ("Otsu of the image", "three-class Otsu of the image", "position, Otsu"):
        assert mean_of(deep, name, "positive", "Dice") == pytest.approx(
            mean_of(flat, name, "positive", "Dice")
        )
        assert mean_of(deep, name, "healthy", "false_positive_pixels") == pytest.approx(
            mean_of(flat, name, "healthy", "false_positive_pixels")
        )
    assert row_of(deep, "position, Otsu")["tag_auc"]["mean"] == 1


def test_chances_of_volumes_are_those_of_their_slices(volumes, tmp_path):
    records = {}
    for case in PATIENTS["Ts"]:
        lesions = np.stack([head(number)[1] for number in range(NUM_SLICES)])
        write_volume(tmp_path / f"{case}.nii.gz", lesions.astype(np.uint8))
        chances = [None, 0.1, *([0.8] * 3), 0.1, 0.9]
        labels = {"lesion": {"probability": chances}}
        records[case] = {"shape": [NUM_SLICES, SIZE, SIZE], "labels": labels}
    (tmp_path / "predictions.json").write_text(json.dumps({"cases": records}))
    found = weak_supervision.make_table(volumes, {"CDM": tmp_path})
    # of four healthy slices one is above all three positive ones
    assert row_of(found, "CDM")["tag_auc"]["mean"] == pytest.approx(3 / 4)


def test_a_dataset_without_test_masks_or_tags_is_refused(planes, tmp_path):
    folder = tmp_path / "Dataset003_Other"
    shutil.copytree(planes, folder)
    shutil.rmtree(folder / "labelsTs")
    with pytest.raises(UsageError, match="expected image-level labels .* and test masks"):
        weak_supervision.make_table(folder, {})


def test_without_test_tags_a_row_has_no_chances(planes, predictions):
    dataset = replace(open_dataset(planes), image_labels=None)
    rows = weak_supervision.rows_of_folder(dataset, "CDM", predictions["CDM"], num_processes=0)
    assert rows["lesion"].tag_auc is None


def test_what_cannot_be_compared_is_refused(planes):
    with pytest.raises(UsageError, match="--compare: expected one of the names of --methods, none"):
        weak_supervision.make_table(planes, {}, compared="CDM")
    with pytest.raises(UsageError, match="expected --channel from 0 to 0, found 1"):
        weak_supervision.make_table(planes, {}, channel=1)


def test_the_command_writes_the_table_and_its_numbers(planes, predictions, tmp_path, capsys):
    methods = [f"{name}={folder}" for name, folder in predictions.items()]
    weak_supervision.main([str(planes), str(tmp_path / "weak.v1"), "--methods", *methods])
    text = (tmp_path / "weak.v1.md").read_text()
    assert text in capsys.readouterr().out
    assert "| CDM | 1.000 [1.000, 1.000] |" in text
    assert "9 positive slices of 3 patients, 12 healthy ones of 3" in text
    assert "Differences of **CDM** (of highest Dice on these slices" in text
    assert "| CAM | +1.000 [+1.000, +1.000] |" in text
    json.loads((tmp_path / "weak.v1.json").read_text())


def test_a_method_without_a_name_ends_the_command_with_a_message(planes, tmp_path):
    with pytest.raises(SystemExit, match="expected NAME=FOLDER, found 'folder'"):
        weak_supervision.main([str(planes), str(tmp_path / "x"), "--methods", "folder"])


def test_rows_of_a_folder_are_its_slice_scores(planes, predictions):
    dataset = open_dataset(planes)
    rows = weak_supervision.rows_of_folder(dataset, "CDM", predictions["CDM"], num_processes=0)
    expected = score_slice_folder(
        ScoredFolders(
            reference=planes / "labelsTs",
            prediction=predictions["CDM"],
            labels=dataset.labels,
            file_ending=".png",
            has_raters=False,
            patients=dataset.patients,
        ),
        num_processes=0,
    )
    assert rows["lesion"].slices == expected["lesion"]


def test_the_three_classes_are_those_of_the_best_pair_of_thresholds():
    image = np.random.default_rng(0).choice([0.0, 5.0, 9.0], size=(48, 48), p=[0.5, 0.3, 0.2])
    image = np.kron(image[:8, :8], np.ones((12, 12)))
    found = answers.three_class_mask(image)
    inner = np.zeros((8, 12, 8, 12), bool)
    inner[:, 4:8, :, 4:8] = True  # away from the edges that smoothing blurs
    inner = inner.reshape(96, 96)
    np.testing.assert_array_equal(found[inner], (image == 9)[inner])


def test_an_image_of_one_value_has_no_mask_and_its_middle_for_a_centre():
    image = np.full((8, 6), 3.0, np.float32)
    assert not answers.three_class_mask(image).any()
    assert not answers.otsu_mask(image).any()
    assert answers.centre_of(image) == (3.5, 2.5)
    assert not answers.disc_brightness(image).any()


def test_the_centre_is_the_centroid_of_what_is_brighter_than_the_minimum():
    image = 7.0 + 2.0 * disc(5, centre=(10, 20))
    assert answers.centre_of(image) == pytest.approx((10, 20))


def test_the_disc_has_the_size_whose_brightness_tells_the_tags():
    generator = np.random.default_rng(0)
    tags = np.arange(200) % 2
    images = [
        np.where(disc(14), 100.0, 0)
        + 12 * tag * disc(0.25 * SIZE)
        + generator.normal(0, 60, (SIZE, SIZE))
        for tag in tags
    ]
    brightness = np.stack([answers.disc_brightness(image) for image in images])
    share, auc = answers.choose_radius_share(brightness, tags)
    assert 0.2 <= share <= 0.3
    assert auc > 0.9


def test_position_is_the_rank_within_a_patient_or_a_volume():
    found = answers.relative_positions(
        {"a2": 1, "a1": 1, "a3": 1, "b": 1, "v": 5},
        {"a1": "a", "a2": "a", "a3": "a", "b": "b", "v": "a"},
    )
    assert {case: list(places) for case, places in found.items()} == {
        "a1": [0.0],
        "a2": [0.5],
        "a3": [1.0],
        "b": [0.5],
        "v": [0.0, 0.25, 0.5, 0.75, 1.0],
    }


def test_the_chance_by_position_is_that_of_the_drawn_tags():
    generator = np.random.default_rng(0)
    positions = generator.random(50_000)
    chances = 1 / (1 + np.exp(-(-3 + 12 * positions - 12 * positions**2)))
    model = answers.PositionModel.fit(positions, generator.random(50_000) < chances)
    np.testing.assert_allclose(model.weights, (-3, 12, -12), rtol=0.1)
    np.testing.assert_allclose(model.probability(positions), chances, atol=0.02)


def test_tags_that_position_tells_exactly_have_finite_weights():
    model = answers.PositionModel.fit(np.linspace(0, 1, 20), (np.arange(20) > 10).astype(int))
    assert np.isfinite(model.weights).all()
    assert (model.probability(np.array([0.0, 1.0])) > 0.5).tolist() == [False, True]


def test_the_auc_counts_pairs_and_half_of_ties():
    scores, tags = np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 1, 0, 1])
    pairs = [(scores[i] > scores[j]) + (scores[i] == scores[j]) / 2 for i in (1, 3) for j in (0, 2)]
    assert answers.tag_auc(scores, tags) == np.mean(pairs)
    interval = answers.tag_auc_interval(scores, tags, ["a", "a", "b", "b"], num_draws=100)
    assert interval["lower"] <= interval["mean"] == np.mean(pairs) <= interval["upper"]
