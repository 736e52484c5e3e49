"""Pages about predictions."""

import base64
import io
import re
import shutil
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from diffunet import api
from diffunet.data.file_state import FileState
from diffunet.data.image_io import ImageGeometry, write_label_map, write_signed_map
from diffunet.errors import DatasetError, DiffunetError, UsageError
from diffunet.jsonio import read_json, write_json
from diffunet.label_colours import label_colours
from diffunet.report.pictures import RATER_COLOURS, grid_of, outline_sheet
from tests.report.folders_on_disk import IMAGE, NASTY, SCRIPTS, VOLUME, score, write_predictions
from tests.report.pages import addresses, read_page


def _report(root, folder, **options):
    return read_page(api.report(folder, workspace=root, **options))


def _cases_of(page):
    return re.findall(r"case\d+", page.text)


def test_cases_are_sorted_by_their_score_the_worst_first(tmp_path):
    folder = write_predictions(tmp_path)
    page = _report(tmp_path, folder)
    scores = {
        case["case"]: case["distribution"]["lesion"]["ged_fully_unbiased"]
        for case in read_json(folder / "summary.json")["metric_per_case"]
    }
    worst_first = sorted(scores, key=lambda case: -scores[case])
    rows = [a["href"] for a in page.attributes("a") if a["href"].startswith("#case-")]
    assert rows == ["#case-1", "#case-2", "#case-3"]
    shown = [case for case in _cases_of(page) if case in scores]
    assert shown[0] == worst_first[0]  # the verdict
    assert "Worst cases by unbiased GED" in page.text


def test_without_scores_the_most_uncertain_case_is_first(tmp_path):
    folder = write_predictions(tmp_path, is_scored=False)
    page = _report(tmp_path, folder)
    assert "most uncertain first" in page.text
    assert "there are no scores" in page.text
    assert "raters" not in " ".join(a.get("aria-label", "") for a in page.attributes("div"))


@pytest.mark.parametrize("is_known", [True, False])
def test_cases_whose_samples_differ_most_come_first(tmp_path, is_known):
    """However alike their volumes are; records of older predictions know the volumes alone."""
    folder = write_predictions(tmp_path, ["grows", "moves"], is_scored=False)
    for case, samples, disagreement in (("grows", [6, 12], 0.3), ("moves", [9, 9], 0.9)):
        path = folder / "records" / f"{case}.json"
        record = read_json(path)
        ends = {"percentile_5": min(samples), "percentile_95": max(samples)}
        record["volumes"]["lesion"].update(mean=9.0, samples=samples, **ends)
        if is_known:
            record["disagreement"] = {"lesion": disagreement}
        write_json(path, record)
    page = _report(tmp_path, folder)
    shown = [cell.get("data-value") for cell in page.attributes("td")]
    largest = "0.9" if is_known else "0.5"  # 6 of 12 voxels
    assert largest in shown
    first = "moves (lesion of 9 to 9" if is_known else "grows (lesion of 6 to 12"
    assert f"Look first at the most uncertain: {first}" in page.text


def test_references_are_not_opened_unasked(tmp_path):
    folder = write_predictions(tmp_path, is_scored=False)
    for path in (tmp_path / "raw" / "Dataset001_X" / "labelsTs").iterdir():
        path.write_bytes(b"no image")
    assert "no scores" in _report(tmp_path, folder).text


def test_named_references_are_scored_and_nothing_but_the_page_is_written(tmp_path):
    folder = write_predictions(tmp_path, is_scored=False)
    before = set(folder.rglob("*"))
    page = _report(tmp_path, folder, references=tmp_path / "raw/Dataset001_X/labelsTs")
    assert "Unbiased GED" in page.text
    assert "Voxels of lesion" in page.text
    assert set(folder.rglob("*")) - before == {folder / "report.html"}


def test_a_page_needs_nothing_from_elsewhere_and_its_links_lead_to_files(tmp_path):
    folder = write_predictions(tmp_path, ["case 1 #?%", "b"])
    page = _report(tmp_path, folder)
    links = addresses(page)
    assert links
    assert all((folder / unquote(link)).exists() for link in links)
    assert not any(a.get("src") for a in page.attributes("script"))


