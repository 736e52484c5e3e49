"""Folds that stay valid when cases are added to a dataset or removed from it."""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from diffunet.data.raw.case_files import listing
from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.splits import Split, check_splits, read_splits
from diffunet.workspace import SPLITS_FILE

logger = logging.getLogger(__name__)


def settled_splits(dataset: RawDataset, path: Path, *, known: Collection[str]) -> tuple[Split, ...]:
    """Return the folds of `path` for the present cases of `dataset`; log what changed.

    Where `path` does not exist: the folds beside the raw dataset, or new ones. Otherwise its own,
    without the cases that are gone, and with those that are new (`extended_splits`). A case that
    was known before and is in no fold was left out on purpose, and stays out. Nothing is written.

    Args:
        path: `splits_final.json` of the preprocessed dataset.
        known: the training cases when these folds were last settled; empty if unknown.

    Raises:
        DatasetError: every fault of the file; it is named with its folder.
    """
    cases = [files.case for files in dataset.training_cases]
    given = dataset.folder / SPLITS_FILE
    if path.is_file():
        before = read_splits(path)
        splits = (
            extended_splits(
                _without(before, set(known).difference(cases)),
                cases=[case for case in cases if known and case not in known],
                patients=dataset.patients,
            )
            or dataset.splits()
        )
        check_splits(splits, path, cases=cases, patients=dataset.patients)
        _tell_changes(before, splits, path)
        if given.is_file() and read_splits(given) != splits:
            logger.warning(
                "'%s' differs from '%s', which is used; remove the latter to use the former",
                given,
                path,
            )
    else:
        splits = dataset.splits()
    _warn_of_left_out(splits, cases, given if given.is_file() else path)
    return splits


def extended_splits(
    splits: Sequence[Split], *, cases: Collection[str], patients: Mapping[str, str]
) -> tuple[Split, ...]:
    """Return `splits` with new cases in them, by patient.

    A case of a patient that a fold knows goes to the patient's side. Other patients are dealt to
    the folds that validate the fewest, in order of their names, and train in the rest; they are
    left out where `splits` are no cross-validation (every case validated once, the rest trained
    on): only their author knows where they belong.

    Args:
        cases: the new ones; those that are in a fold already are ignored.
        patients: the patient of every case.
    """
    there = _cases_of(splits)
    by_patient: dict[str, list[str]] = defaultdict(list)
    for case in sorted(set(cases) - there):
        by_patient[patients[case]].append(case)
    held = [{patients[case] for case in split.val if case in patients} for split in splits]
    trained = [{patients[case] for case in split.train if case in patients} for split in splits]
    strangers = [name for name in sorted(by_patient) if not any(name in p for p in held + trained)]
    if _is_cross_validation(splits):
        for name in strangers:
            chosen = min(range(len(splits)), key=lambda fold: len(held[fold]))
            for fold in range(len(splits)):
                (held if fold == chosen else trained)[fold].add(name)
    return tuple(
        Split(
            train=tuple(sorted([*split.train, *_of(by_patient, trained[fold])])),
            val=tuple(sorted([*split.val, *_of(by_patient, held[fold])])),
        )
        for fold, split in enumerate(splits)
    )


def _of(by_patient: Mapping[str, Sequence[str]], names: Collection[str]) -> list[str]:
    return [case for name, cases in by_patient.items() if name in names for case in cases]


def _is_cross_validation(splits: Sequence[Split]) -> bool:
    every = _cases_of(splits)
    validated = Counter(case for split in splits for case in split.val)
    return (
        len(splits) > 1
        and set(validated) == every
        and set(validated.values()) == {1}
        and all({*split.train, *split.val} == every for split in splits)
    )


def _cases_of(splits: Sequence[Split]) -> set[str]:
    return {case for split in splits for case in (*split.train, *split.val)}


def _without(splits: Sequence[Split], gone: Collection[str]) -> tuple[Split, ...]:
    return tuple(
        Split(
            train=tuple(case for case in split.train if case not in gone),
            val=tuple(case for case in split.val if case not in gone),
        )
        for split in splits
    )


def _tell_changes(before: Sequence[Split], splits: Sequence[Split], path: Path) -> None:
    there, now = _cases_of(before), _cases_of(splits)
    if added := now - there:
        logger.info(
            "'%s' is extended by patient, for %d new cases: %s; a training that began before "
            "cannot be continued in a fold that changed",
            path,
            len(added),
            listing(added),
        )
    if gone := there - now:
        logger.info(
            "'%s': %d cases are taken out, since the dataset no longer has them: %s",
            path,
            len(gone),
            listing(gone),
        )


def _warn_of_left_out(splits: Sequence[Split], cases: Collection[str], path: Path) -> None:
    if not splits:
        logger.warning("there are no folds: train with the fold 'all'")
    elif left_out := set(cases) - _cases_of(splits):
        logger.warning(
            "%d training cases are in no fold of '%s': %s; only the fold 'all' trains on them. Add "
            "them there, or remove the file to have folds made",
            len(left_out),
            path,
            listing(left_out),
        )
