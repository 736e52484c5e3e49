"""The best of several models and their mixtures, against what can be found by hand on six cases."""

import pytest

from diffunet.api import find_best_configuration
from diffunet.cli import selection
from diffunet.errors import CheckpointError, UsageError
from diffunet.jsonio import read_json, write_json
from diffunet.workspace import Workspace
from tests.inference.written_folders import write_references
from tests.selection.hand_made import NAME, write_dataset, write_model

CASES = ["c1", "c2", "c3", "c4", "c5", "c6"]
FOLDS = [CASES[:3], CASES[3:]]
TWO, ONE, THREE, ELSEWHERE = "1100 0000", "1000 0000", "1110 0000", "0011 0000"
OTHER_THREE = "1101 0000"
DIFFUSION = "diffusion__diffunet_plans__2d"
SUPERVISED = "supervised__diffunet_plans__2d"


def same(mask, *, num_samples=2):
    return dict.fromkeys(CASES, [mask] * num_samples)


def both():
    return {case: [TWO, ONE] for case in CASES}


def one_rater(root, drawn, mask):
    """Write a model that draws two samples, and a supervised one."""
    references = same(TWO, num_samples=1)
    write_dataset(root, references, folds=FOLDS)
    write_model(root, references, folds=FOLDS, masks=drawn)
    write_model(root, references, folds=FOLDS, masks=mask, method="supervised")


def two_raters(root, drawn, mask):
    references = both()
    write_dataset(root, references, folds=FOLDS)
    write_model(root, references, folds=FOLDS, masks=drawn)
    write_model(root, references, folds=FOLDS, masks=mask, method="supervised")


def run(root, **options):
    place = Workspace.resolve(folder=root, environment={}, current_folder=root)
    return find_best_configuration(1, workspace=place, **options)


def scores(found):
    return {" + ".join(each["models"]): each["score"]["mean"] for each in found["candidates"]}


def test_with_one_rater_the_best_mean_dice_wins(tmp_path):
    masks = (TWO, THREE, ONE, TWO, ELSEWHERE, TWO)
    drawn = {case: [mask] * 2 for case, mask in zip(CASES, masks, strict=True)}
    mask = {**same(THREE, num_samples=1), "c6": [TWO]}
    one_rater(tmp_path, drawn, mask)
    found = run(tmp_path)
    assert found["score"] == "Dice"
    # a sample of 3 voxels around the 2 of the rater: 2 * 2 / 5; of 1 in them: 2 * 1 / 3
    drawn_dice = (1 + 4 / 5 + 2 / 3 + 1 + 0 + 1) / 6
    mask_dice = (5 * 4 / 5 + 1) / 6
    # of a tie there is background: both must mark a voxel
    both_dice = (1 + 4 / 5 + 2 / 3 + 1 + 0 + 1) / 6
    assert scores(found) == pytest.approx(
        {SUPERVISED: mask_dice, DIFFUSION: drawn_dice, f"{DIFFUSION} + {SUPERVISED}": both_dice}
    )
    assert found["best"] == [SUPERVISED]
    behind = {
        " + ".join(each["models"]): each["difference_to_the_best"] for each in found["candidates"]
    }
    assert behind[SUPERVISED] is None
    assert behind[DIFFUSION]["difference"] == pytest.approx(drawn_dice - mask_dice)


def test_candidates_that_the_cases_do_not_tell_apart_are_said(tmp_path, caplog):
    caplog.set_level("INFO")
    one_rater(tmp_path, same(ELSEWHERE), same(ELSEWHERE, num_samples=1))
    run(tmp_path)
    assert "These cases do not tell 3 candidates apart" in caplog.text
    assert "-0.0000" not in caplog.text


def test_a_mixture_wins_where_two_models_err_in_different_places(tmp_path):
    one_rater(tmp_path, same(OTHER_THREE), same(THREE, num_samples=1))
    found = run(tmp_path)
    assert scores(found) == pytest.approx(
        {f"{DIFFUSION} + {SUPERVISED}": 1.0, DIFFUSION: 4 / 5, SUPERVISED: 4 / 5}
    )
    assert found["best"] == [DIFFUSION, SUPERVISED]
    place = f"--workspace {tmp_path}"
    assert found["commands"] == [
        f"diffunet_predict -i IMAGES -o PREDICTIONS_1 -d {NAME} -m diffusion -p diffunet_plans "
        f"-c 2d -f 0 1 --save_samples {place}",
        f"diffunet_predict -i IMAGES -o PREDICTIONS_2 -d {NAME} -m supervised -p diffunet_plans "
        f"-c 2d -f 0 1 {place}",
        "diffunet_ensemble -i PREDICTIONS_1 PREDICTIONS_2 -o PREDICTIONS",
    ]


