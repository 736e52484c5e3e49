"""Folds of cross-validation, in nnU-Net's file and order; a patient is never divided."""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
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
    cases: Collection[str],
    patients: Mapping[str, str],
    *,
    shown: Mapping[str, Collection[str]] | None = None,
    num_folds: int = 5,
    seed: int = 12345,
) -> tuple[Split, ...]:
    """Deal the patients into folds.

    Where every case is its own patient, the folds are nnU-Net's (scikit-learn's `KFold`, shuffled,
    over the sorted names), unless an image-level label is shown by some patients and not by others.
    Such labels are spread over the folds.

    Args:
        patients: the patient of each case.
        shown: the image-level labels that each case shows, where the dataset has such labels.

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
    shuffled = [names[index] for index in order]
    shown_by: dict[str, set[str]] = {name: set() for name in names}
    for case in cases:
        shown_by[patients[case]].update((shown or {}).get(case, ()))
    splits = []
    for held in _dealt(shuffled, shown_by, num_folds=num_folds):
        splits.append(
            Split(
                train=tuple(sorted(case for case in cases if patients[case] not in held)),
                val=tuple(sorted(case for case in cases if patients[case] in held)),
            )
        )
    return tuple(splits)


def _dealt(
    names: Sequence[str], shown: Mapping[str, Collection[str]], *, num_folds: int
) -> list[set[str]]:
    """Return the patients that each fold holds out.

    The rarest label's patients go first, each to the fold that lacks most of its share (iterative
    stratification, Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10). Fold sizes are the same
    in any case.

    Args:
        names: patients in random order.
        shown: the labels of each.
    """
    sizes = [len(chunk) for chunk in np.array_split(np.arange(len(names)), num_folds)]
    counts = Counter(label for name in names for label in shown[name])
    if not any(count < len(names) for count in counts.values()):
        remaining = iter(names)
        return [set(islice(remaining, size)) for size in sizes]
    lacking = {
        label: [count * size / len(names) for size in sizes] for label, count in counts.items()
    }
    folds: list[set[str]] = [set() for _ in sizes]
    left = list(names)
    while left:
        counts = Counter(label for name in left for label in shown[name])
        rarest = min(counts, key=lambda label: (counts[label], label), default=None)
        others = []
        for name in left:
            if rarest is not None and rarest not in shown[name]:
                others.append(name)
                continue
            room = [size - len(fold) for size, fold in zip(sizes, folds, strict=True)]
            lack = room if rarest is None else lacking[rarest]
            fold = max(
                (number for number in range(num_folds) if room[number]),
                key=lambda number: (lack[number], room[number]),
            )
            folds[fold].add(name)
            for label in shown[name]:
                lacking[label][fold] -= 1
        left = others
    return folds


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
    unknown: dict[str, set[str]] = {}
    for fold, split in enumerate(splits):
        place = f"'{path}', fold {fold}"
        for side, members in (("train", split.train), ("val", split.val)):
            problems += _side_problems(place, side, members)
            if others := set(members).difference(cases):
                unknown[f"fold {fold}, '{side}'"] = others
        problems += _division_problems(place, split, set(cases), patients)
    if unknown:  # one case is in every fold: told once
        others = set().union(*unknown.values())
        problems.append(
            f"'{path}': expected {whose} in the folds, found {len(others)} others in "
            f"{'; '.join(unknown)}: {listing(others)}; {as_cases(others, cases) or remedy}"
        )
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
