"""Which folds predict which training cases: folds that have not learned from them, if any."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffunet.data.raw.case_files import CaseFiles
from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.image_labels import ImageLabels
from diffunet.data.raw.splits import Split
from diffunet.errors import UsageError
from diffunet.inference.compute import Compute
from diffunet.inference.model import (
    TrainedModel,
    data_of_fold,
    joined_model,
    load_model,
    trained_folds,
)
from diffunet.inference.options import PredictionOptions
from diffunet.inference.output import OutputFolder
from diffunet.inference.run import settings_of
from diffunet.wsss.prediction.predictor import SaliencyPredictor

_CHECKPOINT = "final"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Share:
    """Training cases that the same folds predict.

    Attributes:
        is_in_sample: the folds may have learned from these cases.
    """

    folds: tuple[str, ...]
    is_in_sample: bool
    cases: tuple[CaseFiles, ...]

    @property
    def name(self) -> str:
        """Of a folder, such as fold_0 or folds_0_1_in_sample."""
        word = "fold" if len(self.folds) == 1 else "folds"
        return "_".join([word, *self.folds, *(["in_sample"] if self.is_in_sample else [])])


@dataclass(frozen=True, kw_only=True)
class ShareRun:
    """A share, the model that predicts it, and its output.

    Attributes:
        settings: everything that decides about the predictions.
        output: takes these settings alone.
    """

    share: Share
    predictor: SaliencyPredictor
    model: TrainedModel
    settings: dict[str, Any]
    output: OutputFolder


def shares_of(
    cases: Sequence[CaseFiles], *, folds: Sequence[str], splits: Sequence[Split], dataset: str
) -> tuple[Share, ...]:
    """Deal the cases to the folds that were validated on them, or else to all, in sample.

    Args:
        folds: "0", "1", ... or "all".
        dataset: its name, for messages.

    Raises:
        UsageError: a fold has no split.
    """
    if any(fold != "all" and int(fold) >= len(splits) for fold in folds):
        raise UsageError(
            f"expected a split for each of the folds {', '.join(folds)}, found {len(splits)} in "
            f"splits_final.json in the preprocessed folder of {dataset}; put back the file that "
            "the model was trained with, or choose other folds (-f)"
        )
    held = {fold: set(splits[int(fold)].val) for fold in folds if fold != "all"}
    dealt: dict[tuple[tuple[str, ...], bool], list[CaseFiles]] = defaultdict(list)
    for files in cases:
        unseen = tuple(fold for fold in folds if files.case in held.get(fold, ()))
        dealt[(unseen or tuple(folds), not unseen)].append(files)
    return tuple(
        Share(folds=names, is_in_sample=is_in_sample, cases=tuple(members))
        for (names, is_in_sample), members in sorted(dealt.items())
    )


def require_trained_with(split: Split, data: Iterable[str], *, fold: str, dataset: str) -> None:
    """Check that a fold was validated on the cases that its split holds back now.

    Cases that were added or removed since do not count.

    Args:
        data: the cases that it was trained on, and after them those that it was validated on; none
            where its checkpoint does not tell.
        dataset: its name, for messages.

    Raises:
        UsageError: it learned from cases that it would count as not having seen.
    """
    known = {*split.train, *split.val}
    seen = [case for case in data if case in known]
    held = set(split.val).intersection(seen)
    learned = held.intersection(seen[: len(seen) - len(held)])
    if learned:
        raise UsageError(
            f"fold_{fold} learned from {len(learned)} of the {len(held)} cases that it is "
            f"validated on by splits_final.json in the preprocessed folder of {dataset}, such as "
            f"'{min(learned)}': expected the splits that it was trained with; put that file back, "
            "or train the fold anew"
        )


def check_channels(model: TrainedModel, raw: RawDataset) -> None:
    """Check that channels stand where the model learned them; other names alone change nothing.

    Raises:
        UsageError: there are more or fewer, or they stand in another order.
    """
    there, learned = raw.channel_names, model.channel_names
    is_turned = there != learned and sorted(there) == sorted(learned)
    if len(there) != len(learned) or is_turned:
        raise UsageError(
            f"'{model.folder}' was trained on the channels {', '.join(learned)}, expected those "
            f"of '{raw.name}', {', '.join(there)}; put the channels back, or train on this dataset"
        )


def runs_of(
    raw: RawDataset,
    tags: ImageLabels,
    *,
    model_folder: Path,
    folds: Sequence[int | str] | None,
    splits: Sequence[Split],
    options: PredictionOptions,
    compute: Compute,
    folder: Path,
) -> tuple[ShareRun, ...]:
    """Load a weak model, and return what its folds are to predict of the training cases of `raw`.

    Args:
        tags: of `raw`.
        options: of every run.
        folder: each run has a folder of its own in it.

    The other arguments and the errors are those of `make_pseudo_dataset`.
    """
    names = trained_folds(model_folder, folds, checkpoint=_CHECKPOINT)
    shares = shares_of(raw.training_cases, folds=names, splits=splits, dataset=raw.name)
    for name in names:
        if name != "all":
            data = data_of_fold(model_folder, name, checkpoint=_CHECKPOINT)
            require_trained_with(splits[int(name)], data, fold=name, dataset=raw.name)
    models = {
        name: load_model(model_folder, folds=[name], checkpoint=_CHECKPOINT, device=compute.device)
        for name in names
    }
    runs = []
    for share in shares:
        model = joined_model([models[name] for name in share.folds])
        predictor = SaliencyPredictor(model, compute=compute, options=options)
        _check_labels(model, raw)
        check_channels(model, raw)
        predictor.given = _lines_of(tags, share)
        settings = settings_of(predictor, model)
        output = OutputFolder(folder / share.name, model=model, settings=settings)
        runs.append(
            ShareRun(
                share=share,
                predictor=predictor,
                model=model,
                settings=settings,
                output=output,
            )
        )
    return tuple(runs)


def say_what_is_in_sample(shares: Sequence[Share]) -> None:
    """Log how many cases are predicted by folds that learned from them."""
    num_cases = sum(len(share.cases) for share in shares)
    num_in_sample = sum(len(share.cases) for share in shares if share.is_in_sample)
    logger.info(
        "%d of %d cases are labelled by folds that were validated on them, %d in sample",
        num_cases - num_in_sample,
        num_cases,
        num_in_sample,
    )
    if num_in_sample:
        logger.warning(
            "%d cases are labelled by folds that learned from them, so their maps may be "
            "overconfident; train all folds to avoid this",
            num_in_sample,
        )


def _check_labels(model: TrainedModel, raw: RawDataset) -> None:
    if model.labels.names != raw.labels.names:
        raise UsageError(
            f"'{model.folder}' knows the labels {', '.join(model.labels.names)}, "
            f"expected those of '{raw.name}', {', '.join(raw.labels.names)}; train on this dataset"
        )


def _lines_of(tags: ImageLabels, share: Share) -> ImageLabels:
    """Return the lines of the table that speak of a share's cases."""
    cases = {files.case for files in share.cases}
    table = {key: values for key, values in tags.table.items() if key[0] in cases}
    return ImageLabels(names=tags.names, table=table)
