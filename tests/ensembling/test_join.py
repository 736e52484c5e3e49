"""`diffunet_ensemble`, against calculations by hand on images of four voxels."""

import re
import shutil
from fractions import Fraction

import numpy as np
import pytest

from diffunet.cli import ensemble, evaluate
from diffunet.data.image_io import read_label_map, read_map, write_label_map
from diffunet.jsonio import read_json, write_json
from tests.inference.models import dataset_content
from tests.inference.written_folders import (
    NONE,
    geometry_of,
    label_map,
    read_text,
    samples_in,
    write_predictions,
    write_references,
)

# By case: two samples of each of two models, and two raters; then what follows by hand: the
# consensus of the mixture (ties go to the background), and its unbiased GED, 2 E d(s, y) over all
# pairs, minus E d(s, s') over different samples, minus E d(y, y') over all pairs of raters.
BY_HAND = {
    "same": (("1000", "1000"), ("1000", "1000"), ("1000", "1000"), "1000", Fraction(0)),
    "each_its_rater": (("1000", "1000"), ("0001", "0001"), ("1000", "0001"), NONE, Fraction(-1, 6)),
    "empty": ((NONE, NONE), (NONE, NONE), (NONE, NONE), NONE, Fraction(0)),
    "sizes": (("1100", "1100"), ("1000", NONE), ("1100", NONE), "1000", Fraction(-1, 24)),
    "both_vary": (("1111", "1110"), ("1111", "1110"), ("1111",) * 2, "1110", Fraction(1, 12)),
    "mixed": (("0100", "0010"), (NONE, "0110"), ("0110", "0100"), NONE, Fraction(1, 24)),
}
A = {case: found[0] for case, found in BY_HAND.items()}
B = {case: found[1] for case, found in BY_HAND.items()}
WITH_RATERS = {**dataset_content(), "raters": True}


@pytest.fixture
def folders(tmp_path):
    return [
        write_predictions(tmp_path / name, cases, content=WITH_RATERS)
        for name, cases in (("a", A), ("b", B))
    ]


def join(folders, output, *options) -> int:
    return ensemble.main(["-i", *map(str, folders), "-o", str(output), *map(str, options)])


def refusal(capsys, folders, output, *options) -> str:
    """Return the message with which the command refuses, having written nothing."""
    capsys.readouterr()
    assert join(folders, output, *options) == 2
    assert not output.exists()
    return capsys.readouterr().err


def test_six_cases_score_as_a_mixture_does_by_hand(folders, tmp_path):
    assert join(folders, tmp_path / "out") == 0
    reference = write_references(
        tmp_path / "labelsTr", {case: found[2] for case, found in BY_HAND.items()}
    )
    assert evaluate.main([str(reference), str(tmp_path / "out"), "-np", "0"]) == 0
    summary = read_json(tmp_path / "out" / "summary.json")
    scored = {each["case"]: each for each in summary["metric_per_case"]}
    for case, (_, _, _, consensus, ged) in BY_HAND.items():
        assert read_text(tmp_path / "out" / f"{case}.png") == consensus, case
        found = scored[case]["distribution"]["nodule"]["ged_unbiased"]
        assert found == pytest.approx(float(ged), abs=1e-12), case
    mean = summary["distribution"]["mean"]["scores"]["ged_unbiased"]["mean"]
    assert mean == pytest.approx(-1 / 72, abs=1e-12)


def test_samples_are_joined_and_take_turns(folders, tmp_path):
    assert join(folders, tmp_path / "out") == 0
    assert samples_in(tmp_path / "out", "sizes") == ["1100", "1000", "1100", NONE]
    record = read_json(tmp_path / "out" / "records" / "sizes.json")
    assert record["models_and_samples"] == [[0, 0], [1, 0], [0, 1], [1, 1]]


