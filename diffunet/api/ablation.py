"""Sweep fields of the plans."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diffunet.api.asked import AskedTraining
from diffunet.api.models import train
from diffunet.arguments import Dataset, compute_of, processes_of, workspace_of
from diffunet.calls import from_python
from diffunet.errors import DiffunetError, UsageError
from diffunet.jsonio import read_object
from diffunet.locks import in_use
from diffunet.methods import METHODS
from diffunet.names import require_fold
from diffunet.parallel import Progress, without_progress
from diffunet.plans import ResolvedPlans
from diffunet.plans.settings import without_size
from diffunet.workspace import DATASET_FILE, DEFAULT_PLANS_NAME, Workspace

if TYPE_CHECKING:
    from diffunet.ablation.cases import ScoredCases
    from diffunet.ablation.run import TrainingOrder

logger = logging.getLogger(__name__)


@from_python
def ablate(
    dataset: Dataset,
    fold: int | str = 0,
    *,
    output: Path | str,
    over: Sequence[str] = (),
    preset: str | None = None,
    one_at_a_time: bool = False,
    has_own: bool = True,
    seeds: Sequence[int] = (0,),
    cases: Literal["validation", "test"] = "validation",
    num_cases: int | None = None,
    saves_samples: bool = False,
    settings: Sequence[str] = (),
    workspace: Workspace | Path | None = None,
    configuration: str | None = None,
    method: str | None = None,
    plans_name: str = DEFAULT_PLANS_NAME,
    device: str = "auto",
    num_processes: int | None = None,
    progress: Progress = without_progress,
) -> dict[str, Any]:
    """Train, predict and score variants of the plans, and compare them on the same cases.

    Variants that differ in prediction alone share one training. Everything is kept in `output`, and
    found there again: the same call goes on where it stopped, one with more values or seeds does
    what is new. A variant that fails is noted, and the others go on.

    Args:
        fold: whose training cases train; by its validation cases the variants are compared.
        output: a folder that is new, is empty or holds a sweep of the same plans and settings.
        over: "path.to.field=value,value,..." each; commas within brackets belong to a value.
        preset: instead of `over`: sweeps that redraw the figures of a paper ("p1", "p2"), or one of
            them ("p1_steps").
        one_at_a_time: vary each field alone, around the plans; otherwise take all combinations.
        has_own: have a variant with the plans' own values, even where `over` leaves them out.
        seeds: of trainings; every variant is trained with each.
        cases: "validation"; "test" is `imagesTs` and `labelsTs`, by which nothing may be chosen.
        num_cases: spread over patients; None for as many as a final validation takes.
        saves_samples: keep the masks too, in `output/predictions`.
        settings: "path.to.field=value", of all variants.

    Returns:
        What `ablation.json` holds; of several sweeps of a preset by their names.

    Raises:
        UsageError, PlansError, WorkspaceError, DatasetError: before any work is done, with all that
            is wrong.
        InUseError: another command works in `output`.
        WriteError: the disk is full, or the like; what is done is kept.
        DiffunetError: at the end, where variants failed.
    """
    from diffunet.ablation.plan import check_sweep, open_folder, sweeps_asked
    from diffunet.ablation.results import run_and_write

    place, folder = workspace_of(workspace), Path(output)
    asked = sweeps_asked(over, preset, one_at_a_time=one_at_a_time, method=method)
    _require_apart(folder, place)
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"expected seeds, each once, got {', '.join(map(str, seeds)) or 'none'}")
    preprocessed = place.preprocessed_folder(dataset)
    start = _Start(
        training=AskedTraining(
            place=place,
            dataset=preprocessed.name,
            configuration=configuration,
            method=asked[0].method,
            plans_name=plans_name,
            # whatever other folds or this machine have: a sweep that goes on keeps its plans
            settings=settings if without_size(settings)[0] else ["default", *settings],
            seed=None,
        ),
        fold=require_fold(fold, error=UsageError),
        device=device,
        num_processes=processes_of(num_processes),
        progress=progress,
    )
    base, compute = start.plans(()), compute_of(device)
    scored = _cases_of(start, base, kind=cases, num_cases=num_cases)
    sweeps = [
        each.sweep(
            folder,
            base=base,
            resolve=start.plans,
            fold=start.fold,
            seeds=seeds,
            cases=scored,
            has_own=has_own,
        )
        for each in asked
    ]
    for sweep in sweeps:
        check_sweep(sweep, preprocessed, device=compute.device)
    with in_use(folder):
        open_folder(folder, base=base, fold=start.fold, preprocessed=preprocessed)
        found = {
            sweep.name: run_and_write(
                sweep,
                train=start.train,
                compute=compute,
                saves_samples=saves_samples,
                progress=progress,
            )
            for sweep in sweeps
        }
    _require_success(found)
    return found if len(found) > 1 else next(iter(found.values()))


@dataclass(frozen=True, kw_only=True)
class _Start:
    """What all trainings of a sweep have in common."""

    training: AskedTraining
    fold: str
    device: str
    num_processes: int
    progress: Progress

    @property
    def preprocessed(self) -> Path:
        return self.training.place.preprocessed / self.training.dataset

    def plans(self, more: Sequence[str]) -> ResolvedPlans:
        """Return the plans with more settings, as a training would have them."""
        settings = [*self.training.settings, *more]
        return replace(self.training, settings=settings).planned()[0]

    def train(self, order: "TrainingOrder") -> None:
        """Train as `diffunet_train` does, into a results folder of the order's own."""
        asked, base = self.training, self.plans(())
        train(
            asked.dataset,
            self.fold,
            workspace=replace(asked.place, results=order.results),
            configuration=base.configuration_name,
            method=base.method,
            plans_name=asked.plans_name,
            settings=[*asked.settings, *order.settings],
            seed=order.seed,
            continues=order.continues,
            # by masks: the sweep does that itself; by image-level labels: it chooses how to predict
            validates=METHODS[base.method].learns_from == "image_labels",
            device=self.device,
            num_processes=self.num_processes,
            progress=self.progress,
        )


