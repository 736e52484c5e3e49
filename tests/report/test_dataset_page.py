"""Pages about datasets."""

import json
import shutil

import pytest

from diffunet import api
from diffunet.errors import DiffunetError
from diffunet.jsonio import as_json, read_json, write_json
from diffunet.report.plan_facts import chosen_values
from tests.fingerprint.raw_datasets import image_2d, mask_2d, write_dataset
from tests.report.folders_on_disk import NASTY
from tests.report.pages import addresses, read_page
from tests.wsss.weak_folds import weak_plans


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory):
    """A planned and preprocessed dataset of six images with two raters each."""
    root = tmp_path_factory.mktemp("dataset")
    images = {f"case{number}": image_2d(number) for number in range(6)}
    masks = {}
    for number in range(6):
        masks[f"case{number}_r00"] = mask_2d((5, 5), (15, 15 + number))
        masks[f"case{number}_r01"] = mask_2d((5, 5), (20, 15))
    write_dataset(
        root / "raw" / "Dataset001_X",
        images,
        masks,
        content={
            "raters": True,
            "labels": {"background": 0, NASTY: 1},
            "channel_names": {"0": NASTY},
            "numTraining": 6,
        },
    )
    api.plan_and_preprocess(1, workspace=root, num_processes=0)
    return root / "preprocessed" / "Dataset001_X"


def test_every_choice_stands_beside_its_reason(preprocessed, tmp_path):
    page = read_page(api.report(preprocessed, tmp_path / "page.html", workspace=tmp_path))
    plans = read_json(preprocessed / "diffunet_plans.json")
    reasons = plans["reasons"]["configurations"]["2d"]
    shown = (reasons["patch_size"], reasons["diffusion"]["input_scale"], plans["reasons"]["method"])
    for reason in shown:
        assert " ".join(reason.split()) in page.text
    assert "When a region of" in page.text
    assert "1 < d' < 4" in page.text
    assert "what its 2 raters marked" in page.text
    assert NASTY in page.text
    assert len(page.attributes("script")) == 1
    assert not addresses(page)


@pytest.mark.parametrize(
    ("method", "is_shown", "is_not"),
    [
        ("diffusion", "diffusion.input_scale", "weak.cdm.log_snr"),
        ("cdm", "weak.cdm.log_snr", "diffusion.input_scale"),
        ("classifier", "weak.default_saliency", "sampling.num_samples"),
        ("one of a later version", "diffusion.input_scale", "weak.clean_share"),
    ],
)
def test_the_choices_that_decide_most_are_those_of_the_method(method, is_shown, is_not):
    plan = as_json(weak_plans().configuration)
    main = [each.path for each in chosen_values(plan, {}, method=method) if each.is_main]
    assert main[0] == "patch_size"
    assert is_shown in main
    assert is_not not in main
    assert len(main) in (10, 11)  # as many as are named: each of them is a field of plans


def test_lengths_are_in_mm_only_where_files_told_a_spacing(preprocessed, tmp_path):
    fingerprint = read_json(preprocessed / "dataset_fingerprint.json")
    assert fingerprint["geometry"]["has_spacing"] is False  # PNG files
    page = read_page(api.report(preprocessed, tmp_path / "page.html", workspace=tmp_path))
    assert "pixels (" in page.text
    assert "lengths count in voxels" in page.text
    assert "mm²" not in page.text
    folder = tmp_path / "Dataset001_X"
    fingerprint["geometry"]["has_spacing"] = True
    write_json(folder / "dataset_fingerprint.json", fingerprint)
    write_json(folder / "diffunet_plans.json", read_json(preprocessed / "diffunet_plans.json"))
    page = read_page(api.report(folder, workspace=tmp_path))
    assert "spacing (mm)" in page.text
    assert "mm²" in page.text


def test_warnings_come_before_what_was_found(preprocessed, tmp_path):
    page = read_page(api.report(preprocessed, tmp_path / "page.html", workspace=tmp_path))
    warnings = read_json(preprocessed / "dataset_fingerprint.json")["warnings"]
    assert warnings
    places = [page.text.index(" ".join(warning.split())) for warning in warnings]
    assert max(places) < page.text.index("What was found")


def test_a_dataset_that_is_not_preprocessed_has_a_page_without_pictures(preprocessed, tmp_path):
    folder = tmp_path / "Dataset001_X"
    for name in ("dataset_fingerprint.json", "diffunet_plans.json"):
        write_json(folder / name, read_json(preprocessed / name))
    page = read_page(api.report(folder, workspace=tmp_path))
    assert "raters marked" not in page.text
    assert "There is no picture: this configuration is not preprocessed." in page.text
    assert "The choices that decide most" in page.text


def test_damaged_preprocessed_cases_are_a_note(preprocessed, tmp_path):
    folder = tmp_path / "Dataset001_X"
    shutil.copytree(preprocessed, folder)
    for path in folder.glob("2d/images/*"):
        path.write_bytes(b"damaged")
    page = read_page(api.report(folder, workspace=tmp_path))
    assert "There is no picture: the preprocessed cases cannot be read" in page.text


def test_a_damaged_fingerprint_is_a_mistake_in_one_sentence(preprocessed, tmp_path):
    folder = tmp_path / "Dataset001_X"
    content = read_json(preprocessed / "dataset_fingerprint.json")
    folder.mkdir()
    (folder / "dataset_fingerprint.json").write_text(json.dumps(content | {"num_cases": "six"}))
    with pytest.raises(DiffunetError, match="num_cases"):
        api.report(folder, workspace=tmp_path)
