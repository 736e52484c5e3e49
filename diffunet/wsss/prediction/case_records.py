"""The record of a weakly supervised case: what was decided, and how to get its maps back."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from diffunet.data.image_io import ImageGeometry, MapScale
from diffunet.errors import UsageError
from diffunet.inference.output import OutputFolder
from diffunet.wsss.prediction.presence import Presence


@dataclass(frozen=True, kw_only=True)
class CaseSaliency:
    """The maps of a case on its own grid, before they become a mask.

    Attributes:
        saliency: float32 (label, *spatial), smoothed and signed.
        thresholds: (slice, label); of the rule "otsu_mean", what "otsu" gives.
        seconds_per_slice: spent on the maps, per slice and label that has one; None where none has.
    """

    saliency: Float[np.ndarray, "label *spatial"]
    presence: Presence
    thresholds: Float[np.ndarray, "slice label"]
    seconds_per_slice: float | None


@dataclass(frozen=True, kw_only=True)
class WrittenCase:
    """What a run wrote about a whole case, with thresholds.

    Attributes:
        saliency: float32 (label, *spatial), smoothed and signed.
        thresholds, is_present: (slice, label), along the first file axis.
        is_decided_by_slice: as `Presence.is_by_slice`.
        content: of its record.
    """

    saliency: Float[np.ndarray, "label *spatial"]
    thresholds: Float[np.ndarray, "slice label"]
    is_present: Bool[np.ndarray, "slice label"]
    is_decided_by_slice: bool
    geometry: ImageGeometry
    content: dict[str, Any]


def read_weak_case(output: OutputFolder, case: str) -> WrittenCase:
    """Read what a prediction wrote about a case, with the settings of `output`.

    Raises:
        UsageError: the case is not whole, or was made with other settings.
    """
    content = output.content_of_record(case)
    if content is None:
        raise UsageError(f"'{output.folder}': there is no finished case '{case}'; predict it again")
    with said_if_damaged(output, case):
        labels = list(content["labels"].values())
        saliency, geometry = read_maps(output, case, content)
        return WrittenCase(
            saliency=saliency,
            thresholds=np.stack([from_plain(label["threshold"]) for label in labels], axis=1),
            is_present=np.array([label["is_present"] for label in labels], bool).T,
            is_decided_by_slice=content["is_decided_by_slice"],
            geometry=geometry,
            content=content,
        )


@contextlib.contextmanager
def said_if_damaged(output: OutputFolder, case: str) -> Iterator[None]:
    """Report an error inside this context as damage of the case's record.

    Raises:
        UsageError: something is not there, or not of its kind.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as cause:
        raise UsageError(
            f"'{output.folder}': the record of case '{case}' is damaged ({cause!r:.80}); "
            "predict it again"
        ) from None


def record_of(
    found: CaseSaliency, scales: Sequence[MapScale], names: Sequence[str]
) -> dict[str, Any]:
    """Return the record of a case before there are masks."""
    presence = found.presence
    origins = np.where(presence.is_given, "given", "classifier")
    labels = {
        name: {
            "case_probability": float(presence.case_probabilities()[label]),
            "probability": plain(presence.probabilities[:, label]),
            "is_present": presence.is_present[:, label].tolist(),
            "decided_by": origins[:, label].tolist(),
            "slice_threshold": plain(found.thresholds[:, label]),
            "saliency_file": dataclasses.asdict(scales[label]),
        }
        for label, name in enumerate(names)
    }
    return {
        "is_decided_by_slice": presence.is_by_slice,
        "labels": labels,
        "seconds_per_slice": found.seconds_per_slice,
    }


def with_masks(
    content: Mapping[str, Any],
    thresholds: np.ndarray,
    masks: np.ndarray,
    geometry: ImageGeometry,
) -> dict[str, Any]:
    """Return a record with what making the masks added."""
    voxel = math.prod(geometry.spacing_mm)
    labels = {
        name: {**about, "threshold": plain(thresholds[:, label])}
        for label, (name, about) in enumerate(content["labels"].items())
    }
    volumes = {
        name: {"unit": geometry.volume_unit, "value": np.count_nonzero(mask) * voxel}
        for name, mask in zip(labels, masks, strict=True)
    }
    return {**content, "labels": labels, "volumes": volumes}


def plain(values: np.ndarray) -> list[float | None]:
    """Return numbers as JSON has them: None for "not a number"."""
    return [None if math.isnan(value) else float(value) for value in values]


def from_plain(values: Sequence[float | None]) -> np.ndarray:
    """Return numbers from JSON."""
    return np.array([math.nan if value is None else value for value in values])


def read_maps(
    output: OutputFolder, case: str, record: Mapping[str, Any]
) -> tuple[Float[np.ndarray, "label *spatial"], ImageGeometry]:
    """Return the maps of a case from its files, and their geometry."""
    maps, geometries = zip(
        *(
            output.read_saliency(case, label, MapScale(**about["saliency_file"]))
            for label, about in enumerate(record["labels"].values())
        ),
        strict=True,
    )
    return np.stack(maps), geometries[0]
