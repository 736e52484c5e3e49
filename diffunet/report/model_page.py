"""The page about a model: how its folds trained, and what their final validations say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffunet.data.prediction_records import setting_differences
from diffunet.jsonio import read_json
from diffunet.methods import METHODS
from diffunet.report import fold_verdicts, verdicts
from diffunet.report.charts import Chart
from diffunet.report.fold_facts import FoldFacts, read_fold
from diffunet.report.folders import fold_folders
from diffunet.report.json_facts import at, mapping_at
from diffunet.report.plan_facts import Choice, chosen_values
from diffunet.report.score_charts import reliability_charts
from diffunet.report.training_charts import training_charts
from diffunet.workspace import RESOLVED_PLANS_FILE

_MOST_TOLD = 3


@dataclass(frozen=True, kw_only=True)
class ModelPage:
    """All that a page about a model shows; `side_by_side` has scores of several folds."""

    title: str
    folder: Path
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]
    folds: tuple[FoldFacts, ...]
    charts: tuple[Chart, ...]
    calibration: tuple[Chart, ...]
    settings: tuple[tuple[str, str], ...]
    side_by_side: tuple[tuple[str, tuple[str, ...]], ...]
    choices: tuple[Choice, ...]


def read_model_page(folder: Path) -> ModelPage:
    """Read a model folder, or one of its folds.

    Raises:
        DiffunetError: a file in it is damaged.
    """
    places = fold_folders(folder)
    plans = _plans_of(places)
    folds = tuple(map(read_fold, places))
    model = folder.parent if places == (folder,) else folder
    shown = f"{model.resolve().parent.name}: {model.resolve().name}"
    return ModelPage(
        title=f"{shown}, {folder.resolve().name}" if places == (folder,) else shown,
        folder=folder,
        verdict=tuple(fold_verdicts.of_folds(folds)),
        warnings=(*fold_verdicts.warnings_of(folds), *_other_plans(places)),
        folds=folds,
        charts=tuple(training_charts(folds)),
        calibration=tuple(
            reliability_charts(
                {fold.name: fold.evaluation for fold in folds if fold.evaluation is not None}
            )
        ),
        settings=tuple(_settings(plans, folds)),
        side_by_side=_side_by_side(folds),
        choices=chosen_values(
            mapping_at(plans, "configuration"),
            mapping_at(plans, "reasons"),
            method=str(at(plans, "method")),
            only_reasoned=True,
        ),
    )


def _other_plans(folds: Sequence[Path]) -> list[str]:
    """Return a sentence about each fold whose plans are not those of the first.

    What was chosen from image-level labels, in `weak`, is of each fold alone.
    """
    compared = [
        (
            fold.resolve().name,
            {
                "method": at(plans, "method"),
                **mapping_at(plans, "configuration"),
                "weak": None,
            },
        )
        for fold in folds
        if (plans := _plans_of([fold]))
    ]
    sentences = []
    for name, settings in compared[1:]:
        changes = setting_differences(compared[0][1], settings)
        if changes:
            more = f"; and {len(changes) - _MOST_TOLD} more" if len(changes) > _MOST_TOLD else ""
            sentences.append(
                f"{name} was trained with other plans than {compared[0][0]}, whose choices are "
                f"shown here ({'; '.join(changes[:_MOST_TOLD])}{more})."
            )
    return sentences


def _plans_of(folds: Sequence[Path]) -> Any:
    path = next((each / RESOLVED_PLANS_FILE for each in folds), None)
    return read_json(path) if path is not None and path.is_file() else {}


def _side_by_side(folds: Sequence[FoldFacts]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return a row per score with a value per fold; none of a single fold."""
    evaluations = [fold.evaluation for fold in folds if fold.evaluation is not None]
    if len(evaluations) < 2:
        return ()
    rows = []
    for score in evaluations[0].scores:
        found = [
            next((each for each in other.scores if each.name == score.name), None)
            for other in evaluations
        ]
        values = tuple("" if each is None else verdicts.with_interval(each) for each in found)
        rows.append((score.title, values))
    return tuple(rows)


def _settings(plans: Any, folds: Sequence[FoldFacts]) -> list[tuple[str, str]]:
    """Return what was trained, in a few rows."""
    configuration = mapping_at(plans, "configuration")
    method = at(plans, "method")
    draws = method not in METHODS or "num_samples" in METHODS[method].options
    weights = [fold.num_parameters for fold in folds if fold.num_parameters is not None]
    rows = [
        ("method", method),
        ("configuration", at(plans, "configuration_name")),
        ("size", at(plans, "size")),
        ("patch", _times(at(configuration, "patch_size"))),
        ("batch", at(configuration, "training", "batch_size")),
        ("iterations", at(configuration, "training", "num_iterations")),
        (
            "parameters of the network",
            f"{weights[0]:,}".replace(",", "\u202f") if weights else None,
        ),
        ("input scale b", at(configuration, "diffusion", "input_scale") if draws else None),
        ("samples and steps", _samples(configuration) if draws else None),
        ("set by the user", ", ".join(map(str, at(plans, "set_by_user") or ())) or None),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]


def _samples(configuration: Mapping[str, Any]) -> str | None:
    sampling = mapping_at(configuration, "sampling")
    if not sampling:
        return None
    return (
        f"{at(sampling, 'num_samples')} samples of {at(sampling, 'num_steps')} steps "
        f"({at(sampling, 'sampler')})"
    )


def _times(sizes: Any) -> str | None:
    return " × ".join(map(str, sizes)) if isinstance(sizes, list) else None
