"""`diffunet_determine_postprocessing`, against calculations by hand on images of eight voxels."""

from fractions import Fraction

import pytest

from diffunet.cli import postprocess
from diffunet.jsonio import read_json
from tests.inference.models import dataset_content
from tests.inference.written_folders import write_predictions, write_references

# By case: a mask, its reference, and by hand the Dice before and after the largest component alone.
ONE_RATER = {
    "a": ("11110010", "11110000", Fraction(8, 9), 1),
    "b": ("11100100", "11100000", Fraction(6, 7), 1),
    "c": ("11001000", "11001000", 1, Fraction(4, 5)),
    "d": ("00000000", "00000000", 1, 1),
    "e": ("01111001", "01111000", Fraction(8, 9), 1),
    "f": ("10000111", "10000111", 1, Fraction(6, 7)),
}
BEFORE = sum(found[2] for found in ONE_RATER.values()) / 6
AFTER = sum(found[3] for found in ONE_RATER.values()) / 6


def determine(prediction, reference, *options) -> int:
    words = ["-i", str(prediction), "-ref", str(reference), "-np", "0"]
    return postprocess.main_determine([*words, *map(str, options)])


def decided(prediction, reference) -> dict:
    assert determine(prediction, reference) == 0
    return read_json(prediction / "postprocessing.json")


@pytest.fixture
def one_rater(tmp_path):
    prediction = write_predictions(
        tmp_path / "predicted",
        {case: (found[0],) for case, found in ONE_RATER.items()},
        method="supervised",
        saves_samples=False,
    )
    references = {case: (found[1],) for case, found in ONE_RATER.items()}
    return prediction, write_references(tmp_path / "labelsTr", references)


def test_six_cases_of_one_rater_have_the_dice_by_hand(one_rater):
    found = decided(*one_rater)
    assert found["criterion"] == "Dice"
    assert found["before"]["mean"] == pytest.approx(float(BEFORE))
    assert found["after"]["mean"] == pytest.approx(float(AFTER))
    assert AFTER > BEFORE
    assert found["keep_largest_of"] == [["nodule"]]


def test_what_makes_the_mean_worse_is_not_kept(tmp_path):
    cases = {case: ONE_RATER[case] for case in ("b", "c", "f")}
    prediction = write_predictions(
        tmp_path / "predicted",
        {case: (found[0],) for case, found in cases.items()},
        method="supervised",
        saves_samples=False,
    )
    references = {case: (found[1],) for case, found in cases.items()}
    found = decided(prediction, write_references(tmp_path / "labelsTr", references))
    assert found["keep_largest_of"] == []
    assert found["after"] == found["before"]
    trial = found["tried"][0]
    assert not trial["is_kept"]
    assert trial["scores"]["mean"] == pytest.approx(
        float((1 + Fraction(4, 5) + Fraction(6, 7)) / 3)
    )


def test_what_changes_nothing_is_not_kept(tmp_path):
    prediction = write_predictions(tmp_path / "predicted", {"a": ("1100", "1100")})
    found = decided(prediction, write_references(tmp_path / "labelsTr", {"a": ("1000",)}))
    assert found["keep_largest_of"] == []


def test_the_file_says_what_it_was_decided_on(one_rater):
    prediction, reference = one_rater
    assert decided(prediction, reference)["decided_on"] == {
        "prediction": str(prediction),
        "reference": str(reference),
        "dataset": "Dataset999_Small",
        "method": "supervised",
        "cases": sorted(ONE_RATER),
        "num_samples": 0,
        "num_raters": 1,
    }


def test_references_of_other_cases_do_not_matter(one_rater, tmp_path):
    write_references(tmp_path / "labelsTr", {"trained_on": ("1111",)})
    assert len(decided(*one_rater)["decided_on"]["cases"]) == 6


# Two samples and two raters. Before: d(s, y) of 11110010 is 1/5, of 11110000 it is 0, so that twice
# the mean is 1/5; D_ss is 1/5, D_yy is 0: the unbiased GED is 0. Second case: d of 11010000 to
# 11000000 is 1/3, twice over, so 2/3; D_ss 0, D_yy 0: 2/3. After: 0 in both cases.
SEVERAL = {
    "a": (("11110010", "11110000"), ("11110000", "11110000")),
    "b": (("11010000", "11010000"), ("11000000", "11000000")),
}


@pytest.fixture
def several_raters(tmp_path):
    content = {**dataset_content(), "raters": True}
    prediction = write_predictions(
        tmp_path / "predicted",
        {case: found[0] for case, found in SEVERAL.items()},
        content=content,
    )
    references = {case: found[1] for case, found in SEVERAL.items()}
    return prediction, write_references(tmp_path / "labelsTr", references)