def test_uncertainty_probabilities_and_volumes_are_made_anew(folders, tmp_path):
    assert join(folders, tmp_path / "out", "--save_probabilities") == 0
    probability, _ = read_map(tmp_path / "out" / "sizes_probability.png")
    assert np.allclose(probability, [[0.75, 0.5, 0, 0]], atol=1e-4)
    uncertainty, _ = read_map(tmp_path / "out" / "sizes_uncertainty.png")
    assert np.allclose(uncertainty, [[0.8113, 1, 0, 0]], atol=1e-4)  # bits of 3:1, and of 1:1
    about = read_json(tmp_path / "out" / "predictions.json")["cases"]["sizes"]
    assert about["volumes"]["nodule"]["samples"] == [2, 1, 2, 0]
    assert about["volumes"]["nodule"]["mean"] == 1.25
    assert about["disagreement"]["nodule"] == pytest.approx(1 - 8 / 22)  # of all pairs of the four


def test_of_labels_that_exclude_each_other_the_consensus_has_most_votes(tmp_path):
    content = dataset_content(labels={"background": 0, "one": 1, "two": 2})
    a = write_predictions(tmp_path / "a", {"c": ("1120", "1020")}, content=content)
    b = write_predictions(tmp_path / "b", {"c": ("2122", "2002")}, content=content)
    assert join([a, b], tmp_path / "out") == 0
    assert read_text(tmp_path / "out" / "c.png") == "1020"


@pytest.mark.parametrize("file_ending", [".nii.gz", ".tif", ".nrrd"])
def test_regions_of_volumes_are_joined_in_their_geometry(file_ending, tmp_path):
    content = {
        **dataset_content(
            file_ending=file_ending, labels={"background": 0, "whole": [1, 2], "core": [2]}
        ),
        "regions_class_order": [1, 2],
    }
    options = {"content": content, "spacing_mm": (3.0, 1.0, 2.0)}
    a = write_predictions(tmp_path / "a", {"c": ("2210 0000/1100 0000",) * 2}, **options)
    b = write_predictions(
        tmp_path / "b", {"c": ("2110 0000/0000 0001", "0110 0000/0000 0000")}, **options
    )
    assert join([a, b], tmp_path / "out") == 0
    mask, geometry = read_label_map(tmp_path / "out" / f"c{file_ending}")
    assert read_text(tmp_path / "out" / f"c{file_ending}") == "2110 0000/0000 0000"
    assert geometry.spacing_mm == pytest.approx((3.0, 1.0, 2.0))
    assert mask.shape == (2, 2, 4)
    volumes = read_json(tmp_path / "out" / "predictions.json")["cases"]["c"]["volumes"]
    assert volumes["core"]["samples"] == [12.0, 6.0, 12.0, 0.0]
    assert volumes["core"]["unit"] == "mm^3"


def test_a_folder_with_fewer_samples_weighs_as_much(tmp_path, capsys):
    a = write_predictions(tmp_path / "a", {"c": ("1000",) * 3 + ("0100",)})
    b = write_predictions(tmp_path / "b", {"c": ("0010", "0001")})
    assert join([a, b], tmp_path / "out") == 0
    found = samples_in(tmp_path / "out", "c")
    assert len(found) == 4
    assert {"0010", "0001"} <= set(found)
    assert f"'{a}' gives 2 of its 4 samples of each case" in capsys.readouterr().out


def test_weights_share_the_samples_out(tmp_path):
    a = write_predictions(tmp_path / "a", {"c": ("1000",) * 4})
    b = write_predictions(tmp_path / "b", {"c": ("0010",) * 4})
    assert join([a, b], tmp_path / "out", "-weights", 2, 1) == 0
    assert samples_in(tmp_path / "out", "c").count("1000") == 4
    assert samples_in(tmp_path / "out", "c").count("0010") == 2
    assert read_text(tmp_path / "out" / "c.png") == "1000"


def test_another_seed_chooses_other_samples(tmp_path):
    numbered = [f"{number:08b}" for number in range(16)]
    a = write_predictions(tmp_path / "a", {"c": numbered})
    b = write_predictions(tmp_path / "b", {"c": ("0" * 8,) * 2})
    chosen = []
    for run, seed in enumerate((0, 0, 1)):
        assert join([a, b], tmp_path / f"out{run}", "--num_samples", 4, "--seed", seed) == 0
        chosen.append(samples_in(tmp_path / f"out{run}", "c"))
    assert chosen[0] == chosen[1] != chosen[2]


