"""What the integers of a label map mean: exclusive labels, regions, and the ignore label."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from diffunet.errors import DatasetError
from diffunet.names import canonical


@dataclass(frozen=True, kw_only=True)
class LabelScheme:
    """The labels of a dataset, without background and ignore label.

    Attributes:
        names: one per label, in the order of `dataset.json`.
        values: for each label the integers that belong to it; several for a region.
        is_regions: labels may overlap (at least one has several integers); `class_order` then says
            which integer each region writes when masks become a label map, the last one winning.
        class_order: `regions_class_order` of `dataset.json`; empty without regions.
        ignore_value: voxels of this integer were not annotated; None where there are none.
    """

    names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    is_regions: bool = False
    class_order: tuple[int, ...] = ()
    ignore_value: int | None = None

    @classmethod
    def from_dataset_json(cls, content: Mapping[str, Any]) -> "LabelScheme":
        """Read `labels` and `regions_class_order` of a `dataset.json`.

        Raises:
            DatasetError: all that is wrong with them, as nnU-Net defines them.
        """
        if not isinstance(content, Mapping):
            raise DatasetError(f"dataset.json: expected an object, found {content!r:.80}")
        labels = content.get("labels")
        if not isinstance(labels, Mapping):
            raise DatasetError(
                f"dataset.json: 'labels' should be an object like "
                f'{{"background": 0, "tumour": 1}}, found {labels!r}'
            )
        problems = _label_problems(labels)
        labels = {canonical(name): value for name, value in labels.items()}
        if len(labels) < len(content["labels"]):
            problems.append(
                "dataset.json: 'labels' should name each label once, found the same text in two "
                "Unicode forms; rename one"
            )
        if problems:
            raise DatasetError(problems)
        foreground = {
            name: tuple(value) if isinstance(value, list) else (value,)
            for name, value in labels.items()
            if name not in ("background", "ignore")
        }
        is_regions = any(len(values) > 1 for values in foreground.values())
        class_order = _class_order(content, len(foreground)) if is_regions else ()
        return cls(
            names=tuple(foreground),
            values=tuple(foreground.values()),
            is_regions=is_regions,
            class_order=class_order,
            ignore_value=labels.get("ignore"),
        )

    @property
    def has_ignore_label(self) -> bool:
        return self.ignore_value is not None

    @property
    def all_values(self) -> tuple[int, ...]:
        """Every integer that a label map may hold, sorted; background and ignore included."""
        known = {0, *(value for values in self.values for value in values)}
        if self.ignore_value is not None:
            known.add(self.ignore_value)
        return tuple(sorted(known))

    @property
    def keys(self) -> tuple[str, ...]:
        """Each label's key in `summary.json`, as in nnU-Net: its integer, or those of a region."""
        return tuple(
            str(values[0]) if len(values) == 1 else str(tuple(values)) for values in self.values
        )

    @property
    def shared(self) -> dict[int, tuple[int, ...]]:
        """The labels (by their number) of each integer that regions share without being nested.

        These integers alone can say that a voxel belongs to all of them.
        """
        if not self.is_regions:
            return {}
        found: dict[int, tuple[int, ...]] = {}
        for value in self.all_values:
            members = tuple(i for i, values in enumerate(self.values) if value in values)
            sets = sorted((set(self.values[i]) for i in members), key=len)
            if any(not inner <= outer for inner, outer in pairwise(sets)):
                found[value] = members
        return found

    @property
    def written(self) -> dict[int, str]:
        """What the integers of a label map of ours mean: labels or regions, then what these share.

        In the order in which they are written, so that a later one takes the place of others.
        """
        values = self.class_order if self.is_regions else tuple(v[0] for v in self.values)
        names = dict(zip(values, self.names, strict=True))
        for value, members in self.shared.items():
            names.setdefault(value, " and ".join(self.names[label] for label in members))
        return names

    def masks(self, label_map: np.ndarray) -> np.ndarray:
        """Return the boolean mask of each label, (label, *label_map.shape)."""
        if all(len(values) == 1 for values in self.values):
            return np.stack([label_map == values[0] for values in self.values])
        return np.stack([np.isin(label_map, values) for values in self.values])

    def close(self, of_labels: np.ndarray) -> None:
        """Give each region what the regions inside it have, in place.

        A label map cannot say that a voxel belongs to an inner region and not to the outer one, and
        no rater says so; a network may.

        Args:
            of_labels: masks or probabilities (label, *spatial).
        """
        if not self.is_regions:
            return
        regions = [set(values) for values in self.values]
        for outer, of_outer in zip(regions, of_labels, strict=True):
            for inner, of_inner in zip(regions, of_labels, strict=True):
                if inner < outer:
                    np.maximum(of_outer, of_inner, out=of_outer)

    def label_map(self, masks: np.ndarray) -> np.ndarray:
        """Return the uint8 (uint16 where needed) label map of boolean masks (label, *spatial).

        Regions are written in the order of the labels with the integers of `class_order`, and then
        `shared` ones where just their regions are; exclusive labels with their own, and where masks
        overlap all the same, the last one wins.
        """
        dtype = np.uint8 if max(self.all_values) < 256 else np.uint16
        label_map = np.zeros(masks.shape[1:], dtype)
        for value, mask in zip(self.written, masks, strict=False):  # then come shared ones
            label_map[mask] = value
        for value, members in self.shared.items():
            is_member = np.isin(np.arange(len(masks)), members)
            has_just_them = masks == is_member.reshape(-1, *[1] * (masks.ndim - 1))
            label_map[has_just_them.all(axis=0)] = value
        return label_map

    def ignored(self, label_map: np.ndarray) -> np.ndarray:
        """Return where `label_map` was not annotated, as a boolean array of its shape."""
        if self.ignore_value is None:
            return np.zeros(label_map.shape, bool)
        return label_map == self.ignore_value


