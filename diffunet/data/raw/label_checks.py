"""What may be wrong with a label map: its values, its grid, and its likeness to another rater's."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from itertools import combinations

import numpy as np

from diffunet.data.image_io import ImageGeometry, grid_difference, turned_axes
from diffunet.labels import LabelScheme

_WHITE = (255, 65535)  # of 8 and 16 bits
_MOST_VALUES = 20
_FEWEST_CASES = 2  # that two raters share before their masks may be called copies


def value_problems(
    found: Collection[int], name: str, labels: LabelScheme, *, must_be_annotated: bool
) -> Iterator[str]:
    """Yield what is wrong with the integers of a label map.

    Args:
        name: of the file, for messages.
        must_be_annotated: whether a file without a single annotated voxel is a fault.
    """
    found = set(found)
    unknown = sorted(found.difference(labels.all_values))
    if unknown:
        remedy = _value_remedy(found, unknown, labels)
        yield (
            f"expected the values {joined(labels.all_values)} in '{name}', as 'labels' of "
            f"dataset.json says, found also {joined(unknown)}; {remedy}"
        )
    if must_be_annotated and found == {labels.ignore_value}:
        yield (
            f"expected annotated voxels in '{name}', found the ignore label everywhere, so that "
            "nothing in this case would count, whoever marked it; remove the file: a rater without "
            "a file was not asked"
        )


def _value_remedy(found: set[int], unknown: list[int], labels: LabelScheme) -> str:
    """Return what to do about integers that no label has, by what they usually mean."""
    highest = max(labels.all_values)
    if unknown[0] in _WHITE and found <= {0, unknown[0]} and 1 in labels.all_values:
        return f"this looks like a mask for viewing; write 1 in place of {unknown[0]}"
    if unknown in ([white] for white in _WHITE):
        ignore = highest + 1 if labels.ignore_value is None else labels.ignore_value
        add = "" if labels.has_ignore_label else f" and add \"ignore\": {ignore} to 'labels'"
        return (
            f"if {unknown[0]} marks what nobody annotated, write {ignore} in its place{add}; "
            "otherwise correct the label map"
        )
    if unknown == [highest + 1] and (0 not in found or 1 not in found):
        return (
            "if each label, or the background too, is one higher in it than in 'labels', subtract "
            "1; otherwise correct the label map, or add the label to 'labels'"
        )
    return "correct the label map, or add the label to 'labels' of dataset.json"


def grid_differences(
    name: str, label: ImageGeometry, image: ImageGeometry
) -> tuple[list[str], list[str]]:
    """Return the faults and doubts about a label map's grid against its image's."""
    if turned_axes(label, image) is not None:
        return [
            f"{name} has the image's grid with its axes turned ({_way(label)}, the image "
            f"{_way(image)}), so that equal indices mean other places; save it in the image's "
            "orientation"
        ], []
    fault = grid_difference(label, image, attributes=("shape", "spacing"))
    if fault is not None:
        return [
            f"{name} has the {fault.what} {fault.found}, expected the image's, {fault.expected}; "
            f"{_grid_remedy(fault.what, label.shape, image.shape)}"
        ], []
    found = [grid_difference(label, image, attributes=(name,)) for name in ("origin", "direction")]
    return [], [
        f"{name} has the {doubt.what} {doubt.found}, the image {doubt.expected}; voxels are taken "
        "to match by index: overlay both"
        for doubt in found
        if doubt is not None
    ]


def _grid_remedy(what: str, found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if what != "shape":
        return "resample the label map to the image's grid or correct its header"
    if [size for size in found if size > 1] == [size for size in expected if size > 1]:
        return "save it with the image's axes, also with those of length 1"
    if sorted(found) == sorted(expected):
        return "its axes seem to be in another order: transpose it as the image is"
    return "resample the label map to the image's grid or remove it"


class AlikeRaters:
    """Finds raters whose masks are equal in all cases: copies of one mask, or links to it.

    Args:
        folder: of the masks; files of training and of test cases are copied apart.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._num_cases: dict[tuple[str, str], int] = {}
        self._num_equal: dict[tuple[str, str], int] = {}

    def add(self, digests: Mapping[str, bytes]) -> None:
        """Take in a case.

        Args:
            digests: by rater, of those masks that mark something (`digest_of`).
        """
        for pair in combinations(sorted(digests), 2):
            self._num_cases[pair] = self._num_cases.get(pair, 0) + 1
            is_equal = digests[pair[0]] == digests[pair[1]]
            self._num_equal[pair] = self._num_equal.get(pair, 0) + is_equal

    def warnings(self) -> Iterator[str]:
        """Yield the doubts."""
        for (one, other), num_cases in self._num_cases.items():
            if num_cases >= _FEWEST_CASES and self._num_equal[one, other] == num_cases:
                yield (
                    f"{self._folder}: raters {one} and {other} drew equal masks in all {num_cases} "
                    "cases in which both marked something: if the files of one are copies of the "
                    "other's, or links to them, remove these; otherwise his opinion counts twice"
                )


def digest_of(label_map: np.ndarray) -> bytes:
    """Return a digest of the integers, whatever type holds them."""
    digest = hashlib.blake2b(digest_size=16)
    for rows in label_map:
        digest.update(np.ascontiguousarray(rows, np.int32).data)
    return digest.digest()


def joined(values: Collection[int]) -> str:
    """Return the values in words, of many only the first."""
    shown = ", ".join(str(value) for value in list(values)[:_MOST_VALUES])
    more = len(values) - _MOST_VALUES
    return shown if more <= 0 else f"{shown} and {more} more"


def _way(geometry: ImageGeometry) -> str:
    """Return how the axes of a file lie."""
    return geometry.orientation or f"direction {geometry.direction}"