def test_a_volume_has_sliders_over_its_slices_and_samples(tmp_path):
    folder = write_predictions(tmp_path, shape=VOLUME)
    page = _report(tmp_path, folder)
    viewer = next(a for a in page.attributes("div") if a.get("class") == "viewer")
    slices = viewer["data-slices"].split()
    sliders = page.attributes("input")
    by_name = {a["data-set"]: a for a in sliders[:2]}
    assert int(by_name["--s"]["max"]) == len(slices) - 1 > 0
    assert by_name["--j"]["max"] == "3"
    assert f"--n:{len(slices)};" in viewer["style"]


def test_an_image_has_no_slider_over_slices(tmp_path):
    page = _report(tmp_path, write_predictions(tmp_path))
    assert {a["data-set"] for a in page.attributes("input")} == {"--j"}


@pytest.mark.parametrize("num_raters", [0, 1, 3])
def test_any_number_of_raters(tmp_path, num_raters):
    page = _report(tmp_path, write_predictions(tmp_path, num_raters=num_raters))
    titles = {a["aria-label"].split(" of case")[0] for a in page.attributes("div") if "role" in a}
    assert ("3 raters" in titles) == (num_raters == 3)
    assert ("reference" in titles) == (num_raters == 1)


def _swatches(page):
    spans = [a["style"] for a in page.attributes("span") if a.get("class") == "swatch"]
    return [style.removeprefix("--key:") for style in spans]


def test_each_rater_of_one_label_has_a_colour_of_its_own(tmp_path):
    page = _report(tmp_path, write_predictions(tmp_path, ["case1"], num_raters=8))
    assert len(_swatches(page)) == len(set(_swatches(page))) == 8
    assert "8 raters rater 1 rater 2" in page.text


def test_the_outlines_of_each_rater_have_its_colour(tmp_path):
    page = _report(tmp_path, write_predictions(tmp_path, ["case1"], num_raters=3))
    (viewer,) = (a for a in page.attributes("div") if a.get("class") == "viewer")
    uri = re.search(r"--raters:url\(data:image/png;base64,([^)]+)\)", viewer["style"])
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri[1]))).convert("RGBA"))
    for column, swatch in zip(np.split(sheet, 3, axis=1), _swatches(page), strict=True):
        drawn = {"#" + bytes(pixel[:3]).hex() for pixel in column[column[..., 3] > 0]}
        assert drawn <= {swatch}
    assert (sheet[..., 3] > 0).any()


@pytest.mark.parametrize("num_raters", [2, 3])
def test_raters_who_drew_the_same_outline_all_show(num_raters):
    square = np.zeros((1, 64, 64), int)
    square[0, 10:50, 10:50] = 1
    columns = [square * (number + 1) for number in range(num_raters)]
    grid = grid_of((64, 64), (1.0, 1.0), edge=64)
    sheets = (
        outline_sheet(columns, grid, colours=RATER_COLOURS, takes_turns=turns)
        for turns in (False, True)
    )
    alone, dashed = (
        np.split(np.asarray(Image.open(io.BytesIO(base64.b64decode(each.uri[22:])))), num_raters, 1)
        for each in sheets
    )
    shown = np.stack(dashed) > 0
    assert np.array_equal(shown.sum(axis=0), alone[0] > 0)  # each pixel has one rater
    shares = shown.sum(axis=(1, 2)) / np.count_nonzero(alone[0])
    assert (abs(shares - 1 / num_raters) < 0.1).all()


def test_several_labels_have_the_colours_of_the_tables_for_viewers(tmp_path):
    labels = ("core", "<b>rim", "edema")
    page = _report(tmp_path, write_predictions(tmp_path, ["case1"], labels=labels, num_raters=2))
    colours = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in label_colours(3)]
    assert set(_swatches(page)) == set(colours)
    assert len(_swatches(page)) == 3 * 3  # of raters, samples and consensus
    assert "one sample core <b>rim edema" in page.text


def test_labels_that_no_sample_marks_are_named_in_one_line(tmp_path):
    names = ("liver", "spleen", "gallbladder", "aorta")
    folder = write_predictions(tmp_path, ["case1"], labels=names, is_scored=False)
    path = folder / "records" / "case1.json"
    record = read_json(path)
    for name in ("spleen", "aorta"):
        nothing = {"samples": [0, 0, 0, 0], "mean": 0.0, "percentile_5": 0.0, "percentile_95": 0.0}
        record["volumes"][name].update(nothing)
    write_json(path, record)
    page = _report(tmp_path, folder)
    assert "Marked by no sample: spleen, aorta." in page.text
    assert page.text.count("arked by no") == 1


