"""Patients that the names of cases seem to tell, where no table names any."""

import re
from collections import defaultdict
from collections.abc import Collection

from diffunet.workspace import PATIENTS_FILE

_PART = re.compile(r"(?P<patient>.*[0-9].*)[_\-. ][A-Za-z]*[0-9]+[A-Za-z]*")
_FEWEST_PATIENTS = 3  # fewer are rather years, sites or scanners
_SHARE_TOGETHER = 0.05  # of the cases, that share a patient with another


def patients_in_names(cases: Collection[str]) -> str | None:
    """Return a warning where cases seem to be several of one patient: `p07_frame01`, `p07_frame12`.

    The name of a patient holds a digit, and several occur: `BraTS2021_00000` is no patient's.
    """
    by_patient: dict[str, list[str]] = defaultdict(list)
    for case in sorted(cases):
        found = _PART.fullmatch(case)
        by_patient[found["patient"] if found else case].append(case)
    shared = {name: several for name, several in by_patient.items() if len(several) > 1}
    together = sum(map(len, shared.values()))
    if len(by_patient) < _FEWEST_PATIENTS or together <= _SHARE_TOGETHER * len(cases):
        return None
    name, several = next(iter(shared.items()))
    return (
        f"the names of {together} cases look like several cases of one patient, such as "
        f"'{several[0]}' and '{several[1]}' of '{name}', and there is no {PATIENTS_FILE}: each "
        "counts as a patient of its own, and scores of validation flatter where a patient is in "
        f"training too. Write {PATIENTS_FILE} with the columns case,patient ({several[0]},{name}), "
        "unless each is another patient"
    )