def test_with_several_raters_the_lowest_unbiased_ged_wins(tmp_path):
    two_raters(tmp_path, both(), same(TWO, num_samples=1))
    found = run(tmp_path)
    assert found["score"] == "ged_fully_unbiased"
    # IoU of TWO and ONE is 1/2: E d(s,y) = 1/4 for both, D_yy = 1/2, D_ss = 1/2 or, of one mask, 0
    assert scores(found)[DIFFUSION] == pytest.approx(2 / 4 - 1 / 2 - 1 / 2)
    assert scores(found)[SUPERVISED] == pytest.approx(2 / 4 - 0 - 1 / 2)
    assert found["best"] == [DIFFUSION]
    (report,) = tmp_path.rglob("best_configuration.md")
    assert "unbiased GED of the samples (0 is perfect, lower is better)" in report.read_text()
    assert found["commands"] == [
        f"diffunet_predict -i IMAGES -o PREDICTIONS -d {NAME} -m diffusion -p diffunet_plans -c 2d "
        f"-f 0 1 --workspace {tmp_path}"
    ]


def test_a_mixture_is_not_better_for_being_drawn_in_equal_parts(tmp_path):
    two_raters(tmp_path, both(), same(ELSEWHERE, num_samples=1))
    found = scores(run(tmp_path))
    # half of the mixture is the mask elsewhere, at distance 1 of all others
    within = 1 / 4 * 1 / 2 + 1 / 4 * 0 + 1 / 2 * 1
    expected = 2 * (1 / 2 * 1 / 4 + 1 / 2 * 1) - within - 1 / 2
    assert found[f"{DIFFUSION} + {SUPERVISED}"] == pytest.approx(expected)


def test_samples_of_a_supervised_model_that_were_saved_are_one_mask(tmp_path):
    two_raters(tmp_path, both(), same(ELSEWHERE, num_samples=1))
    run(tmp_path)
    mixture = f"{DIFFUSION}__and__{SUPERVISED}"
    folder = tmp_path / "results" / NAME / "best_configuration" / "mixtures" / mixture
    assert len(list((folder / "samples").glob("c1_s*.png"))) == 4


def test_the_choice_is_written_as_json_and_as_a_table(tmp_path, caplog):
    caplog.set_level("INFO")
    one_rater(tmp_path, same(OTHER_THREE), same(TWO, num_samples=1))
    found = run(tmp_path)
    folder = tmp_path / "results" / NAME / "best_configuration"
    assert read_json(folder / "best_configuration.json") == found
    table = (folder / "best_configuration.md").read_text()
    assert f"| {DIFFUSION} | 0.8000 [0.8000, 0.8000] | -0.2000" in table
    assert "The winner's 1.0000 is optimistic: these cases chose it among 3 candidates" in table
    assert table in caplog.text


def test_models_that_lack_a_fold_are_left_out_unless_they_were_asked_for(tmp_path, caplog):
    one_rater(tmp_path, same(OTHER_THREE), same(TWO, num_samples=1))
    (tmp_path / "results" / NAME / DIFFUSION / "fold_1" / "validation" / "summary.json").unlink()
    found = run(tmp_path)
    assert list(scores(found)) == [SUPERVISED]
    assert f"left out: {DIFFUSION}" in caplog.text
    with pytest.raises(CheckpointError, match="none in fold_1"):
        run(tmp_path, methods=["diffusion", "supervised"])
    assert list(scores(run(tmp_path, folds=[0], has_mixtures=False))) == [SUPERVISED, DIFFUSION]


@pytest.mark.parametrize("content", ["{", None])
def test_a_model_of_damaged_plans_keeps_no_other_from_being_compared(tmp_path, content):
    one_rater(tmp_path, same(OTHER_THREE), same(TWO, num_samples=1))
    path = tmp_path / "results" / NAME / DIFFUSION / "fold_1" / "plans.resolved.json"
    path.unlink() if content is None else path.write_text(content)
    found = run(tmp_path)
    assert list(scores(found)) == [SUPERVISED]
    assert "plans.resolved.json" in found["left_out"][DIFFUSION]