def test_several_raters_decide_by_the_unbiased_ged_of_samples(several_raters):
    found = decided(*several_raters)
    assert found["criterion"] == "ged_fully_unbiased"
    assert found["before"]["mean"] == pytest.approx(1 / 3)
    assert found["after"]["mean"] == pytest.approx(0)
    assert found["keep_largest_of"] == [["nodule"]]


def test_of_one_rater_the_consensus_of_cleaned_samples_decides(tmp_path):
    # the third voxel of the consensus has two votes of three; cleaned, it has one
    samples = ("11010000", "11010000", "11110000")
    prediction = write_predictions(tmp_path / "predicted", {"a": samples})
    found = decided(prediction, write_references(tmp_path / "labelsTr", {"a": ("11000000",)}))
    assert found["before"]["mean"] == pytest.approx(4 / 5)
    assert found["after"]["mean"] == pytest.approx(1)


def test_a_single_mask_counts_as_equal_draws_where_several_raters_decide(tmp_path):
    content = {**dataset_content(), "raters": True}
    prediction = write_predictions(
        tmp_path / "predicted",
        {"a": ("11010000",)},
        content=content,
        method="supervised",
        saves_samples=False,
    )
    found = decided(
        prediction, write_references(tmp_path / "labelsTr", {"a": ("11000000", "11000000")})
    )
    assert found["criterion"] == "ged"
    assert found["before"]["mean"] == pytest.approx(2 / 3)
    assert found["after"]["mean"] == pytest.approx(0)


def test_labels_are_tried_after_all_of_them_together(tmp_path):
    content = dataset_content(labels={"background": 0, "one": 1, "two": 2})
    prediction = write_predictions(
        tmp_path / "predicted",
        {"a": ("1112212001",)},
        content=content,
        method="supervised",
        saves_samples=False,
    )
    found = decided(prediction, write_references(tmp_path / "labelsTr", {"a": ("1112202000",)}))
    assert [trial["keep_largest_of"] for trial in found["tried"]] == [
        ["one", "two"],
        ["one"],
        ["two"],
    ]
    # together they lose the last voxel; then "one" its second component; "two" is better as it is
    assert [trial["is_kept"] for trial in found["tried"]] == [True, True, False]
    assert found["after"]["labels"] == {"one": 1.0, "two": 1.0}


def test_a_step_that_harms_a_label_is_not_kept_though_the_mean_is_better(tmp_path):
    content = dataset_content(labels={"background": 0, "one": 1, "two": 2})
    prediction = write_predictions(
        tmp_path / "predicted",
        {"a": ("1111" + "01" * 6 + "02" + "0" * 8,)},
        content=content,
        method="supervised",
        saves_samples=False,
    )
    reference = write_references(tmp_path / "labelsTr", {"a": ("1111" + "0" * 13 + "2" * 9,)})
    found = decided(prediction, reference)
    # together: "one" from 4/7 to 1, "two" from 1/5 to 0, the mean from 0.386 to 0.5
    together = found["tried"][0]
    assert found["before"]["labels"] == pytest.approx({"one": 4 / 7, "two": 1 / 5})
    assert together["scores"]["mean"] > found["before"]["mean"]
    assert not together["is_kept"]
    assert found["keep_largest_of"] == [["one"]]


def test_samples_that_should_decide_must_have_been_saved(tmp_path, capsys):
    content = {**dataset_content(), "raters": True}
    prediction = write_predictions(
        tmp_path / "predicted", {"a": ("1000", "1000")}, content=content, saves_samples=False
    )
    reference = write_references(tmp_path / "labelsTr", {"a": ("1000", "1000")})
    assert determine(prediction, reference) == 2
    assert "predict again with --save_samples" in capsys.readouterr().err


def test_a_file_of_another_kind_is_not_replaced(one_rater, tmp_path, capsys):
    other = tmp_path / "splits.json"
    other.write_text("[]")
    assert determine(*one_rater, "-o", other) == 2
    assert "is no file of diffunet_determine_postprocessing" in capsys.readouterr().err
    assert other.read_text() == "[]"
    assert determine(*one_rater, "-o", tmp_path / "new.json") == 0
    assert determine(*one_rater, "-o", tmp_path / "new.json") == 0


def test_a_predicted_case_without_a_reference_is_named(one_rater, tmp_path, capsys):
    prediction, reference = one_rater
    (reference / "c.png").unlink()
    assert determine(prediction, reference) == 2
    assert "found 1 others: 'c'" in capsys.readouterr().err
