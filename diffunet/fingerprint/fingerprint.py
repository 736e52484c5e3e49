"""The measurements of a dataset from which planning chooses: `dataset_fingerprint.json`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffunet.errors import DatasetError
from diffunet.fingerprint.summary import Summary
from diffunet.jsonio import read_json, write_json
from diffunet.records import record_from_json

FORMAT_VERSION = 3

WINDOWS = (32, 64, 128, 256, 512)
"""Edges in voxels of the windows that stand for training patches, whose size is chosen later."""
WHOLE = "whole"


@dataclass(frozen=True, kw_only=True)
class GeometryFingerprint:
    """Grids of the training cases; one summary per axis, in file (array) order.

    Attributes:
        shape, shape_after_crop: voxels; the crop is the box of what is not zero.
        spacing_mm: 1.0 for natural images.
        extent_after_crop_mm: shape after the crop times spacing.
        relative_size_after_crop: voxels left by the crop, as a share.
        orientations: of volumes, such as "LPS": to where x, y and z of the file rise; sorted.
        has_spacing: whether any file told its spacing; if none did, lengths and volumes that are
            said to be in mm are in voxels.
    """

    shape: tuple[Summary, ...]
    shape_after_crop: tuple[Summary, ...]
    spacing_mm: tuple[Summary, ...]
    extent_after_crop_mm: tuple[Summary, ...]
    relative_size_after_crop: Summary
    orientations: tuple[str, ...] = ()
    has_spacing: bool = True


@dataclass(frozen=True, kw_only=True)
class IntensityFingerprint:
    """Values of one channel inside the foreground, every case counting alike."""

    mean: float
    std: float
    minimum: float
    percentile_00_5: float
    median: float
    percentile_99_5: float
    maximum: float


@dataclass(frozen=True, kw_only=True)
class ChannelFingerprint:
    """One channel.

    Attributes:
        intensities: of the foreground; None where no case has any.
        foreground: voxels that some rater marked, or, if masks may not be read or mark nothing, the
            voxels that are not zero.
        case_minimum, case_maximum: of whole images.
        num_constant: images with a single value (black ones, say).
        num_noise: images whose neighbouring voxels are hardly correlated.
        num_other_unit: images whose intensities lie far from those of the others, by the median of
            the foreground or the range of the image, as if counted in another unit.
        constant_examples, noise_examples, other_unit_examples: some cases of these kinds.
    """

    name: str
    intensities: IntensityFingerprint | None
    foreground: Literal["labels", "not zero"]
    case_minimum: Summary
    case_maximum: Summary
    num_constant: int
    num_noise: int
    constant_examples: tuple[str, ...]
    noise_examples: tuple[str, ...]
    num_other_unit: int = 0
    other_unit_examples: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ObjectFingerprint:
    """Connected components of the masks of one label, over all cases and raters.

    Attributes:
        per_mask: number of objects in masks that have any.
        voxels, volume_mm: of an object; mm^2 in two dimensions, mm^3 in three.
        diameter, diameter_mm: of the disc or ball of equal size, in voxels of equal edges, and mm.
    """

    per_mask: Summary
    voxels: Summary
    volume_mm: Summary
    diameter: Summary
    diameter_mm: Summary


@dataclass(frozen=True, kw_only=True)
class DisagreementFingerprint:
    """How pairs of raters of one case differ about one label.

    Attributes:
        iou: of all pairs; both empty is 1.
        iou_where_both_marked: of the pairs in which both raters marked something.
        share_of_equal_pairs: pairs without any difference.
        piece_voxels: connected pieces of the differences.
        largest_piece: the largest piece, in voxels, in a window of so many voxels per axis (one of
            `WINDOWS`) or in the `WHOLE` image, over the windows that hold a difference.
        largest_piece_of_slice: the same for the slices of volumes; None for images.
    """

    iou: Summary
    iou_where_both_marked: Summary | None
    share_of_equal_pairs: float
    piece_voxels: Summary | None
    largest_piece: dict[str, Summary]
    largest_piece_of_slice: dict[str, Summary] | None

    def __post_init__(self) -> None:
        known = [*map(str, WINDOWS), WHOLE]
        found = [*self.largest_piece, *(self.largest_piece_of_slice or ())]
        if unknown := [name for name in found if name not in known]:
            raise ValueError(f"unknown window {unknown[0]!r}; known are {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class LabelFingerprint:
    """One label; a mask is what one rater marked in one case.

    Attributes:
        foreground_fraction: of the annotated voxels, over all masks.
        share_of_empty_masks: masks that mark nothing.
        share_of_cases_without: cases in which no rater marked anything.
        objects: in the image as it is (a volume's in three dimensions); None without any.
        objects_of_slice: in the slices of volumes; None for images.
        centre_distance: see `objects.centre_distances`: 0 at the centre of the image, 1 in a
            corner; of the objects that span at most half of the image along every axis, since
            larger ones are always near its centre.
        centre_distance_mm: the same in mm.
        disagreement: None where no case has two raters.
    """

    foreground_fraction: Summary
    share_of_empty_masks: float
    share_of_cases_without: float
    objects: ObjectFingerprint | None
    objects_of_slice: ObjectFingerprint | None
    centre_distance: Summary | None
    centre_distance_mm: Summary | None
    disagreement: DisagreementFingerprint | None


@dataclass(frozen=True, kw_only=True)
class RaterHabits:
    """Whether raters of one number mark more, or less, than others throughout.

    Attributes:
        num_patients: in which all raters drew something.
        mean_ranks: by the rater's name: 1 if he marks least in every patient.
        p_value: of Friedman's test that the numbers mean nothing. A small one is what people with
            habits leave, but also files that are numbered by their content, the largest first, say.
    """

    num_patients: int
    mean_ranks: dict[str, float]
    p_value: float


@dataclass(frozen=True, kw_only=True)
class RaterAgreement:
    """How much a rater's masks overlap with the others', where both marked something.

    Attributes:
        num_pairs: of his masks and another's, over all cases and labels.
        iou: mean over these pairs.
        iou_of_others: mean over all pairs without him; None where there are none.
    """

    num_pairs: int
    iou: float
    iou_of_others: float | None


@dataclass(frozen=True, kw_only=True)
class RaterFingerprint:
    """How many raters were asked, and how often they saw nothing (marked no label at all).

    Attributes:
        per_case: number of raters.
        share_of_empty_masks: over all raters and cases.
        share_of_empty_masks_by_rater: by the rater's name.
        share_of_cases_partly_empty: cases in which some raters, but not all, saw nothing.
        habits: None of one rater, or of few patients.
        agreement: by the rater's name; empty in files of earlier versions.
    """

    per_case: Summary
    share_of_empty_masks: float
    share_of_empty_masks_by_rater: dict[str, float]
    share_of_cases_partly_empty: float
    habits: RaterHabits | None = None
    agreement: dict[str, RaterAgreement] = field(default_factory=dict[str, RaterAgreement])


@dataclass(frozen=True, kw_only=True)
class TrivialAnswers:
    """Mean GED (1 - IoU, all pairs, per label then the mean) of answers that look at no image.

    Attributes:
        always_empty: the empty mask.
        oracle_majority: the mask of more than half of the raters.
        centre_blob: a disc or ball at the centre of the image.
        oracle_redraw: expected for `num_samples` masks drawn anew from the raters.
    """

    num_samples: int
    always_empty: float
    oracle_majority: float
    centre_blob: float
    oracle_redraw: float


@dataclass(frozen=True, kw_only=True)
class ImageLabelFingerprint:
    """One image-level label.

    Attributes:
        num_images: slices, or whole cases, of which it is known.
        num_slices: of them, slices of volumes.
        prevalence: share that is positive.
        num_positive_patients, num_negative_patients: with at least one image of the kind.
        position_auc: of guessing by the slice's position alone, from other patients' prevalence at
            that position; None where a label belongs to a volume or one class is missing.
        position_auc_seen: the same from all patients, including the guessed one (optimistic).
        content_auc: of guessing by how much of the image is brighter than its mean; below 0.5
            positives show less.
        left_out_share: share of the positive slices that balancing over positions hardly ever
            draws; None as for `position_auc`.
        num_whole_positives: volumes that show the label and have no rows per slice, though others
            do: each of their slices counts as positive.
    """

    num_images: int
    num_slices: int
    prevalence: float
    num_positive_patients: int
    num_negative_patients: int
    position_auc: float | None
    position_auc_seen: float | None
    content_auc: float | None
    left_out_share: float | None = None
    num_whole_positives: int = 0


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """A dataset's training cases in numbers.

    Attributes:
        source: digest of the `DatasetState` that was measured.
        dimensions: of the files: 2 for images, 3 for volumes.
        slice_axis: the file axis across which statistics "of slice" were taken; None for images.
        labels, raters, trivial_answers: None where image-level labels are declared: masks were not
            opened; also None where there are no masks.
        image_labels: None where none are declared.
        warnings: sentences that a user should read before trusting a score.
    """

    format_version: int = FORMAT_VERSION
    dataset_name: str
    source: str
    num_cases: int
    num_patients: int
    dimensions: Literal[2, 3]
    slice_axis: int | None
    geometry: GeometryFingerprint
    channels: tuple[ChannelFingerprint, ...]
    labels: dict[str, LabelFingerprint] | None
    raters: RaterFingerprint | None
    trivial_answers: TrivialAnswers | None
    image_labels: dict[str, ImageLabelFingerprint] | None
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path) -> "Fingerprint":
        """Read a fingerprint.

        Raises:
            DatasetError: missing, not JSON, an unknown or missing key, or a wrong type; with the
                full path of the field.
        """
        again = f"measure the dataset with diffunet_extract_fingerprint -d {path.parent.name}"
        if not path.is_file():
            raise DatasetError(f"there is no fingerprint '{path}'; {again}")
        content = read_json(path, DatasetError, remedy=again)
        found = content.get("format_version") if isinstance(content, dict) else None
        if found != FORMAT_VERSION:
            raise DatasetError(
                f"'{path}': format_version should be {FORMAT_VERSION}, got {found}; {again}"
            )
        return record_from_json(cls, content, where=str(path), error=DatasetError)

    def save(self, path: Path) -> None:
        """Write the fingerprint as JSON, atomically."""
        write_json(path, self)