def test_without_samples_the_maps_remain(tmp_path):
    page = _report(tmp_path, write_predictions(tmp_path, has_samples=False))
    assert "uncertainty" in page.text
    assert not page.attributes("input")


def test_without_images_the_maps_stand_alone_and_the_page_says_so(tmp_path):
    folder = write_predictions(tmp_path, has_images=False)
    page = _report(tmp_path, folder)
    assert "say with -i where they are" in page.text
    assert "uncertainty" in page.text


@pytest.mark.parametrize("dataset", ["Dataset001_X", "Dataset002_Y"])
def test_images_of_a_validation_are_found_in_its_dataset(tmp_path, dataset):
    """It predicts preprocessed images, so that its records name no file."""
    folder = write_predictions(tmp_path, is_scored=False)
    for path in (folder / "records").glob("*.json"):
        record = read_json(path)
        settings = {**record["settings"], "dataset": dataset}
        write_json(path, {**record, "input": None, "settings": settings})
    page = _report(tmp_path, folder)
    assert ("were not found" in page.text) == (dataset != "Dataset001_X")


def test_an_image_of_the_same_name_but_other_content_is_not_shown(tmp_path):
    folder = write_predictions(tmp_path)
    images = tmp_path / "raw/Dataset001_X/imagesTs"
    (images / "case1_0000.png").write_bytes((images / "case2_0000.png").read_bytes())
    page = _report(tmp_path, folder)
    assert "The images of 1 case were not found" in page.text
    page = _report(tmp_path, folder, images=images)
    assert "are not those that were predicted" in page.text


@pytest.mark.parametrize("name", [NASTY.replace("/", "⁄"), SCRIPTS])
def test_names_stay_text(tmp_path, name):
    folder = write_predictions(tmp_path, [name, "b"], labels=[NASTY, SCRIPTS])
    page = _report(tmp_path, folder)
    assert name in page.text
    assert NASTY in page.text
    assert len(page.attributes("script")) == 1
    assert not any(key.startswith("on") for _, found in page.tags for key in found)


def test_a_hundred_cases_stay_below_30_mb(tmp_path):
    shape = (24, 160, 160)
    folder = write_predictions(
        tmp_path, ["a", "b"], shape=shape, num_samples=8, is_scored=False, num_raters=0
    )
    for number in range(98):  # the same files under other names
        case = f"c{number}"
        for path in [*folder.glob("a*"), *folder.glob("*/a*")]:
            (path.parent / path.name.replace("a", case, 1)).hardlink_to(path)
    from diffunet.report.case_views import Limits

    assert Limits.for_cases(100, total_bytes=24 * 2**20).num_bytes * 100 <= 24 * 2**20
    path = api.report(folder, workspace=tmp_path)
    assert path.stat().st_size < 30e6
    assert read_page(path).text.count("open all") == 1


def test_a_damaged_file_takes_the_pictures_of_its_case_alone(tmp_path):
    folder = write_predictions(tmp_path)
    (folder / "case2_uncertainty.png").write_bytes(b"no image")
    page = _report(tmp_path, folder)
    assert "Files of 1 case cannot be shown, such as case2" in page.text
    assert len([a for a in page.attributes("div") if a.get("class") == "viewer"]) == 2


@pytest.mark.parametrize("is_scored", [True, False])
def test_a_damaged_record_leaves_its_case_in_the_page_with_a_note(tmp_path, is_scored):
    folder = write_predictions(tmp_path, is_scored=is_scored)
    (folder / "records" / "case2.json").write_text("{")
    page = _report(tmp_path, folder)
    assert "The record of case2 is damaged ('records/case2.json')" in page.text
    assert "--continue_prediction" in page.text
    assert "3 cases, " in page.text
    assert len([a for a in page.attributes("div") if a.get("class") == "viewer"]) == 3


