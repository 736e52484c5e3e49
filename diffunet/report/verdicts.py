"""Two or three sentences that answer: did it go well, and is it calibrated?"""

from collections.abc import Sequence

from diffunet.report.charts import counted, number
from diffunet.report.evaluation import Comparison, Evaluation, Score

_DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "zero": "0 is best"}
_LARGE_GAP = 0.1
_NUM_WORST = 3
_LEFT_OUT = ("a blob at the centre", "the raters' own masks")


def with_interval(score: Score) -> str:
    """Return "0.031 [0.012, 0.078]", or the mean alone."""
    if score.lower is None or score.upper is None:
        return number(score.mean)
    return f"{number(score.mean)} [{number(score.lower)}, {number(score.upper)}]"


def of_evaluation(evaluation: Evaluation) -> list[str]:
    """Return all sentences: the leading score, calibration, and the worst cases."""
    worst = of_worst(evaluation)
    return [*of_scores(evaluation), *of_calibration(evaluation), *([worst] if worst else [])]


def of_scores(evaluation: Evaluation) -> list[str]:
    """Return what the leading score is, beside other answers, and what that means."""
    leading = evaluation.leading
    direction = _DIRECTIONS.get(leading.better or "", "")
    patients = ""
    if evaluation.num_patients == evaluation.num_cases > 1:
        patients = ", each counted as a patient of its own"
    elif evaluation.num_patients:
        patients = f" of {counted(evaluation.num_patients, 'patient')}"
    title = leading.title[:1].upper() + leading.title[1:]
    sentences = [
        f"{title} {with_interval(leading)} on "
        f"{counted(evaluation.num_cases, 'case')}{patients}"
        f"{f' ({direction})' if direction else ''}."
    ]
    beside = [
        each
        for each in (leading.perfect, *leading.answers)
        if each is not None and each.name not in _LEFT_OUT
    ]
    if beside:
        listed = ", ".join(f"{each.name} {number(each.mean)}" for each in beside)
        sentences.append(f"For comparison, on the same cases: {listed}.")
    if judged := _judged(leading) or _fault(evaluation.compared):
        sentences.append(judged)
    return sentences


def of_calibration(evaluation: Evaluation) -> list[str]:
    """Return whether shares and volumes can be taken at their word; nothing of single masks."""
    if (evaluation.num_samples or 1) < 2:
        return []
    sentences = []
    gaps = [each.ace for each in evaluation.reliability if each.ace is not None]
    if gaps:
        gap = max(gaps)
        raters = "raters mark it" if (evaluation.num_raters or 1) > 1 else "it is marked"
        how_often = (
            f"about as often, give or take {number(gap, 2)}: calibrated"
            if gap <= _LARGE_GAP
            else f"more or less often, by {number(gap, 2)} on average: read shares as an order, "
            "not as chances"
        )
        sentences.append(f"Where a share of the samples marks a voxel, {raters} {how_often}.")
    coverage, nominal = evaluation.coverage, evaluation.nominal_coverage
    if coverage is not None and coverage.mean is not None and nominal is not None:
        sentences.append(
            f"{coverage.mean:.0%} of the references' volumes lie in the samples' 5 to 95 % "
            f"interval, {nominal:.0%} were to be expected: {_of_coverage(coverage, nominal)}."
        )
    return sentences


def of_worst(evaluation: Evaluation, *, names: Sequence[str] | None = None) -> str:
    """Return which cases are worst."""
    worst = [case for case in evaluation.worst_first() if names is None or case.case in names]
    worst = [case for case in worst if case.scores.get(evaluation.leading.name) is not None]
    listed = ", ".join(
        f"{case.case} ({number(case.scores[evaluation.leading.name])})"
        for case in worst[:_NUM_WORST]
    )
    return f"Worst cases by {evaluation.leading.title}: {listed}." if listed else ""


def _judged(leading: Score) -> str:
    """Return what the intervals of the differences to other answers say."""
    by_name = {each.name: each for each in leading.answers}
    empty, majority = by_name.get("always empty"), by_name.get("the raters' majority")
    if empty is None or empty.lower is None or leading.better not in ("lower", "higher"):
        return ""  # of one patient there are no intervals
    if fault := _fault(leading):
        return fault
    perfect = leading.perfect
    is_level = (
        perfect is not None
        and perfect.lower is not None
        and perfect.upper is not None
        and perfect.lower <= 0 <= perfect.upper
    )
    if is_level:
        return "These cases show no difference from a model that draws as the raters do."
    if majority is not None and _is_better(leading, majority):
        return "That is better than the best single mask, the raters' own majority: it went well."
    return (
        "That is better than an empty mask, but not clearly better than a single perfect mask "
        "(the raters' own majority)."
    )


def _fault(score: Score) -> str:
    """Return that a score is not better than an empty mask's; "" if it is, or none is known.

    The contrary is no praise: samples that miss everything, each in a place of its own, have an
    energy score of 0.5, and an empty mask has 1.
    """
    empty = next((each for each in score.answers if each.name == "always empty"), None)
    if empty is None or empty.lower is None or _is_better(score, empty):
        return ""
    if score.perfect is not None and score.perfect.mean == empty.mean:
        return (
            "An empty mask is perfect on these cases, since nothing is marked there: they cannot "
            "tell how the training went."
        )
    return "It is not clearly better than an empty mask: the training did not go well."


def _is_better(leading: Score, other: Comparison) -> bool:
    if other.lower is None or other.upper is None:
        return False
    return other.upper < 0 if leading.better == "lower" else other.lower > 0


def _of_coverage(coverage: Score, nominal: float) -> str:
    lower = coverage.mean if coverage.lower is None else coverage.lower
    upper = coverage.mean if coverage.upper is None else coverage.upper
    if upper is not None and upper < nominal:
        return "the intervals are too narrow (overconfident)"
    if lower is not None and lower > nominal:
        return "the intervals are wider than they need be"
    return "the intervals are right"
