"""Which label maps belong to which case and rater, by their names."""

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from pathlib import Path

from diffunet.data.raw.case_files import (
    Findings,
    files_by_stem,
    folders_with,
    listing,
    split_rater,
)
from diffunet.names import canonical

ONLY_RATER = "r00"
"""Name of the rater of a dataset without `"raters": true`, whose files have no such suffix."""


def labels_by_case(
    folder: Path,
    file_ending: str,
    *,
    has_raters: bool,
    findings: Findings,
    cases: Collection[str] = (),
) -> dict[str, dict[str, Path]]:
    """Return for each case in `folder` its label map per rater, sorted by rater.

    Args:
        cases: that have images, to tell where the name of a case ends and that of a rater begins.
    """
    files = files_by_stem(folder, file_ending, findings=findings)
    if not files and (deeper := folders_with(folder, file_ending)):
        name = "CASE_r00" if has_raters else "CASE"
        of_raters = ", the number of each rater's folder after _r" if has_raters else ""
        findings.left_out.update(cases)
        findings.problems.append(
            f"{folder.name}: expected label maps {name}{file_ending}, found none, but some in the "
            f"folders {listing(deeper)}; move them up{of_raters}"
        )
    if not has_raters:
        return {stem: {ONLY_RATER: path} for stem, path in files.items()}
    labels: dict[str, dict[str, Path]] = defaultdict(dict)
    unnamed = []
    for stem, path in sorted(files.items()):
        if found := split_rater(stem):
            case, rater = found
            labels[case][rater] = path
        else:
            unnamed.append(path.name)
    if unnamed:
        _report_unnamed(folder, unnamed, file_ending, labels=labels, findings=findings, cases=cases)
    return dict(labels)


def rater_problem(raters: Iterable[tuple[str, Collection[str]]]) -> str | None:
    """Return what is wrong if the number of a rater is written in two ways, which are two raters.

    Masks of r02 and r002, one person's, would count as those of two.

    Args:
        raters: pairs of a case and the names of its raters.
    """
    first: dict[int, tuple[str, str]] = {}
    for case, names in raters:
        for name in names:
            known, of_case = first.setdefault(int(name[1:]), (name, case))
            if known != name:
                return (
                    f"expected one way to write a rater's number, found '{known}' of case "
                    f"'{of_case}' and '{name}' of case '{case}', which would be two raters; rename "
                    "the files of one or, where a case has both, give one a number of its own"
                )
    return None


def _report_unnamed(
    folder: Path,
    unnamed: Sequence[str],
    file_ending: str,
    *,
    labels: Mapping[str, Collection[str]],
    findings: Findings,
    cases: Collection[str],
) -> None:
    """Report label maps without a rater in their names.

    Args:
        labels: the raters of each case that have been found. A name that one of them has is no
            remedy: whoever obeyed would overwrite his mask.
    """
    known = {*cases, *labels}
    stems = {name: name[: -len(file_ending)] for name in unnamed}
    of_cases = {name: case_before(stem, known) or canonical(stem) for name, stem in stems.items()}
    findings.left_out.update(of_cases.values())
    beside = [name for name in unnamed if of_cases[name] in labels]
    expected = (
        f'{folder.name}: expected names CASE_r00{file_ending}, since dataset.json has "raters"'
    )
    if beside:
        case = of_cases[beside[0]]
        free = 1 + max(int(rater[1:]) for rater in labels[case])
        findings.problems.append(
            f"{expected}: true, found {len(beside)} without a rater beside those of raters: "
            f"{listing(beside)}; remove '{beside[0]}' if it joins the raters' masks, or rename it "
            f"to '{case}_r{free:02d}{file_ending}' if one more rater drew it"
        )
    if alone := [name for name in unnamed if name not in beside]:
        case = of_cases[alone[0]]
        findings.problems.append(
            f"{expected}: true, found {len(alone)} without a rater: {listing(alone)}; rename "
            f"'{alone[0]}' to '{case}_r00{file_ending}', the next rater's to "
            f"'{case}_r01{file_ending}', and so on"
        )


def case_before(name: str, cases: Container[str]) -> str | None:
    """Return the longest of `cases` that a name begins with; None without one.

    So `c1_rater2`, `c1-A` and `c1_seg` are of the case `c1`, and `c12` is not.
    """
    stem = canonical(name)
    ends = (end for end in range(len(stem), 0, -1) if not stem[end : end + 1].isalnum())
    return next((stem[:end] for end in ends if stem[:end] in cases), None)


def other_names_problem(
    names: Collection[str], cases: Container[str], *, place: str, file_ending: str
) -> str | None:
    """Return what is wrong if label maps have more in their names than their case.

    Args:
        names: of label maps, without ending, none of which is a case's.
        cases: that have images.
        place: the folder of the label maps, for the message.

    Returns:
        None unless each name begins with a case's.
    """
    of_cases: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        if (case := case_before(name, cases)) is None:
            return None
        of_cases[case].append(name)
    if not of_cases:
        return None
    expected = f"{place}: expected one label map CASE{file_ending} per case"
    case = max(sorted(of_cases), key=lambda each: len(of_cases[each]))
    first, *others = of_cases[case]
    if not others:
        return (
            f"{expected}, found names that go on after the case: {listing(names)}; rename "
            f"'{first}{file_ending}' to '{case}{file_ending}', and so on"
        )
    return (
        f"{expected}, found several for {len(of_cases)}, e.g. {listing(of_cases[case])} for "
        f"'{case}'; if several raters drew them, add \"raters\": true to dataset.json and rename "
        f"'{first}{file_ending}' to '{case}_r00{file_ending}', '{others[0]}{file_ending}' to "
        f"'{case}_r01{file_ending}', and so on; if each shows another label, join them into one "
        "label map"
    )