def test_several_damaged_records_are_counted(tmp_path):
    folder = write_predictions(tmp_path)
    for case in ("case1", "case3"):
        (folder / "records" / f"{case}.json").write_bytes(b"")
    page = _report(tmp_path, folder)
    assert "The records of 2 cases, such as case1, are damaged" in page.text


def test_whole_predictions_have_no_note_about_damage(tmp_path):
    page = _report(tmp_path, write_predictions(tmp_path))
    notes = ("damaged", "missing", "not found", "no scores", "cannot be")
    assert not [note for note in notes if note in page.text]


def test_files_that_were_written_and_are_gone_are_named(tmp_path):
    folder = write_predictions(tmp_path, is_scored=False)
    path = folder / "records" / "case1.json"
    written = ["case1.png", "samples/case1_s00.png", "samples/case1_s03.png"]
    states = {name: {"num_bytes": 1, "modified_ns": None, "digest": "0"} for name in written}
    write_json(path, {**read_json(path), "files": states})
    assert "that the prediction wrote" not in _report(tmp_path, folder).text
    (folder / "samples" / "case1_s03.png").unlink()
    (folder / "case2.png").unlink()
    page = _report(tmp_path, folder)
    assert "2 files of 2 cases that the prediction wrote are missing" in page.text
    assert "such as 'samples/case1_s03.png'" in page.text


def test_a_summary_without_scores_is_a_note(tmp_path):
    folder = write_predictions(tmp_path)
    write_json(folder / "summary.json", {"metric_per_case": [1, 2]})
    page = _report(tmp_path, folder)
    assert "summary.json holds no scores that can be read" in page.text
    assert "there are no scores for them" in page.text


def test_cases_without_scores_are_counted(tmp_path):
    folder = write_predictions(tmp_path)
    summary = read_json(folder / "summary.json")
    kept = [each for each in summary["metric_per_case"] if each["case"] != "case3"]
    write_json(folder / "summary.json", {**summary, "metric_per_case": kept})
    page = _report(tmp_path, folder)
    assert "1 of 3 predicted cases have no scores, such as case3." in page.text


def test_masks_that_were_scored_and_are_gone_are_a_note(tmp_path):
    folder = write_predictions(tmp_path)
    for path in (tmp_path / "raw" / "Dataset001_X" / "labelsTs").iterdir():
        path.unlink()
    page = _report(tmp_path, folder)
    assert "The masks that the cases were scored by were not found, such as" in page.text


def test_a_scored_case_without_any_file_says_why_it_has_no_picture(tmp_path):
    folder = write_predictions(tmp_path)
    for path in [*folder.rglob("case2*"), *(tmp_path / "raw").rglob("case2*")]:
        path.unlink()
    assert "No pictures: there is no file of this case." in _report(tmp_path, folder).text


def test_scores_of_another_folder_are_a_note(tmp_path):
    folder = write_predictions(tmp_path, ["case1", "case2"])
    other = write_predictions(tmp_path / "other", ["case1", "z1", "z2"])
    assert "not predicted here" not in _report(tmp_path, folder).text
    shutil.copy(other / "summary.json", folder)
    text = _report(tmp_path, folder).text
    assert "2 of 3 scored cases were not predicted here, such as z1: the scores may be" in text


@pytest.mark.parametrize("what", ["reference", "sample", "uncertainty"])
def test_files_of_another_size_take_the_pictures_of_their_case_alone(tmp_path, what):
    folder = write_predictions(tmp_path)
    path = {
        "reference": tmp_path / "raw" / "Dataset001_X" / "labelsTs" / "case1_r00.png",
        "sample": folder / "samples" / "case1_s00.png",
        "uncertainty": folder / "case1_uncertainty.png",
    }[what]
    Image.fromarray(np.zeros((50, 40), np.uint8)).save(path)
    text = _report(tmp_path, folder).text
    assert f"{path}': expected the shape (24, 20) of the other files of the case, found" in text
    assert "Files of 1 case cannot be shown, such as case1." in text


