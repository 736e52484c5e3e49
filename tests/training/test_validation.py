import dataclasses
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from diffunet.data.store.case import CaseProperties, IntensityNormalization
from diffunet.geometry import Box
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.training import validation
from diffunet.training.distributed import Ranks
from diffunet.training.final_validation import any_ignored, mean_marked_volumes
from diffunet.training.fold_data import open_fold
from diffunet.training.reporting import Pictures
from diffunet.training.segmentation import DrawnMaskScorer
from diffunet.training.validation import SampledScores, SampledValidation, spread_over_patients
from tests.training.folds import plans, write_preprocessed

LABELS = LabelScheme(names=("a",), values=((1,),), ignore_value=2)


class Store:
    """One 4 x 4 case of two raters, under any name."""

    def array(self, case, name):
        if name == "image":
            return np.zeros((1, 4, 4), np.float32)
        maps = np.zeros((2, 4, 4), np.uint8)
        maps[:, :2] = 1
        maps[1, 1] = 0
        return maps

    def properties(self, case):
        return CaseProperties(
            case=case,
            patient=case,
            original_shape=(4, 4),
            original_spacing_mm=(1.0, 1.0),
            transpose_forward=(0, 1),
            crop_box=Box(start=(0, 0), stop=(4, 4)),
            shape=(4, 4),
            spacing_mm=(1.0, 1.0),
            normalization=(IntensityNormalization(),),
            is_normalized=True,
        )


def draw(model, prepared):
    """Answer with the first rater's mask, twice."""
    mask = np.zeros((2, 1, 4, 4), bool)
    mask[:, :, :2] = True
    return mask


def runner(num_cases: int = 5, *, has_raters: bool = True, shown: list[str] | None = None):
    names = [] if shown is None else shown
    scorer = DrawnMaskScorer(
        images=Store(),
        label_maps=Store(),
        labels=LABELS,
        draw=draw,
        has_raters=has_raters,
        show=lambda case, *arrays: names.append(case),
    )
    cases = tuple(f"c{number}" for number in range(num_cases))
    return SampledValidation(scorer=scorer, cases=cases)


def scores_of(validates: SampledValidation, **limits) -> SampledScores:
    scores = run(validates, **limits)
    assert scores is not None
    return scores


def run(
    validates: SampledValidation,
    *,
    budget_s: float = 1e9,
    seconds_per_round: float | None = None,
    stop: bool = False,
):
    return validates.run(
        nn.Identity(),
        budget_s=budget_s,
        seconds_per_round=seconds_per_round,
        ranks=Ranks(),
        should_stop=lambda: stop,
    )


def test_scores_are_those_by_hand():
    """d(rater 1, rater 2) = 1/2; GED = 2 * 1/4 - 0 - 1/4 over all pairs, itself included."""
    scores = scores_of(runner())
    assert scores.values["ged"] == pytest.approx(0.25)
    assert scores.values["ged_fully_unbiased"] == pytest.approx(0)
    assert scores.criterion == pytest.approx([0] * 5)


def draw_as_raters(model, prepared):
    """Draw what the two raters marked."""
    label_maps = Store().array("c0", "labels")
    return np.stack([label_map == 1 for label_map in label_maps])[:, None]


def test_pairs_of_a_mask_with_itself_are_left_out_of_the_criterion():
    """Samples are the raters' masks: 2 * 1/4 - 1/2 - 1/2, where the plain GED is 0."""
    scorer = dataclasses.replace(runner().scorer, draw=draw_as_raters)
    score = scorer.score(nn.Identity(), "c0", is_shown=False)
    assert scorer.criterion(score) == pytest.approx(-0.5)
    assert score.ged == pytest.approx(0)


def test_a_perfect_model_and_trivial_answers_stand_beside_the_unbiased_ged():
    """d(rater 1, rater 2) = 1/2, and 8 samples: 1/2 (1/8 + 1/2); empty: 2 * 1 - 1/2."""
    values = scores_of(runner()).values
    num_samples = len(draw(nn.Identity(), None))
    assert values["ged_of_perfect_model"] == pytest.approx((1 / num_samples + 1 / 2) / 2)
    assert values["ged_fully_unbiased_of_always_empty"] == pytest.approx(1.5)


def test_with_one_rater_no_unbiased_ged_is_reported():
    assert set(scores_of(runner(has_raters=False)).values) == {"ged", "dice"}


def test_with_one_rater_the_criterion_is_dice():
    scores = scores_of(runner(has_raters=False))
    assert 1 - np.mean(scores.criterion) == pytest.approx(scores.values["dice"])


def test_without_time_the_first_validation_still_draws_one_case():
    assert len(scores_of(runner(), budget_s=0).criterion) == 1


def test_without_time_a_later_validation_is_left_out():
    assert run(runner(), budget_s=1.0, seconds_per_round=2.0) is None


