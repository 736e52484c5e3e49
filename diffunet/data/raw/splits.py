"""Folds of cross-validation, in nnU-Net's file and order; a patient is never divided."""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.raw.case_files import as_cases, listing
from diffunet.errors import DatasetError
from diffunet.jsonio import read_json, write_json
from diffunet.names import canonical

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Split:
    """The cases of one fold, sorted."""

    train: tuple[str, ...]
    val: tuple[str, ...]


def make_splits(
    cases: Collection[str], patients: Mapping[str, str], *, num_folds: int = 5, seed: int = 12345
) -> tuple[Split, ...]:
    """Deal the patients into folds.

    Where every case is its own patient, the folds are nnU-Net's (scikit-learn's `KFold`, shuffled,
    over the sorted names).

    Args:
        patients: the patient of each case.

    Returns:
        One split per fold; with fewer patients than folds one per patient, and none for a
        single patient, which only the fold "all" can train on.
    """
    by_patient: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        by_patient[patients[case]].append(case)
    names = sorted(by_patient)
    if len(names) < num_folds:
        logger.warning(
            "%d folds need as many patients, found %d; making %d folds instead",
            num_folds,
            len(names),
            len(names) if len(names) > 1 else 0,
        )
        num_folds = len(names)
    if num_folds < 2:
        return ()
    order = np.arange(len(names))
    np.random.RandomState(seed).shuffle(order)
    splits = []
    for chunk in np.array_split(order, num_folds):
        held = {names[index] for index in chunk}
        splits.append(
            Split(
                train=tuple(sorted(case for case in cases if patients[case] not in held)),
                val=tuple(sorted(case for case in cases if patients[case] in held)),
            )
        )
    return tuple(splits)


def load_splits(
    path: Path,
    *,
    cases: Collection[str],
    patients: Mapping[str, str],
    whose: str = "training cases",
    remedy: str = "correct or remove them",
) -> tuple[Split, ...]:
    """Read a `splits_final.json`, a list of {"train": [..], "val": [..]}, one per fold.

    Args:
        cases: the training cases.
        patients: the patient of each case.
        whose, remedy: for messages about a case that is not in `cases`.

    Returns:
        No fold where the list is empty, as for a dataset of one patient.

    Raises:
        DatasetError: every fault: its form, a case that is unknown or there twice, a case or a
            patient on both sides of a fold, a side that is empty.
    """
    splits = read_splits(path)
    check_splits(splits, path, cases=cases, patients=patients, whose=whose, remedy=remedy)
    return splits


def read_splits(path: Path) -> tuple[Split, ...]:
    """Read a `splits_final.json`, whatever cases it names; see `load_splits`.

    Raises:
        DatasetError: every fault of its form.
    """
    content = read_json(path, DatasetError)
    if not isinstance(content, list):
        raise DatasetError(_form_problem(f"'{path}'", content))
    problems = [
        _form_problem(f"'{path}', fold {fold}", entry)
        for fold, entry in enumerate(content)
        if not _is_split(entry)
    ]
    if problems:
        raise DatasetError(problems)
    return tuple(
        Split(
            train=tuple(sorted(map(canonical, entry["train"]))),
            val=tuple(sorted(map(canonical, entry["val"]))),
        )
        for entry in content
    )


def check_splits(
    splits: Sequence[Split],
    path: Path,
    *,
    cases: Collection[str],
    patients: Mapping[str, str],
    whose: str = "training cases",
    remedy: str = "correct or remove them",
) -> None:
    """Check folds that stand in `path`, or shall; see `load_splits`.

    Raises:
        DatasetError: every fault of their cases and patients.
    """
    problems: list[str] = []
    for fold, split in enumerate(splits):
        place = f"'{path}', fold {fold}"
        for side, members in (("train", split.train), ("val", split.val)):
            problems += _side_problems(place, side, members)
            if unknown := set(members).difference(cases):
                problems.append(
                    f"{place}: expected {whose} in '{side}', found {len(unknown)} others: "
                    f"{listing(unknown)}; {as_cases(unknown, cases) or remedy}"
                )
        problems += _division_problems(place, split, set(cases), patients)
    if problems:
        raise DatasetError(problems)


def write_splits(path: Path, splits: Collection[Split]) -> None:
    """Write `splits` as nnU-Net does; a file that says the same is left as it is."""
    if path.is_file() and read_splits(path) == tuple(splits):
        return
    write_json(path, [{"train": split.train, "val": split.val} for split in splits])


def _is_split(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(side), list) and all(isinstance(case, str) for case in entry[side])
        for side in ("train", "val")
    )


def _form_problem(place: str, found: Any) -> str:
    text = repr(found)
    shown = text if len(text) <= 80 else text[:77] + "..."
    return (
        f'{place}: expected a list of {{"train": [CASE, ..], "val": [CASE, ..]}}, one per fold, '
        f"found {shown}; correct it, or remove the file to have folds made"
    )


def _side_problems(place: str, side: str, members: Sequence[str]) -> list[str]:
    problems = []
    if not members:
        problems.append(
            f"{place}: expected cases in '{side}', found none; add some, or remove the file to "
            "have folds made"
        )
    if len(set(members)) != len(members):
        twice = {case for case, count in Counter(members).items() if count > 1}
        problems.append(
            f"{place}: expected each case once in '{side}', found twice {listing(twice)}; "
            "remove the repetition"
        )
    return problems


def _division_problems(
    place: str, split: Split, cases: set[str], patients: Mapping[str, str]
) -> list[str]:
    problems = []
    if both := set(split.train) & set(split.val):
        problems.append(
            f"{place}: expected each case in 'train' or 'val', found {len(both)} in both: "
            f"{listing(both)}; remove them from one"
        )
    sides = [
        {patients[case] for case in {*side} & cases - both} for side in (split.train, split.val)
    ]
    if divided := sides[0] & sides[1]:
        problems.append(
            f"{place}: expected each patient in 'train' or 'val', found {len(divided)} divided "
            f"between them: {listing(divided)}; move all cases of a patient to one side, or remove "
            "the file to have folds made by patient"
        )
    return problems