def _require_apart(folder: Path, place: Workspace) -> None:
    """Check that nothing would be written among the data."""
    for data in (place.raw, place.preprocessed):
        if folder.resolve().is_relative_to(data.resolve()):
            raise UsageError(
                f"--output '{folder}' lies in '{data}', which a sweep only reads; choose a folder "
                "elsewhere"
            )


def _cases_of(
    start: _Start,
    base: ResolvedPlans,
    *,
    kind: Literal["validation", "test"],
    num_cases: int | None,
) -> "ScoredCases":
    from diffunet.ablation.cases import HeldOutCases, ValidationCases

    if METHODS[base.method].learns_from == "image_labels":
        logger.warning(
            "the variants are scored by masks, which -m %s learns without: nothing may be chosen "
            "by what this sweep finds, or the masks were part of the training",
            base.method,
        )
    if kind == "validation":
        return ValidationCases.of_fold(
            base, start.preprocessed, fold=start.fold, num_cases=num_cases
        )
    logger.warning(
        "the variants are compared on test cases: nothing may be chosen by what this sweep finds, "
        "or these cases are no test any more"
    )
    content = read_object(start.preprocessed / DATASET_FILE)
    return HeldOutCases.of_raw(
        start.training.place.raw_folder(start.training.dataset),
        file_ending=content["file_ending"],
        num_channels=len(base.configuration.preprocessing.normalization),
        has_raters=bool(content.get("raters", False)),
        num_cases=num_cases or base.configuration.training.num_final_validation_cases,
    )


def _require_success(found: dict[str, dict[str, Any]]) -> None:
    """Tell of everything that failed.

    Raises:
        DiffunetError: something did.
    """
    failed = [
        f"{name}: {row['name']}, seed {seed}: {reason}"
        for name, outcome in found.items()
        for row in outcome["variants"]
        for seed, reason in row["failures"].items()
    ]
    if failed:
        raise DiffunetError(
            "\n".join(
                [
                    f"{len(failed)} of the variants failed; the others are done, and the same "
                    "command tries these again:",
                    *failed,
                ]
            )
        )
