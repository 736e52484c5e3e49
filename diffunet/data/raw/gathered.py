"""Findings about many cases that are alike, told once."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from diffunet.data.raw.case_files import listing

_MOST_ALIKE = 5  # that are told one by one
_TOLD = 2  # of more
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def gathered(findings: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield texts; of many that differ in case and numbers alone, two, and the other cases.

    Args:
        findings: case and text.
    """
    alike: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for case, text in findings:
        alike[_NUMBER.sub("#", text.replace(case, "*"))].append((case, text))
    for several in alike.values():
        told = several if len(several) <= _MOST_ALIKE else several[:_TOLD]
        yield from (text for _, text in told)
        if rest := {case for case, _ in several[len(told) :]} - {case for case, _ in told}:
            yield f"and the like in {len(rest)} more cases: {listing(rest)}"