def test_as_many_cases_are_drawn_as_there_is_time_for(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(validation.time, "monotonic", lambda: float(next(clock)))
    scores = scores_of(runner(50), budget_s=10.0, seconds_per_round=1.0)
    assert 3 <= len(scores.criterion) < 10


class TwoRanks(Ranks):
    """The first of two ranks, of which the other says the same."""

    def gather(self, value):
        return [value, value]

    def of_first(self, value):
        return value


class Clock:
    """Stands still but for what is added to it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def run_on_two_ranks(validates: SampledValidation, *, budget_s: float) -> int:
    """Return how many cases were scored."""
    scores = validates.run(
        nn.Identity(),
        budget_s=budget_s,
        seconds_per_round=None,
        ranks=TwoRanks(num_ranks=2),
        should_stop=lambda: False,
    )
    return len(scores.criterion)


def test_ranks_that_score_a_case_twice_in_the_last_round_count_it_once():
    assert run_on_two_ranks(runner(5), budget_s=1e9) == 5


def test_a_round_takes_as_long_as_each_rank_takes_for_a_case(monkeypatch):
    """Rounds of 4 seconds: two of them fit into 11, and a third would not."""
    clock = Clock()
    monkeypatch.setattr(validation, "time", clock)

    def draw_slowly(model, prepared):
        clock.now += 4
        return draw(model, prepared)

    validates = runner(50)
    scorer = dataclasses.replace(validates.scorer, draw=draw_slowly)
    assert run_on_two_ranks(dataclasses.replace(validates, scorer=scorer), budget_s=11.0) == 4


def test_a_stop_ends_it_without_scores():
    assert run(runner(), stop=True) is None


def test_pictures_are_of_the_first_four_cases():
    shown: list[str] = []
    run(runner(6, shown=shown))
    assert shown == ["c0", "c1", "c2", "c3"]


def test_ignored_is_what_any_rater_left_out():
    maps = np.array([[[0, 2]], [[1, 0]]])
    np.testing.assert_array_equal(any_ignored(maps, LABELS), [[False, True]])
    assert any_ignored(maps, LabelScheme(names=("a",), values=((1,),))) is None


def test_the_volume_of_a_centre_blob_is_the_mean_of_masks_that_mark_anything():
    """8 pixels of 2 x 3 mm by one rater, none by the other; the second label nowhere."""
    maps = np.zeros((2, 4, 4), np.uint8)
    maps[0, :2] = 1
    properties = SimpleNamespace(original_spacing_mm=(2.0, 3.0))
    store = SimpleNamespace(
        array_names=lambda case: ("labels",),
        array=lambda case, name: maps,
        properties=lambda case: properties,
    )
    data = SimpleNamespace(
        labels=LabelScheme(names=("a", "b"), values=((1,), (2,))),
        label_maps=store,
    )
    volumes = mean_marked_volumes(data, ["c0", "c1"])  # type: ignore[arg-type]  # as much as needed
    assert volumes == [48.0, 0.0]


def test_every_beginning_has_as_many_patients_as_it_can():
    patients = {f"c{number}": f"p{number % 3}" for number in range(9)} | {"c9": "alone"}
    order = spread_over_patients(tuple(patients), patients)
    assert sorted(order) == sorted(patients)
    assert len({patients[case] for case in order[:4]}) == 4
    counts = Counter(patients[case] for case in order[:7])
    assert max(counts.values()) == 2
    assert order == spread_over_patients(tuple(reversed(patients)), patients)


def test_validation_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    run(runner())
    assert torch.equal(torch.random.get_rng_state(), before)


class ResampledStore(Store):
    """Its case was cropped, turned and resampled from a volume of slices of another size."""

    def properties(self, case):
        return dataclasses.replace(
            super().properties(case),
            original_shape=(12, 10),
            original_spacing_mm=(2.0, 3.0),
            transpose_forward=(1, 0),
            crop_box=Box(start=(1, 2), stop=(9, 10)),
            nearest_axis=0,
        )


def test_masks_are_drawn_on_the_grid_of_training_and_not_resampled():
    asked = []

    def draw_and_note(model, prepared):
        asked.append(prepared.properties)
        return draw(model, prepared)

    scorer = dataclasses.replace(runner().scorer, images=ResampledStore(), draw=draw_and_note)
    scorer.score(nn.Identity(), "c0", is_shown=False)
    (properties,) = asked
    assert properties.is_on_original_grid
    assert properties.nearest_axis is None
    assert properties.original_spacing_mm == properties.spacing_mm == (1.0, 1.0)


@pytest.mark.parametrize(("method", "is_compared"), [("diffusion", True), ("supervised", False)])
def test_one_answer_is_not_compared_with_all_raters(tmp_path, method, is_compared):
    """A supervised model draws no samples, of which an unbiased GED could be made."""
    folder = write_preprocessed(tmp_path / "preprocessed", num_raters=2)
    data = open_fold(plans(method=method), folder, fold="0", device=torch.device("cpu"))
    pictures = Pictures(tmp_path)
    validates = METHODS[method].training().sampled_validation(data, pictures=pictures)
    assert validates is not None
    assert validates.scorer.has_raters == is_compared