def test_the_mask_of_a_supervised_model_stands_for_as_many_samples_as_its_weight(tmp_path):
    drawn = write_predictions(tmp_path / "a", {"c": ("1000", "0100")})
    alone = write_predictions(
        tmp_path / "b", {"c": ("0010",)}, method="supervised", saves_samples=False
    )
    assert join([drawn, alone], tmp_path / "out") == 0
    assert samples_in(tmp_path / "out", "c") == ["1000", "0010", "0100", "0010"]
    reference = write_references(tmp_path / "labelsTr", {"c": ("0010",)})
    assert evaluate.main([str(reference), str(tmp_path / "out"), "-np", "0"]) == 0
    scores = read_json(tmp_path / "out" / "summary.json")["distribution"]["mean"]["scores"]
    # of six pairs of different samples, one is the mask and itself; half of the samples are right
    assert scores["D_ss"]["mean"] == pytest.approx(5 / 6)
    assert scores["ged_unbiased"]["mean"] == pytest.approx(2 * 0.5 - 5 / 6)


def test_a_supervised_mask_that_was_saved_as_a_sample_counts_alike(tmp_path):
    drawn = write_predictions(tmp_path / "a", {"c": ("1000", "0100")})
    alone = write_predictions(tmp_path / "b", {"c": ("0010",)}, method="supervised")
    assert join([drawn, alone], tmp_path / "out") == 0
    assert samples_in(tmp_path / "out", "c") == ["1000", "0010", "0100", "0010"]


def test_two_single_masks_are_one_sample_each(tmp_path):
    both = [
        write_predictions(tmp_path / name, {"c": (text,)}, method="supervised", saves_samples=False)
        for name, text in (("a", "1100"), ("b", "1000"))
    ]
    assert join(both, tmp_path / "out") == 0
    assert samples_in(tmp_path / "out", "c") == ["1100", "1000"]
    assert join(both, tmp_path / "three", "-weights", 2, 1, "--num_samples", 3) == 0
    assert samples_in(tmp_path / "three", "c") == ["1100", "1000", "1100"]


def test_a_mixture_can_be_joined_again(folders, tmp_path):
    third = write_predictions(
        tmp_path / "third", dict.fromkeys(A, (NONE,) * 4), content=WITH_RATERS
    )
    assert join(folders, tmp_path / "two") == 0
    assert join([tmp_path / "two", third], tmp_path / "three") == 0
    assert len(samples_in(tmp_path / "three", "sizes")) == 8


def states(folder):
    return {
        path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*.png")
    }


def test_run_again_it_makes_only_what_is_missing_or_changed(folders, tmp_path):
    out = tmp_path / "out"
    assert join(folders, out) == 0
    before = states(out)
    (out / "records" / "mixed.json").unlink()
    (out / "samples" / "sizes_s01.png").unlink()
    assert join(folders, out) == 0
    after = states(out)
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert {name.split("_s")[0].removesuffix(".png") for name in changed} >= {"mixed", "sizes"}
    assert not any(name.startswith(("same", "empty", "both")) for name in changed)


def test_a_case_whose_input_changed_is_made_anew(folders, tmp_path):
    assert join(folders, tmp_path / "out") == 0
    cases = {**B, "sizes": ("0001", "0001")}
    write_predictions(folders[1], cases, content=WITH_RATERS)
    assert join(folders, tmp_path / "out") == 0
    assert samples_in(tmp_path / "out", "sizes") == ["1100", "0001", "1100", "0001"]


def test_other_weights_in_the_same_folder_are_refused(folders, tmp_path, capsys):
    assert join(folders, tmp_path / "out") == 0
    before = states(tmp_path / "out")
    assert join(folders, tmp_path / "out", "-weights", 2, 1) == 2
    assert (
        "was made with other settings (num_samples: [2, 2], now [2, 1]" in capsys.readouterr().err
    )
    assert states(tmp_path / "out") == before