def test_the_fold_of_all_cases_is_told_to_leave_none_to_compare_by(tmp_path):
    one_rater(tmp_path, same(OTHER_THREE), same(TWO, num_samples=1))
    (tmp_path / "results" / NAME / DIFFUSION / "fold_all").mkdir()
    with pytest.raises(CheckpointError, match="none in fold_all .*leaves none to compare by"):
        run(tmp_path, methods=["diffusion"], folds=["all"])


def test_models_that_were_validated_on_other_cases_are_refused(tmp_path):
    one_rater(tmp_path, same(OTHER_THREE), same(TWO, num_samples=1))
    path = tmp_path / "results" / NAME / DIFFUSION / "fold_1" / "validation" / "summary.json"
    content = read_json(path)
    content["metric_per_case"].pop()
    write_json(path, content)
    with pytest.raises(UsageError, match=f"'{DIFFUSION}' was not validated on 1 cases .*'c6'"):
        run(tmp_path)


def test_models_whose_samples_were_not_saved_are_compared_without_mixtures(tmp_path, caplog):
    one_rater(tmp_path, same(OTHER_THREE), same(TWO, num_samples=1))
    for case in CASES:
        (path,) = (tmp_path / "results" / NAME / DIFFUSION).glob(
            f"*/validation/records/{case}.json"
        )
        path.unlink()
    found = run(tmp_path)
    assert list(scores(found)) == [SUPERVISED, DIFFUSION]
    assert f"left out: {DIFFUSION}: " in caplog.text
    assert "--save_samples" in found["left_out"][DIFFUSION]


def test_a_single_sample_of_a_drawing_model_has_no_score_among_raters(tmp_path):
    two_raters(tmp_path, same(TWO, num_samples=1), same(TWO, num_samples=1))
    with pytest.raises(UsageError, match=f"found none of {DIFFUSION}.*two or more"):
        run(tmp_path, has_mixtures=False)


def test_what_is_not_trained_is_refused_by_name(tmp_path, capsys):
    one_rater(tmp_path, same(OTHER_THREE), same(TWO, num_samples=1))
    words = ["1", "-c", "2d", "3d_fullres", "--workspace", str(tmp_path)]
    assert selection.main_best(words) == 2
    assert "-c: expected what is trained" in capsys.readouterr().err
    assert selection.main_best(["1", "--workspace", str(tmp_path)]) == 0
    assert "diffunet_predict -i IMAGES" in capsys.readouterr().out


STRAY = "1100 0001"


def with_references_in_raw(root):
    write_references(root / "raw" / NAME / "labelsTr", same(TWO, num_samples=1))


def test_post_processing_is_decided_on_the_winners_cases_and_its_command_is_told(tmp_path):
    one_rater(tmp_path, same(STRAY), same(ELSEWHERE, num_samples=1))
    with_references_in_raw(tmp_path)
    found = run(tmp_path)
    assert found["best"] == [DIFFUSION]
    folder = tmp_path / "results" / NAME / "best_configuration"
    file = folder / "postprocessing.json"
    assert found["postprocessing"] == str(file)
    assert found["commands"][0].endswith(f"-f 0 1 --save_samples --workspace {tmp_path}")
    assert found["commands"][1:] == [
        f"diffunet_apply_postprocessing -i PREDICTIONS -o CLEANED -pp {file}"
    ]
    table = (folder / "best_configuration.md").read_text()
    assert "largest component of spot: Dice from 0.8000 to 1.0000 on the same cases" in table


def test_post_processing_that_helps_nobody_is_no_command(tmp_path):
    one_rater(tmp_path, same(ELSEWHERE), same(TWO, num_samples=1))
    with_references_in_raw(tmp_path)
    found = run(tmp_path, has_mixtures=False)
    assert found["best"] == [SUPERVISED]
    assert found["postprocessing"] is not None
    assert len(found["commands"]) == 1


def test_without_references_post_processing_is_left_out_with_a_reason(tmp_path):
    one_rater(tmp_path, same(STRAY), same(ELSEWHERE, num_samples=1))
    found = run(tmp_path)
    assert found["postprocessing"] is None
    assert "labelsTr" in found["left_out"]["post-processing"]
