"""The best of a dataset's models and their mixtures, by the validation cases of all folds."""

import logging
from collections.abc import Sequence
from pathlib import Path

from diffunet.data.raw.case_files import listing
from diffunet.data.store.case_store import CaseStore
from diffunet.errors import DiffunetError, UsageError
from diffunet.methods import METHODS
from diffunet.parallel import Progress
from diffunet.selection.accumulate import accumulate
from diffunet.selection.compare import Candidate, compare
from diffunet.selection.criterion import Criterion, criterion_for
from diffunet.selection.folds import CrossValidation, read_cross_validation
from diffunet.selection.mixtures import mixture_folder, mixtures_of
from diffunet.selection.report import Choice

logger = logging.getLogger(__name__)


def models_of(
    results: Path,
    *,
    methods: Sequence[str] | None,
    plans_names: Sequence[str] | None,
    configurations: Sequence[str] | None,
    folds: Sequence[str],
) -> tuple[list[CrossValidation], dict[str, str]]:
    """Read the cross-validations of a dataset's models.

    Args:
        results: of the dataset.
        methods, plans_names, configurations: None for all that are trained.

    Returns:
        The models, and why others are left out; what is asked for by name is never left out.

    Raises:
        DiffunetError: what is asked for cannot be read, or nothing is there.
    """
    asked = (methods, plans_names, configurations)
    there: list[tuple[Path, list[str]]] = []
    for path in sorted(results.iterdir()) if results.is_dir() else []:
        words = path.name.split("__")
        if len(words) == 3 and words[0] in METHODS and path.is_dir():
            there.append((path, words))
    for place, (flag, names) in enumerate(zip(("-m", "-p", "-c"), asked, strict=True)):
        if unknown := sorted(set(names or ()) - {words[place] for _, words in there}):
            raise UsageError(
                f"{flag}: expected what is trained in '{results}', found no model of "
                f"{', '.join(unknown)} (there is: {listing([path.name for path, _ in there])})"
            )
    found: list[CrossValidation] = []
    left_out: dict[str, str] = {}
    for path, words in there:
        if any(names and word not in names for word, names in zip(words, asked, strict=True)):
            continue
        try:
            found.append(read_cross_validation(path, folds))
        except DiffunetError as cause:  # one damaged model keeps no other from being compared
            if any(asked):
                raise
            left_out[path.name] = str(cause)
    if not found:
        reasons = "\n".join(left_out.values()) or "train several, for example with -c or -m"
        raise UsageError(f"'{results}': expected validated models, found none; {reasons}")
    return found, left_out


def choose_best(
    models: Sequence[CrossValidation],
    *,
    label_store: Path,
    folder: Path,
    has_mixtures: bool,
    left_out: dict[str, str],
    progress: Progress,
) -> Choice:
    """Compare models, and the mixtures of every two, on the cases that all of them validated.

    Args:
        label_store: the preprocessed label maps; every configuration has the same references.
        folder: where mixtures are written.
        left_out: why other models are not compared; gets those of mixtures too.

    Raises:
        UsageError: the models were not validated on the same cases, or have no score in common.
    """
    _require_same(models)
    references = CaseStore(label_store)
    num_raters = {case: len(references.properties(case).raters) for case in models[0].scores}
    criterion = criterion_for(num_raters)
    candidates = [_candidate(model, criterion, num_raters) for model in models]
    if has_mixtures and len(models) > 1:
        mixtures, reasons = mixtures_of(
            models, folder, references=references, criterion=criterion, progress=progress
        )
        candidates += mixtures
        left_out |= reasons
    for name, reason in left_out.items():
        logger.warning("left out: %s: %s", name, reason)
    _require_scores(candidates, criterion)
    compared = compare(candidates, models[0].patients, is_lower_better=criterion.is_lower_better)
    return Choice(
        models={model.name: model for model in models},
        criterion=criterion,
        comparison=compared,
        left_out=left_out,
        num_undefined=len(num_raters) - len(compared.cases),
    )


def _candidate(
    model: CrossValidation, criterion: Criterion, num_raters: dict[str, int]
) -> Candidate:
    return Candidate(
        parts=(model.name,),
        values={
            case: criterion.value(
                scores, num_raters=num_raters[case], draws_samples=model.draws_samples
            )
            for case, scores in model.scores.items()
        },
    )


def _require_same(models: Sequence[CrossValidation]) -> None:
    """Check that models are of the same labels and were validated on the same cases."""
    first, problems = models[0], []
    for model in models[1:]:
        if model.labels != first.labels:
            problems.append(f"'{model.name}' has other labels than '{first.name}'; train it again")
        for one, other in ((first, model), (model, first)):
            if missing := set(one.scores) - set(other.scores):
                problems.append(
                    f"'{other.name}' was not validated on {len(missing)} cases of '{one.name}': "
                    f"{listing(missing)}; validate both on every case (diffunet_train --val "
                    "--all_cases), with the same splits"
                )
    if problems:
        raise UsageError("expected models validated on the same cases: " + "\n".join(problems))


def _require_scores(candidates: Sequence[Candidate], criterion: Criterion) -> None:
    defined = [
        {case for case, value in each.values.items() if value == value}  # not NaN
        for each in candidates
    ]
    without = [each.name for each, cases in zip(candidates, defined, strict=True) if not cases]
    if without:
        raise UsageError(
            f"expected the {criterion.title} of each candidate, found none of "
            f"{', '.join(without)}: of one sample per case it is undefined; validate with two or "
            "more (--set sampling.num_samples=16)"
        )
    if not set.intersection(*defined):
        raise UsageError(f"no case has the {criterion.title} of every candidate")


def folder_of_winner(
    choice: Choice, folder: Path, *, is_gathered: bool, progress: Progress
) -> Path | None:
    """Return the folder of the winner's validation cases; None if their masks are not there.

    Args:
        folder: where mixtures lie.
        is_gathered: the cases of models were gathered for mixtures before.
    """
    if len(choice.winner.parts) > 1:
        return mixture_folder(folder, choice.winner.parts)
    model = choice.models[choice.winner.name]
    if is_gathered:
        return None if model.name in choice.left_out else model.gathered_folder
    try:
        accumulate(model, model.gathered_folder, progress=progress)
    except UsageError as cause:
        logger.warning("%s", cause)
        return None
    return model.gathered_folder
