"""Fingerprints made by hand; every part may be replaced by name."""

from typing import Any

from diffunet.fingerprint.fingerprint import (
    WHOLE,
    ChannelFingerprint,
    DisagreementFingerprint,
    Fingerprint,
    GeometryFingerprint,
    ImageLabelFingerprint,
    IntensityFingerprint,
    LabelFingerprint,
    ObjectFingerprint,
    RaterFingerprint,
    TrivialAnswers,
)
from diffunet.fingerprint.summary import Summary


def a_summary(
    value: float,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    percentile_10: float | None = None,
) -> Summary:
    low = value if minimum is None else minimum
    high = value if maximum is None else maximum
    return Summary(
        count=100,
        mean=value,
        std=0.0,
        minimum=low,
        percentile_05=low,
        percentile_10=low if percentile_10 is None else percentile_10,
        median=value,
        percentile_90=high,
        percentile_95=high,
        maximum=high,
    )


def an_intensity(**changes: float) -> IntensityFingerprint:
    values = {
        **{"mean": 50.0, "std": 30.0, "minimum": -900.0, "percentile_00_5": -100.0},
        **{"median": 55.0, "percentile_99_5": 200.0, "maximum": 1000.0},
    }
    return IntensityFingerprint(**(values | changes))


def a_channel(name: str = "MR", **changes: Any) -> ChannelFingerprint:
    values: dict[str, Any] = {
        "intensities": an_intensity(),
        "foreground": "labels",
        "case_minimum": a_summary(0),
        "case_maximum": a_summary(200, minimum=180, maximum=255),
        "num_constant": 0,
        "num_noise": 0,
        "constant_examples": (),
        "noise_examples": (),
    }
    return ChannelFingerprint(name=name, **(values | changes))


def an_object(
    diameter: float = 11.33, *, edge_mm: float = 1.0, per_mask: float = 1.0
) -> ObjectFingerprint:
    return ObjectFingerprint(
        per_mask=a_summary(per_mask),
        voxels=a_summary(0.785 * diameter**2),
        volume_mm=a_summary(0.785 * (diameter * edge_mm) ** 2),
        diameter=a_summary(diameter),
        diameter_mm=a_summary(diameter * edge_mm),
    )


def a_disagreement(
    *, iou: float = 0.47, sizes: dict[str, float] | None = None, **changes: Any
) -> DisagreementFingerprint:
    pieces = sizes or {"32": 40, "64": 52, "128": 72, "256": 72, "512": 72, WHOLE: 72}
    values: dict[str, Any] = {
        "iou": a_summary(iou),
        "iou_where_both_marked": a_summary(0.7),
        "share_of_equal_pairs": 0.1,
        "piece_voxels": a_summary(30),
        "largest_piece": {name: a_summary(size) for name, size in pieces.items()},
        "largest_piece_of_slice": None,
    }
    return DisagreementFingerprint(**(values | changes))


def a_label(**changes: Any) -> LabelFingerprint:
    values: dict[str, Any] = {
        "foreground_fraction": a_summary(0.01),
        "share_of_empty_masks": 0.0,
        "share_of_cases_without": 0.0,
        "objects": an_object(),
        "objects_of_slice": None,
        "centre_distance": a_summary(0.5),
        "centre_distance_mm": a_summary(20),
        "disagreement": None,
    }
    return LabelFingerprint(**(values | changes))


def a_rater_fingerprint(
    per_case: float, *, minimum: float | None = None, maximum: float | None = None, **changes: Any
) -> RaterFingerprint:
    values: dict[str, Any] = {
        "share_of_empty_masks": 0.0,
        "share_of_empty_masks_by_rater": {"r00": 0.0},
        "share_of_cases_partly_empty": 0.0,
    }
    return RaterFingerprint(
        per_case=a_summary(per_case, minimum=minimum, maximum=maximum), **(values | changes)
    )


def an_image_label(**changes: Any) -> ImageLabelFingerprint:
    values: dict[str, Any] = {
        "num_images": 100,
        "num_slices": 0,
        "prevalence": 0.3,
        "num_positive_patients": 30,
        "num_negative_patients": 40,
        "position_auc": None,
        "position_auc_seen": None,
        "content_auc": 0.5,
    }
    return ImageLabelFingerprint(**(values | changes))


def a_geometry(
    shape: tuple[float, ...] = (128, 128),
    spacing_mm: tuple[float, ...] | None = None,
    *,
    largest: tuple[float, ...] | None = None,
    finest_mm: tuple[float, ...] | None = None,
    relative_size: float = 1.0,
) -> GeometryFingerprint:
    spacing = spacing_mm or (1.0,) * len(shape)
    sizes = tuple(
        a_summary(size, maximum=high) for size, high in zip(shape, largest or shape, strict=True)
    )
    return GeometryFingerprint(
        shape=sizes,
        shape_after_crop=sizes,
        spacing_mm=tuple(
            a_summary(value, percentile_10=low)
            for value, low in zip(spacing, finest_mm or spacing, strict=True)
        ),
        extent_after_crop_mm=tuple(
            a_summary(size * value, maximum=high * value)
            for size, high, value in zip(shape, largest or shape, spacing, strict=True)
        ),
        relative_size_after_crop=a_summary(relative_size),
    )


def a_fingerprint(**changes: Any) -> Fingerprint:
    """100 images of 128 x 128 of 50 patients, one rater, one lesion of 11.33 pixels each."""
    values: dict[str, Any] = {
        "dataset_name": "Dataset001_A",
        "source": "0123456789abcdef",
        "num_cases": 100,
        "num_patients": 50,
        "dimensions": 2,
        "slice_axis": None,
        "geometry": a_geometry(),
        "channels": (a_channel(),),
        "labels": {"lesion": a_label()},
        "raters": a_rater_fingerprint(1),
        "trivial_answers": TrivialAnswers(
            num_samples=16,
            always_empty=0.8,
            oracle_majority=0.27,
            centre_blob=1.2,
            oracle_redraw=0.025,
        ),
        "image_labels": None,
    }
    return Fingerprint(**(values | changes))