def test_folders_in_another_order_are_told_by_the_settings_that_differ(folders, tmp_path, capsys):
    assert join(folders, tmp_path / "out") == 0
    assert join(folders[::-1], tmp_path / "out") == 2
    assert re.search(r"other settings \(models\[0\]\.\w+: .*, now ", capsys.readouterr().err)


def test_cases_that_the_input_lost_do_not_stay_unnoticed(tmp_path, capsys):
    both, one = {"c": ("1000",), "d": ("1000",)}, {"c": ("1000",)}
    for name in ("a", "b"):
        write_predictions(tmp_path / name, both)
    folders = [tmp_path / "a", tmp_path / "b"]
    assert join(folders, tmp_path / "out") == 0
    for name in ("a", "b"):
        shutil.rmtree(tmp_path / name)
        write_predictions(tmp_path / name, one)
    assert join(folders, tmp_path / "out") == 2
    assert "expected cases of the input, found also 'd'" in capsys.readouterr().err


def test_it_writes_into_no_folder_of_somebody_else(folders, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for output in (tmp_path / "mine", folders[0]):
        assert join(folders, output) == 2
    said = capsys.readouterr().err
    assert "holds files that diffunet_ensemble did not write: 'notes.txt'" in said
    assert f"the output '{folders[0]}' is or holds an input" in said


def test_a_prediction_into_a_mixture_is_refused(folders, tmp_path):
    from diffunet.errors import UsageError
    from diffunet.inference.place import check_output_folder

    assert join(folders, tmp_path / "out") == 0
    with pytest.raises(UsageError, match="diffunet_predict did not write"):
        check_output_folder([], tmp_path / "out")


# How users of nnU-Net's ensembling broke it, rebuilt: github.com/MIC-DKFZ/nnUNet, issues 336 and
# 1072 (probabilities were not saved), 510 (a prediction that had not ended), 1922 (another shape),
# 1465 (a file in place of a folder).


def test_samples_that_were_not_saved_are_asked_for(tmp_path, capsys):
    a = write_predictions(tmp_path / "a", {"c": ("1000", "1000")}, saves_samples=False)
    b = write_predictions(tmp_path / "b", {"c": ("1000", "1000")})
    said = refusal(capsys, [a, b], tmp_path / "out")
    assert f"'{a}' holds no samples, but its model draws them" in said
    assert "--save_samples" in said


def test_cases_that_one_folder_lacks_are_named(tmp_path, capsys):
    a = write_predictions(tmp_path / "a", {"c": ("1000",), "d": ("1000",)})
    b = write_predictions(tmp_path / "b", {"c": ("1000",), "e": ("1000",)})
    said = refusal(capsys, [a, b], tmp_path / "out")
    assert f"'{b}': expected the cases of '{a}', found none of 1: 'd'" in said
    assert f"'{a}': expected the cases of '{b}', found none of 1: 'e'" in said


def test_a_prediction_that_did_not_end_is_told_apart(folders, tmp_path, capsys):
    (folders[1] / "records" / "sizes.json").unlink()
    said = refusal(capsys, folders, tmp_path / "out")
    assert f"'{folders[1]}': what wrote it did not end" in said
    assert "'sizes'" in said


def test_cases_with_fewer_samples_are_named(tmp_path, capsys):
    a = write_predictions(tmp_path / "a", {"c": ("1000", "1000"), "d": ("1000",)})
    b = write_predictions(tmp_path / "b", {"c": ("1000", "1000"), "d": ("1000", "1000")})
    said = refusal(capsys, [a, b], tmp_path / "out")
    assert f"'{a}': expected 2 samples of each case, found 1 of 'd'" in said


def test_a_sample_that_is_gone_is_named(folders, tmp_path, capsys):
    (folders[0] / "samples" / "mixed_s01.png").unlink()
    said = refusal(capsys, folders, tmp_path / "out")
    assert f"'{folders[0]}': case 'mixed' is not whole ('mixed_s01.png' missing)" in said


@pytest.mark.parametrize(
    ("texts", "spacing_mm", "what"),
    [
        (("10 00",), (1.0, 1.0), "shape"),
        (("1000",), (1.0, 2.0), "spacing"),
    ],
)
def test_another_grid_is_refused_before_anything_is_written(
    texts, spacing_mm, what, tmp_path, capsys
):
    content = dataset_content(file_ending=".nii.gz")
    a = write_predictions(tmp_path / "a", {"c": ("1000",)}, content=content, spacing_mm=(1.0, 1.0))
    b = write_predictions(tmp_path / "b", {"c": texts}, content=content, spacing_mm=spacing_mm)
    said = refusal(capsys, [a, b], tmp_path / "out")
    assert f"case 'c': expected the {what}" in said
    assert "predict both from the same images" in said


def test_another_place_in_the_patient_is_refused(tmp_path, capsys):
    folders = [
        write_predictions(
            tmp_path / name,
            {"c": ("1000 0000/0000 0000",)},
            content=dataset_content(file_ending=".nii.gz"),
            spacing_mm=(1.0, 1.0, 1.0),
            origin=(first, 0.0, 0.0),
        )
        for name, first in (("a", 5.0), ("b", 7.0))
    ]
    assert join(folders, tmp_path / "out") == 2
    assert "case 'c': expected the origin (5, 0, 0) mm of 'c_s00.nii.gz'" in capsys.readouterr().err
    assert not (tmp_path / "out" / "records" / "c.json").exists()


def test_predictions_of_two_models_in_one_folder_are_refused(folders, tmp_path, capsys):
    record = folders[1] / "records" / "sizes.json"
    content = read_json(record)
    write_json(record, {**content, "settings": {**content["settings"], "seed": 1}})
    said = refusal(capsys, folders, tmp_path / "out")
    assert "case 'sizes' has other settings than 'both_vary' (seed: None, now 1)" in said


def test_a_file_in_place_of_a_folder_is_refused(folders, tmp_path, capsys):
    said = refusal(capsys, [folders[0], folders[1] / "sizes.png"], tmp_path / "out")
    assert "is a file; give the folder that diffunet_predict wrote" in said


def test_masks_of_other_programs_are_refused(folders, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    for case in A:
        array = label_map("1000")
        write_label_map(other / f"{case}.png", array, geometry_of(array))
    write_json(other / "dataset.json", dataset_content())
    said = refusal(capsys, [folders[0], other], tmp_path / "out")
    assert f"'{other}': expected a folder that diffunet_predict wrote" in said


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"labels": {"background": 0, "lesion": 1}}, "labels"),
        ({"file_ending": ".tif"}, "file_ending"),
    ],
)
def test_other_labels_or_endings_are_refused(changes, what, tmp_path, capsys):
    a = write_predictions(tmp_path / "a", {"c": ("1000",)})
    b = write_predictions(
        tmp_path / "b", {"c": ("1000",)}, content={**dataset_content(), **changes}
    )
    assert f"expected the {what} of '{a}'" in refusal(capsys, [a, b], tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-weights", 1), "expected 2 numbers above 0, one for each folder, got 1"),
        (("-weights", 1, 1e6), "take 0 of its 2"),
        (("--num_samples", 6), "take 3 of its 2"),
    ],
)
def test_weights_that_cannot_be_met_are_refused(options, message, folders, tmp_path, capsys):
    assert message in refusal(capsys, folders, tmp_path / "out", *options)


def test_the_same_folder_twice_is_refused(folders, tmp_path, capsys):
    said = refusal(capsys, [folders[0], folders[0]], tmp_path / "out")
    assert "a second copy of a sample is no second sample" in said


def test_a_damaged_sample_is_told_and_the_other_cases_are_joined(folders, tmp_path, capsys):
    array, geometry = read_label_map(folders[0] / "samples" / "sizes_s00.png")
    write_label_map(folders[0] / "samples" / "sizes_s00.png", array ^ 1, geometry)
    assert join(folders, tmp_path / "out") == 2
    assert "sizes_s00.png' has changed since it was drawn" in capsys.readouterr().err
    assert not (tmp_path / "out" / "records" / "sizes.json").exists()
    assert len(samples_in(tmp_path / "out", "mixed")) == 4
