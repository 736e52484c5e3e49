"""The final validations of a model's folds, read as one cross-validation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.raw.case_files import listing
from diffunet.errors import CheckpointError, UsageError
from diffunet.evaluation.blocks import summary_blocks
from diffunet.evaluation.calibration import NUM_BINS, Reliability
from diffunet.evaluation.scores import CaseScores, LabelScores
from diffunet.inference.model import model_dataset
from diffunet.jsonio import as_json, read_object
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.plans import ResolvedPlans
from diffunet.plans.differences import differences
from diffunet.workspace import RESOLVED_PLANS_FILE, VALIDATION_SUMMARY


@dataclass(frozen=True, kw_only=True)
class FoldValidation:
    """The final validation of a fold.

    Attributes:
        folder: holds its masks and `summary.json`.
        scores: by case.
        patients: by case.
        num_raters: fewest and most of a case.
    """

    fold: str
    folder: Path
    scores: dict[str, CaseScores]
    patients: dict[str, str]
    num_raters: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """The validations of some folds of a model; no case is in two of them.

    Attributes:
        model_folder: results/DATASET/METHOD__PLANS__CONFIGURATION.
        plans: of every fold.
        dataset_content: of `dataset.json`.
    """

    model_folder: Path
    plans: ResolvedPlans
    dataset_content: dict[str, Any]
    labels: LabelScheme
    folds: tuple[FoldValidation, ...]

    @property
    def name(self) -> str:
        """METHOD__PLANS__CONFIGURATION."""
        return self.model_folder.name

    @property
    def gathered_folder(self) -> Path:
        """Where its validation cases are gathered, unless a user says otherwise."""
        names = "_".join(fold.fold for fold in self.folds)
        return self.model_folder / f"crossval_results_folds_{names}"

    @property
    def draws_samples(self) -> bool:
        """Whether its masks differ from sample to sample."""
        return "num_samples" in METHODS[self.plans.method].options

    @property
    def scores(self) -> dict[str, CaseScores]:
        """The scores of every case, sorted."""
        found = {case: each for fold in self.folds for case, each in fold.scores.items()}
        return dict(sorted(found.items()))

    @property
    def patients(self) -> dict[str, str]:
        """The patient of every case."""
        return {case: each for fold in self.folds for case, each in fold.patients.items()}

    def summary(self) -> dict[str, Any]:
        """Return the scores of all cases, in the blocks of `summary.json`.

        Trivial answers and calibration are not in it: the former are sized by the cases of a fold,
        and the latter pools voxels, which the scores of cases do not tell.
        """
        fold_of = {case: fold.fold for fold in self.folds for case in fold.scores}
        summary = summary_blocks(
            self.scores,
            patients=self.patients,
            labels=self.labels,
            files={case: {"fold": fold} for case, fold in fold_of.items()},
        )
        found = summary["distribution"]
        del found["calibration"]
        fewest, most = zip(*(fold.num_raters for fold in self.folds), strict=True)
        found["num_raters"] = [min(fewest), max(most)]
        return summary


def read_cross_validation(model_folder: Path, folds: Sequence[str]) -> CrossValidation:
    """Read the scores of the final validation of some folds.

    Raises:
        CheckpointError: one is missing or damaged.
        UsageError: the folds are not of one choice of plans, share cases, or were not scored
            against masks.
    """
    content = model_dataset(model_folder)
    labels = LabelScheme.from_dataset_json(content)
    _require_validated(model_folder, folds)
    plans = _plans_of(model_folder, folds)
    read = tuple(_read_fold(model_folder, fold, labels=labels) for fold in folds)
    _require_apart(model_folder, read)
    return CrossValidation(
        model_folder=model_folder, plans=plans, dataset_content=content, labels=labels, folds=read
    )


def _require_validated(model_folder: Path, folds: Sequence[str]) -> None:
    missing = [
        f"fold_{fold}"
        for fold in folds
        if not (model_folder / f"fold_{fold}" / VALIDATION_SUMMARY).is_file()
    ]
    if missing:
        there = sorted(
            path.parents[1].name for path in model_folder.glob(f"*/{VALIDATION_SUMMARY}")
        )
        of_all = (
            "; fold_all trains on every case and leaves none to compare by"
            if (model_folder / "fold_all").is_dir()
            else ""
        )
        raise CheckpointError(
            f"'{model_folder}': expected a final validation of every fold, found none in "
            f"{', '.join(missing)} (there is one in: {', '.join(there) or 'none'}){of_all}; train "
            "and validate numbered folds, or say with -f which of them to use"
        )


def _plans_of(model_folder: Path, folds: Sequence[str]) -> ResolvedPlans:
    """Return the plans of the first fold, which must be those of all."""
    paths = [model_folder / f"fold_{fold}" / RESOLVED_PLANS_FILE for fold in folds]
    first, *others = map(ResolvedPlans.load, paths)
    if METHODS[first.method].learns_from != "masks":
        raise UsageError(
            f"'{model_folder}': expected validations that scored masks, but a model of -m "
            f"{first.method} is validated on image-level labels alone; score its predictions with "
            "diffunet_evaluate"
        )
    for fold, other in zip(folds[1:], others, strict=True):
        trees = [as_json(each)["configuration"] for each in (first, other)]
        if found := differences(*trees):
            shown = "; ".join(f"{name}: {old} and {new}" for name, (old, new) in found.items())
            raise UsageError(
                f"'{model_folder}': expected one choice of plans in all folds, found that fold_"
                f"{folds[0]} and fold_{fold} differ ({shown}); train them alike, or say with -f "
                "which folds to use"
            )
    return first


def _read_fold(model_folder: Path, fold: str, *, labels: LabelScheme) -> FoldValidation:
    path = model_folder / f"fold_{fold}" / VALIDATION_SUMMARY
    content = read_object(path, CheckpointError)
    try:
        distribution = content["distribution"]
        fewest_samples = int(distribution["num_samples"][0])
        fewest, most = map(int, distribution["num_raters"])
        entries = {str(entry["case"]): entry for entry in content["metric_per_case"]}
        scores = {
            case: CaseScores(
                labels=tuple(
                    _label_scores(entry, key, name)
                    for key, name in zip(labels.keys, labels.names, strict=True)
                ),
                num_samples=fewest_samples,
                num_raters=fewest,
            )
            for case, entry in entries.items()
        }
        patients = {case: str(entry["patient"]) for case, entry in entries.items()}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as cause:
        raise CheckpointError(
            f"'{path}': expected the scores of a final validation, found another content "
            f"({type(cause).__name__}: {cause}); validate the fold again: diffunet_train --val"
        ) from cause
    return FoldValidation(
        fold=fold, folder=path.parent, scores=scores, patients=patients, num_raters=(fewest, most)
    )


def _label_scores(entry: Mapping[str, Any], key: str, name: str) -> LabelScores:
    """Read one label of an entry of `metric_per_case`; older ones have no `perfect_model`."""
    nothing = np.zeros(NUM_BINS)
    return LabelScores(
        consensus=_numbers(entry["metrics"][key]),
        distribution=_numbers(entry["distribution"][name]),
        perfect_model=_numbers(entry.get("perfect_model", {}).get(name, {})),
        trivial_answers={},
        reliability=Reliability(num_voxels=nothing, predicted=nothing, observed=nothing),
    )


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: math.nan if value is None else float(value) for name, value in scores.items()}


def _require_apart(model_folder: Path, folds: Sequence[FoldValidation]) -> None:
    """Check that no case was validated by two folds."""
    owners: dict[str, str] = {}
    shared: set[str] = set()
    for fold in folds:
        shared |= {case for case in fold.scores if owners.setdefault(case, fold.fold) != fold.fold}
    if shared:
        raise UsageError(
            f"'{model_folder}': expected each case in one fold, found {len(shared)} in several: "
            f"{listing(shared)}; the folds were trained with different splits: train them again, "
            "or say with -f which folds to use"
        )
