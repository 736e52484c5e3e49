"""The CSV files of a raw dataset: which patient a case is of, and what else is known by case."""

import csv
import gzip
import io
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from diffunet.data.raw.case_files import as_cases, listing
from diffunet.errors import DatasetError
from diffunet.names import canonical

_GZIP = b"\x1f\x8b"


def read_rows(path: Path, *, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a CSV file with a header; every row has at least `columns`.

    The file may be compressed by gzip. Empty columns without a name at the end, which spreadsheets
    leave, are passed over.

    Raises:
        DatasetError: the file is missing, is not UTF-8, lacks a column, or a row has not one value
            for each column of the header.
    """
    try:
        text = _text_of(path)
    except FileNotFoundError:
        raise DatasetError(
            f"{path.name}: expected a table with the columns {', '.join(columns)} in '{path}', "
            "found no such file; add it, or remove its name from dataset.json"
        ) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as cause:
        raise DatasetError(
            f"{path.name}: expected a table in UTF-8, found one that cannot be read ({cause}); "
            "save it again as CSV, UTF-8"
        ) from None
    records = _records(canonical(text), path.name)
    header = [name.strip() for name in next(records, (0, []))[1]]
    num_named = len(header)
    while num_named and not header[num_named - 1]:
        num_named -= 1
    _check_header(header[:num_named], columns, path.name)
    for number, row in records:
        if not any(map(str.strip, row)):
            continue
        if len(row) == len(header) and any(map(str.strip, row[num_named:])):
            raise DatasetError(
                f"{path.name}, line {number}: expected a value for each of the columns "
                f"{', '.join(header[:num_named])} alone, found one in a column without a name; "
                "name the column, or remove it"
            )
        if len(row) != len(header):
            raise DatasetError(
                f"{path.name}, line {number}: expected {len(header)} values, found {len(row)}; "
                f"{hint_of(row) or 'correct the line'}"
            )
        yield number, dict(zip(header[:num_named], map(str.strip, row), strict=False))


def _text_of(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith(_GZIP):
        content = gzip.decompress(content)
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig").read()


def _records(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of each line of a CSV file.

    Raises:
        DatasetError: a cell goes on in the next line: its quote is not closed where it should be.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    first = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as cause:
            raise DatasetError(
                f'{name}, line {first}: expected each quote (") closed in its line, found one that '
                f"is not ({cause}); close or remove it"
            ) from None
        if row is None:
            return
        if reader.line_num > first:
            raise DatasetError(
                f'{name}, line {first}: expected each quote (") closed in its line, found one that '
                f"is closed in line {reader.line_num}; close or remove it"
            )
        yield first, row
        first = reader.line_num + 1


def _check_header(header: Sequence[str], columns: Sequence[str], name: str) -> None:
    missing = [column for column in columns if column not in header]
    if not missing and len(set(header)) == len(header):
        return
    hint = hint_of(header)
    if not any(column in header for column in columns) and any(map(_is_digits, header)):
        hint = f"the table begins with a row of data: add the line {','.join(columns)} before it"
    wanted = f"the columns {', '.join(columns)}, each once" if columns else "each column once"
    lacking = f" without {', '.join(missing)}" if missing and header and not hint else ""
    raise DatasetError(
        f"{name}, line 1: expected {wanted}, found "
        f"{', '.join(header) or 'none'}{lacking}; {hint or 'correct the first line'}"
    )


def hint_of(cells: Sequence[str]) -> str | None:
    """Return what to do about cells that another program separated otherwise."""
    if cells and cells[0].lower().startswith("sep="):
        return "remove this line, which only Excel reads, and separate columns by commas"
    if any(mark in cell for cell in cells for mark in ";\t"):
        return "separate columns by commas, not by semicolons or tabs"
    if any(_is_digits(one) and _is_digits(other) for one, other in pairwise(cells)):
        return (
            "if its numbers have decimal commas, write whole numbers, or points; otherwise correct "
            "the line"
        )
    return None


def _is_digits(cell: str) -> bool:
    return cell.strip().isdecimal()


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
    known = {*training_cases, *test_cases}
    unknown = set(patients) - known
    if unknown:
        problems.append(unknown_cases_problem(path.name, unknown, known=known))
    missing = set(training_cases) - set(patients)
    if missing:
        problems.append(
            f"{path.name}: expected a line for each training case, found none for {len(missing)}: "
            f"{listing(missing)}; add them"
        )
    if problems:
        raise DatasetError(problems)
    return {case: patients.get(case, case) for case in (*training_cases, *test_cases)}


def unknown_cases_problem(table: str, cases: Collection[str], *, known: Collection[str]) -> str:
    """Return the message for rows of `table` that name no case of the dataset.

    Args:
        known: the cases of the dataset.
    """
    return (
        f"{table}: expected names of cases in imagesTr or imagesTs, found {len(cases)} others: "
        f"{listing(cases)}; {as_cases(cases, known) or 'correct the names or remove the lines'}"
    )