def test_folders_of_other_cases_are_named_with_theirs(tmp_path):
    folder = write_predictions(tmp_path, ["case1"])
    write_predictions(tmp_path / "other", ["z1"])
    raw = tmp_path / "other" / "raw" / "Dataset001_X"
    for option, place in (("images", raw / "imagesTs"), ("references", raw / "labelsTs")):
        with pytest.raises(UsageError, match=r"predicted cases \('case1'\), found 'z1'; give"):
            api.report(folder, workspace=tmp_path, **{option: place})
    with pytest.raises(DatasetError, match="found none; did you mean '.*imagesTs'"):
        api.report(folder, workspace=tmp_path, images=raw)


def test_names_that_are_no_text_are_refused(tmp_path):
    folder = write_predictions(tmp_path, is_scored=False)
    (folder / "records" / "h\udcc3.json").write_text("{}")
    with pytest.raises(UsageError, match="it is not written in UTF-8"):
        api.report(folder, workspace=tmp_path)


def test_where_nothing_is_marked_no_verdict_is_given(tmp_path):
    folder = write_predictions(tmp_path, shape=(1, 1))
    text = _report(tmp_path, folder).text
    assert "An empty mask is perfect on these cases" in text
    assert "did not go well" not in text


def test_damaged_json_is_a_mistake_in_one_sentence(tmp_path):
    folder = write_predictions(tmp_path)
    (folder / "summary.json").write_text("{")
    with pytest.raises(DiffunetError, match=r"summary\.json' is not valid JSON"):
        api.report(folder, workspace=tmp_path)
    assert not (folder / "report.html").exists()


def test_scores_of_another_program_are_shown(tmp_path):
    folder = write_predictions(tmp_path)
    entries = [
        {"metrics": {"1": {"Dice": value}}, "prediction_file": f"/x/case{number}.png"}
        for number, value in ((1, 0.9), (2, 0.1), (3, 0.5))
    ]
    write_json(
        folder / "summary.json", {"foreground_mean": {"Dice": 0.5}, "metric_per_case": entries}
    )
    page = _report(tmp_path, folder)
    assert "Dice of the consensus 0.5 on 3 cases" in page.text
    assert "case2 (0.1), case3 (0.5), case1 (0.9)" in page.text


@pytest.mark.parametrize("is_empty", [True, False])
def test_with_one_rater_the_page_says_if_nothing_was_learnt_and_praises_no_scattered_masks(
    tmp_path, is_empty
):
    """Masks that miss everything, each elsewhere, have a lower energy score than an empty mask."""
    folder = write_predictions(tmp_path, [f"case{n}" for n in range(6)], num_raters=1)
    geometry = ImageGeometry(shape=IMAGE, spacing_mm=(1.0, 1.0), has_spacing=False)
    labels = tmp_path / "raw" / "Dataset001_X" / "labelsTs"
    for number in range(6):
        mask = np.zeros(IMAGE, np.uint8)
        mask[20:, 15:] = 1
        write_label_map(labels / f"case{number}.png", mask, geometry)
        for sample in range(4):
            mask = np.zeros(IMAGE, np.uint8)
            mask[sample * 4, :9] = not is_empty
            write_label_map(folder / "samples" / f"case{number}_s{sample:02d}.png", mask, geometry)
    write_json(folder / "summary.json", score(folder, labels, read_json(folder / "dataset.json")))
    page = _report(tmp_path, folder)
    assert ("not clearly better than an empty mask" in page.text) == is_empty
    assert "better than an empty mask" not in page.text.replace("not clearly better than", "")
    assert "always empty" in page.text
    assert "unbiased GED" not in page.text
    assert "majority" not in page.text


def test_of_one_patient_the_page_does_not_say_that_training_failed(tmp_path):
    """There is no interval, so that nothing is clear."""
    folder = write_predictions(tmp_path, ["case1"], num_raters=1)
    labels = tmp_path / "raw" / "Dataset001_X" / "labelsTs"
    write_json(folder / "summary.json", score(folder, labels, read_json(folder / "dataset.json")))
    page = _report(tmp_path, folder)
    assert "always empty" in page.text
    assert "not clearly better" not in page.text


def test_of_one_mask_per_case_only_its_own_scores_are_shown(tmp_path):
    folder = write_predictions(tmp_path, num_samples=1, has_samples=False)
    page = _report(tmp_path, folder)
    assert "Dice of the consensus" in page.text
    assert "diversity of raters" in page.text
    for title in ("volumes inside the interval", "calibration error", "matched IoU", "unbiased"):
        assert title not in page.text


