"""The CSV files of a raw dataset: which patient a case is of, and what else is known by case."""

import csv
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from diffunet.data.case_files import listing
from diffunet.errors import DatasetError


def read_rows(path: Path, *, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a CSV file with a header; every row has at least `columns`.

    Raises:
        DatasetError: the file is missing, is not UTF-8, lacks a column, or a row has not one value
            for each column of the header.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(
            f"{path.name}: expected a table with the columns {', '.join(columns)} in '{path}', "
            "found no such file; add it, or remove its name from dataset.json"
        ) from None
    except (OSError, UnicodeDecodeError) as cause:
        raise DatasetError(
            f"{path.name}: expected a table in UTF-8, found one that cannot be read ({cause}); "
            "save it again as CSV, UTF-8"
        ) from None
    reader = csv.reader(text.splitlines())
    header = [name.strip() for name in next(reader, [])]
    missing = [column for column in columns if column not in header]
    if missing or len(set(header)) != len(header):
        is_separated_otherwise = any(mark in name for name in header for mark in ";\t")
        hint = "separate columns by commas; " if is_separated_otherwise else ""
        lacking = f" without {', '.join(missing)}" if missing and header and not hint else ""
        raise DatasetError(
            f"{path.name}: expected the columns {', '.join(columns)}, each once, found "
            f"{', '.join(header) or 'none'}{lacking}; {hint}correct the first line"
        )
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            raise DatasetError(
                f"{path.name}, line {reader.line_num}: expected {len(header)} values, found "
                f"{len(row)}; correct the line"
            )
        yield reader.line_num, dict(zip(header, map(str.strip, row), strict=True))


def read_patients(
    path: Path, *, training_cases: Collection[str], test_cases: Collection[str]
) -> dict[str, str]:
    """Return the patient of every case, as `patients.csv` (columns case, patient) says.

    A test case may be missing there; it is then its own patient.

    Raises:
        DatasetError: a case is unknown, missing, there twice, or has no patient.
    """
    lines: dict[str, list[int]] = defaultdict(list)
    patients: dict[str, str] = {}
    problems = []
    for number, row in read_rows(path, columns=("case", "patient")):
        lines[row["case"]].append(number)
        patients[row["case"]] = row["patient"]
        if not row["patient"]:
            problems.append(
                f"case '{row['case']}': expected a patient in {path.name}, line {number}, found "
                "an empty cell; fill it in"
            )
    problems += [
        f"case '{case}': expected one line in {path.name}, found the lines "
        f"{', '.join(map(str, numbers))}; keep one"
        for case, numbers in lines.items()
        if len(numbers) > 1
    ]
    unknown = set(patients) - set(training_cases) - set(test_cases)
    if unknown:
        problems.append(unknown_cases_problem(path.name, unknown))
    missing = set(training_cases) - set(patients)
    if missing:
        problems.append(
            f"{path.name}: expected a line for each training case, found none for {len(missing)}: "
            f"{listing(missing)}; add them"
        )
    if problems:
        raise DatasetError(problems)
    return {case: patients.get(case, case) for case in (*training_cases, *test_cases)}


def unknown_cases_problem(table: str, cases: Collection[str]) -> str:
    """Return the message for rows of `table` that name no case of the dataset."""
    return (
        f"{table}: expected names of cases in imagesTr or imagesTs, found {len(cases)} others: "
        f"{listing(cases)}; correct the names or remove the lines"
    )
