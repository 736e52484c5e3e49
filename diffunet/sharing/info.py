"""What a model is, in words: from its folder or from its zip file, without loading its weights."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffunet.errors import CheckpointError
from diffunet.evaluation.table import SCORE_TITLES
from diffunet.inference.model import model_dataset, model_plans, trained_folds
from diffunet.jsonio import read_object
from diffunet.sharing.archive import MANIFEST_FILE
from diffunet.sharing.install import opened_model
from diffunet.workspace import VALIDATION_SUMMARY

_CHECKPOINTS = ("final", "best", "latest")
_CONSENSUS_SCORES = ("Dice", "HD95")
_DRAWN_SCORES = ("hm_iou", "ece", "volume_coverage")


def model_info(path: Path) -> dict[str, Any]:
    """Return what a model was made for, how it draws, and the scores of its folds.

    Returns:
        Plain values that JSON can hold, in the order in which they are best read.

    Raises:
        CheckpointError: it is no model, or a file of it is damaged.
    """
    with opened_model(path) as folder:
        return _info_of(folder)


def _info_of(folder: Path) -> dict[str, Any]:
    checkpoint, folds = _trained(folder)
    plans = model_plans(folder, folds)
    configuration = plans.configuration
    dataset = model_dataset(folder)
    info = {
        "dataset": plans.dataset_name,
        "method": plans.method,
        "plans": plans.plans_name,
        "configuration": plans.configuration_name,
        "channels": list(dataset.get("channel_names", {}).values()),
        "labels": dataset.get("labels", {}),
        "file_ending": dataset.get("file_ending", ""),
        "spacing_mm": list(configuration.preprocessing.spacing_mm),
        "patch_size": list(configuration.patch_size),
        "backbone": configuration.network.conditioning,
        "num_samples": configuration.sampling.num_samples,
        "num_steps": configuration.sampling.num_steps,
        "sampler": configuration.sampling.sampler,
        "raters": list(configuration.diffusion.rater_names)
        if configuration.diffusion.conditions_on_rater
        else [],
        "iterations": configuration.training.num_iterations,
        "set_by_user": list(plans.set_by_user),
        "checkpoint": checkpoint,
        "folds": {fold: _scores_of(folder / f"fold_{fold}") for fold in folds},
    }
    if (folder / MANIFEST_FILE).is_file():
        manifest = read_object(folder / MANIFEST_FILE, CheckpointError)
        names = ("checkpoint", "precision", "license", "note", "diffunet_version")
        info["export"] = {name: manifest.get(name, "") for name in names}
    return info


def _trained(folder: Path) -> tuple[str, tuple[str, ...]]:
    """Return the first checkpoint that some fold has, and those folds."""
    for checkpoint in _CHECKPOINTS[:-1]:
        try:
            return checkpoint, trained_folds(folder, None, checkpoint=checkpoint)
        except CheckpointError:
            continue
    return _CHECKPOINTS[-1], trained_folds(folder, None, checkpoint=_CHECKPOINTS[-1])


def _scores_of(fold: Path) -> dict[str, Any]:
    """Return the means of a fold's final validation; empty where there was none."""
    if not (fold / VALIDATION_SUMMARY).is_file():
        return {}
    summary = read_object(fold / VALIDATION_SUMMARY, CheckpointError)
    consensus = _object(summary.get("foreground_mean"))
    distribution = _object(summary.get("distribution"))
    block = _object(distribution.get("mean"))
    drawn = _object(block.get("scores"))
    has_one_rater = distribution.get("num_raters") == [1, 1]
    leading = "energy_score" if has_one_rater else "ged_fully_unbiased"
    found = {name: _mean_of(drawn, name) for name in (leading, "ged") if name in drawn}
    if (perfect := _mean_of(_object(block.get("perfect_model")), "ged")) is not None:
        found["ged_of_perfect_model"] = perfect
    found |= {name: _mean_of(drawn, name) for name in _DRAWN_SCORES if name in drawn}
    of_consensus = {name: consensus[name] for name in _CONSENSUS_SCORES if name in consensus}
    return of_consensus | found if has_one_rater else found | of_consensus


def _mean_of(scores: Mapping[str, Any], name: str) -> Any:
    return _object(scores.get(name)).get("mean")


def _object(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}


def lines_of(info: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield the lines of `model_info` for people: a name, and what it is; nested by indentation.

    Texts may come from anyone: what a terminal would take for a command is shown as an escape.
    """
    shown = {SCORE_TITLES.get(name, _printable(name)): value for name, value in info.items()}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}"
            yield from lines_of({str(key): each for key, each in value.items()}, indent + "  ")
        else:
            yield f"{indent}{name:<{width}}  {_in_words(value)}"


def _in_words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value)) or "none"
    return _printable(str(value)) if value not in ("", {}, None) else "none"


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