def test_an_empty_folder_of_predictions_is_refused(tmp_path):
    (tmp_path / "out" / "records").mkdir(parents=True)
    with pytest.raises(UsageError, match="no predicted case"):
        api.report(tmp_path / "out", workspace=tmp_path)


def test_time_that_is_up_leaves_cases_without_pictures(tmp_path):
    from diffunet.report.write import write_report

    folder = write_predictions(tmp_path)
    page = read_page(write_report(folder, max_seconds=-1.0))
    assert "There are no pictures, to keep the prediction quick" in page.text


@pytest.mark.parametrize("is_scored", [True, False])
def test_of_many_cases_the_worst_or_most_uncertain_have_pictures(tmp_path, monkeypatch, is_scored):
    monkeypatch.setattr("diffunet.report.case_pictures.MOST_PICTURED", 1)
    cases = [f"case{number}" for number in range(6)]
    folder = write_predictions(tmp_path, cases, is_scored=is_scored)
    page = _report(tmp_path, folder)
    by = "worst first, by unbiased GED" if is_scored else "most uncertain first"
    assert f"first 1 case of the table ({by}), the other 5 have none" in page.text
    first = page.text.partition("Worst cases by unbiased GED: ")[2].partition(" (")[0]
    if not is_scored:
        first = page.text.partition("most uncertain: ")[2].partition(" (")[0]
    pictured = {
        a["aria-label"].rpartition(" of ")[2] for a in page.attributes("div") if "role" in a
    }
    assert pictured == {first}


def test_a_weak_model_has_saliency_and_presence(tmp_path):
    folder = write_predictions(tmp_path, is_scored=False, num_raters=0, has_samples=False)
    geometry = ImageGeometry(shape=IMAGE, spacing_mm=(1.0, 1.0), has_spacing=False)
    for number, case in enumerate(("case1", "case2", "case3")):
        (folder / f"{case}_uncertainty.png").unlink()
        values = np.linspace(-1, 3, 24 * 20, dtype=np.float32).reshape(IMAGE)
        scale = write_signed_map(folder / f"{case}_saliency.png", values, geometry)
        record = read_json(folder / "records" / f"{case}.json")
        about = {
            "case_probability": 0.9 - 0.2 * number,
            "is_present": [True],
            "saliency_file": {"offset": scale.offset, "factor": scale.factor},
        }
        record |= {"labels": {"lesion": about}, "volumes": {"lesion": {"unit": "", "value": 4.0}}}
        write_json(folder / "records" / f"{case}.json", record)
    page = _report(tmp_path, folder)
    titles = {a["aria-label"].split(" of case")[0] for a in page.attributes("div") if "role" in a}
    assert titles == {"image", "mask", "saliency"}
    assert "lesion: probability 0.9, taken as present." in page.text
    assert "most uncertain: case3 (lesion: probability 0.5)" in page.text


def _note_files(folder, case):
    """Let a record tell its files, as that of a prediction does."""
    names = [f"{case}.png", f"{case}_uncertainty.png"]
    files = {name: FileState.of(folder / name, has_time=True) for name in names}
    path = folder / "records" / f"{case}.json"
    write_json(path, {**read_json(path), "files": files})


def test_scores_of_masks_that_were_predicted_again_are_told(tmp_path):
    folder = write_predictions(tmp_path, is_scored=False, has_samples=False)
    for case in ("case1", "case2", "case3"):
        _note_files(folder, case)
    references = tmp_path / "raw" / "Dataset001_X" / "labelsTs"
    api.evaluate(references, folder, num_processes=0)
    copied = tmp_path / "elsewhere"
    shutil.copytree(folder, copied)
    for each in (folder, copied):
        assert "predicted again" not in _report(tmp_path, each).text
    mask = np.zeros(IMAGE, np.uint8)
    mask[3:9, 4:8] = 1
    write_label_map(folder / "case2.png", mask, ImageGeometry(shape=IMAGE, spacing_mm=(1.0, 1.0)))
    _note_files(folder, "case2")
    page = _report(tmp_path, folder)
    assert "1 case, such as case2, was predicted again since diffunet_evaluate" in page.text
    api.evaluate(references, folder, num_processes=0)
    assert "predicted again" not in _report(tmp_path, folder).text
