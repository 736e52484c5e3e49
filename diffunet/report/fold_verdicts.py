"""Trained folds in words: what their validations say, and whether more training would help."""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

from diffunet.figures.progress import VALUE_LABELS
from diffunet.report import verdicts
from diffunet.report.charts import number
from diffunet.report.evaluation import Evaluation
from diffunet.report.fold_facts import FoldFacts
from diffunet.report.json_facts import number_at

_FEWEST_OF_QUARTER = 3
_CHANCE = 0.05
_LOWER_IS_BETTER = ("ged_fully_unbiased",)


def of_folds(folds: Sequence[FoldFacts]) -> list[str]:
    """Return what the final validations say, or else the last ones, and about the training."""
    scored = [fold for fold in folds if fold.evaluation is not None]
    sentences: list[str] = []
    if not scored:
        sentences += _without_scores(folds)
    elif len(folds) == 1:
        sentences += verdicts.of_scores(_evaluation(scored[0]))
        sentences += verdicts.of_calibration(_evaluation(scored[0]))
    else:
        sentences += _of_several(scored, num_folds=len(folds))
    if len(scored) == 1 and (worst := verdicts.of_worst(_evaluation(scored[0]))):
        sentences.append(worst)
    return [*sentences, *_progress(folds)]


def _evaluation(fold: FoldFacts) -> Evaluation:
    assert fold.evaluation is not None  # noqa: S101 - callers chose such folds
    return fold.evaluation


def _without_scores(folds: Sequence[FoldFacts]) -> list[str]:
    sentences = []
    for fold in folds:
        for label, scores in fold.image_scores.items():
            if "auc" in scores:
                sentences.append(
                    f"{fold.name}: the classifier tells images with '{label}' from others with an "
                    f"AUC of {number(scores['auc'])} (1 is perfect, 0.5 is guessing)."
                )
    if sentences:
        return [*sentences, "No mask was opened; diffunet_evaluate scores masks."]
    values = [fold.validation[-1][1] for fold in folds if fold.validation]
    known = [value for value in values if value is not None]
    if not known:
        return ["There are no validation scores yet."]
    name = folds[0].validation_name
    return [
        f"The last validation of the training: {number(float(np.mean(known)))}, "
        f"{VALUE_LABELS.get(name, name)}. There is no final validation yet."
    ]


def _of_several(scored: Sequence[FoldFacts], *, num_folds: int) -> list[str]:
    leading = [_evaluation(fold).leading for fold in scored]
    means = [each.mean for each in leading if each.mean is not None]
    first = leading[0]
    beside = [each for each in (first.perfect, *first.answers[:2]) if each is not None]
    sentences = [
        f"{first.title[:1].upper()}{first.title[1:]} {number(float(np.mean(means)))} "
        f"(mean of {len(scored)} of {num_folds} folds; {number(min(means))} to "
        f"{number(max(means))})."
    ]
    if beside:
        listed = ", ".join(f"{each.name} {number(each.mean)}" for each in beside)
        sentences.append(f"For comparison, on the cases of {scored[0].name}: {listed}.")
    worst = max if first.better == "lower" else min
    fold = worst(scored, key=lambda each: _evaluation(each).leading.mean or 0)
    sentences.append(f"The worst fold is {fold.name}: {verdicts.of_scores(_evaluation(fold))[-1]}")
    return [*sentences, *verdicts.of_calibration(_evaluation(fold))]


def _progress(folds: Sequence[FoldFacts]) -> list[str]:
    """Return how the validations of finished trainings went on at the end."""
    if not folds or any(fold.num_iterations and not fold.is_finished for fold in folds):
        return []
    trends = {fold.name: trend for fold in folds if (trend := _trend(fold)) is not None}
    better, worse = ([name for name in trends if trends[name] == each] for each in (1, -1))

    def of(names: Sequence[str]) -> str:
        return "" if len(folds) == 1 else f" of {', '.join(names)}"

    sentences = []
    if better:
        sentences.append(
            f"The validations{of(better)} were still improving at the end: a longer training may "
            "be better."
        )
    if worse:
        sentences.append(f"The validations{of(worse)} got worse at the end: look at the curves.")
    if sentences:
        return sentences
    if trends:
        records = [each for fold in folds for each in fold.records]
        sizes = [
            number_at(each, "num_cases") for each in records if each.get("kind") == "validation"
        ]
        known = [size for size in sizes if size is not None]
        cases = f", as far as {min(known):.0f} cases tell" if known else ""
        return [f"The last validations were level{cases}."]
    return []


def _trend(fold: FoldFacts) -> int | None:
    """Return whether the last quarter of the validations is better (1) or worse (-1).

    It is compared with the quarter before. Validations are of few cases and differ by chance, so
    that the best one tells little; 0 where the means differ by no more than chance allows, None
    where there are too few. Validations that follow on each other are alike, which the test does
    not know: where nothing changes, it says so too rarely.
    """
    known = np.array([value for _, value in fold.validation if value is not None], float)
    length = len(known) // 4
    if length < _FEWEST_OF_QUARTER:
        return None
    before, last = known[-2 * length : -length], known[-length:]
    if np.ptp(known[-2 * length :]) == 0:
        return 0
    with warnings.catch_warnings():  # quarters of equal values, which the test tells apart rightly
        warnings.simplefilter("ignore", RuntimeWarning)
        chance = float(np.asarray(stats.ttest_ind(before, last, equal_var=False))[1])
    if chance > _CHANCE:
        return 0
    is_better = (last.mean() < before.mean()) == (fold.validation_name in _LOWER_IS_BETTER)
    return 1 if is_better else -1


def warnings_of(folds: Sequence[FoldFacts]) -> list[str]:
    """Return which trainings are not finished or broke, and what cannot be shown."""
    found = [fault for fold in folds for fault in fold.faults]
    found += [
        f"{fold.name} is not finished: {fold.iteration} of {fold.num_iterations} iterations."
        for fold in folds
        if fold.records and not fold.is_finished
    ]
    for fold in folds:
        values = [number_at(record, "loss") for record in fold.records if "loss" in record]
        if any(value is None for value in values):
            found.append(f"{fold.name}: the loss was no number in some iterations.")
    return found