def _label_problems(labels: Mapping[str, Any]) -> list[str]:
    problems = []
    if labels.get("background", None) != 0 or isinstance(labels.get("background"), bool):
        problems.append(
            "dataset.json: 'labels' should map \"background\" to 0, found "
            f"{_for_background(labels)}"
        )
    if not set(labels) - {"background", "ignore"}:
        problems.append("dataset.json: 'labels' names no label but background")
    integers: set[int] = set()
    for name, value in labels.items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(_is_label_value(each) for each in values):
            problems.append(
                f"dataset.json: label '{name}' should be an integer from 0 to 65535, or a list of "
                f"integers for a region; found {value!r}"
            )
        else:
            integers.update(values)
    problems = problems or _repetitions(labels)
    if not problems and integers != set(range(len(integers))):
        wanted = {old: new for new, old in enumerate(sorted({0, *integers})) if old != new}
        changes = ", ".join(f"{old} to {new}" for old, new in wanted.items())
        problems.append(
            f"dataset.json: the integers of 'labels' should be consecutive from 0, "
            f"found {sorted(integers)}; change {changes}, in the label maps and here"
        )
    if not problems and "ignore" in labels and labels["ignore"] != max(integers):
        problems.append(
            f'dataset.json: the label "ignore" should be the highest integer, {max(integers)}; '
            f"found {labels['ignore']!r}"
        )
    return problems


def _for_background(labels: Mapping[str, Any]) -> str:
    """Return what is there in place of "background": 0, with what to do about another name."""
    zero = [name for name, value in labels.items() if value == 0 and not isinstance(value, bool)]
    if "background" in labels or not zero:
        return repr(labels.get("background"))
    return f"the name '{zero[0]}' for it"


def _repetitions(labels: Mapping[str, Any]) -> list[str]:
    """Return where an integer means two things; `labels` hold integers, or lists of them."""
    problems: list[str] = []
    names: dict[tuple[int, ...], str] = {}
    for name, value in labels.items():
        values = tuple(sorted(value)) if isinstance(value, list) else (value,)
        if len(set(values)) < len(values):
            problems.append(
                f"dataset.json: label '{name}' should hold each integer once; found {value}"
            )
        elif values in names:
            problems.append(
                f"dataset.json: the labels '{names[values]}' and '{name}' should have different "
                f"integers; found {value} twice"
            )
        elif name != "background" and 0 in values:
            problems.append(
                f"dataset.json: label '{name}' should not hold 0, the background's integer; found "
                f"{value}"
            )
        elif name != "ignore" and labels.get("ignore") in values:
            problems.append(
                f"dataset.json: label '{name}' should not hold {labels['ignore']}, the integer of "
                f'"ignore"; found {value}'
            )
        names.setdefault(values, name)
    return problems


def _class_order(content: Mapping[str, Any], num_labels: int) -> tuple[int, ...]:
    order = content.get("regions_class_order") or []
    is_valid = isinstance(order, list) and all(map(_is_label_value, order))
    if not is_valid or len(order) != num_labels or len(set(order)) < num_labels:
        raise DatasetError(
            f"dataset.json: 'regions_class_order' should hold one integer for each of the "
            f"{num_labels} labels, all different, since there are regions; found {order!r:.80}"
        )
    return tuple(order)


def _is_label_value(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 65536
