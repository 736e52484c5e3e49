"""The fingerprint's warnings, which a user should read before trusting a score."""

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from diffunet.fingerprint.fingerprint import (
    ChannelFingerprint,
    Fingerprint,
    GeometryFingerprint,
    ImageLabelFingerprint,
    LabelFingerprint,
    RaterFingerprint,
    RaterHabits,
    TrivialAnswers,
)
from diffunet.fingerprint.masks import coarse_axis

CENTRED = 0.3  # mean distance below which objects are at the centre: 0.54 would be anywhere
_CENTRED_FOREGROUND = 0.3  # share of the image above which an object is at its centre of necessity
_PREDICTABLE = 0.65  # AUC from which position or content alone is a shortcut
_INTENSITY_RATIO = 20  # of the brightest to the median image
_OF_ONE_UNIT = ("ct", "nonorm")  # names of channels whose values mean the same in every case
_FEW_RATERS = 3
_BY_CHANCE = 0.01  # p-value from which raters of one number need not be people
_FEW_PATIENTS = 20
_SIZE_RATIO = 3  # of the sides of images: augmentation scales by 2 at most
_FEW_PAIRS = 3  # of masks of one rater and another: too few to say where he marks
_ELSEWHERE = 0.25  # of the others' overlap: a rater below it marks other places
_APART = 0.05  # mean IoU of two raters who hardly mark the same places at all
_MANY_EMPTY = 0.05
_MOST_TOLD = 5  # labels that one warning names
_MANY_LEFT_OUT = 0.3
_FEW_LABELLED_IMAGES = 20  # of one kind: a fifth of them, for validation, says next to nothing
_COARSER = 2  # times the first axis' spacing: slices were taken across the other axis
_FEW_LABELLED_PATIENTS = 5  # of one kind: some of the five folds then have none to validate on


def with_warnings(fingerprint: Fingerprint) -> Fingerprint:
    """Return the fingerprint with its warnings."""
    return dataclasses.replace(fingerprint, warnings=tuple(_warnings(fingerprint)))


def is_centred(label: LabelFingerprint) -> bool:
    """Whether objects, though small, lie at the centre of the images."""
    if label.centre_distance is None:
        return False
    return (
        label.centre_distance.mean < CENTRED
        and label.foreground_fraction.mean < _CENTRED_FOREGROUND
    )


def seem_to_be_people(habits: RaterHabits) -> bool:
    """Whether raters of one number differ from the others throughout, as people with habits do."""
    return habits.p_value < _BY_CHANCE


def is_predicted_by_position(label: ImageLabelFingerprint) -> bool:
    """Whether a slice's position tells more about an image-level label than it should."""
    return label.position_auc is not None and label.position_auc > _PREDICTABLE


def _warnings(fingerprint: Fingerprint) -> Iterator[str]:
    if fingerprint.num_patients < _FEW_PATIENTS:
        patients = "patient" if fingerprint.num_patients == 1 else "patients"
        yield (
            f"Only {fingerprint.num_patients} {patients}: scores of single folds will differ a "
            "lot; compare methods over all folds, with paired differences."
        )
    yield from _size_warnings(fingerprint.geometry)
    for channel in fingerprint.channels:
        yield from _channel_warnings(channel, fingerprint.num_cases)
    yield from _label_warnings(fingerprint.labels or {})
    if fingerprint.raters is not None:
        yield from _rater_warnings(fingerprint.raters)
        yield from _elsewhere_warnings(fingerprint.raters)
    if fingerprint.trivial_answers is not None and fingerprint.raters is not None:
        yield from _trivial_warnings(fingerprint.trivial_answers, fingerprint.raters)
    for name, image_label in (fingerprint.image_labels or {}).items():
        yield from _image_label_warnings(name, image_label)
    if fingerprint.image_labels is not None:
        yield from _slice_axis_warnings(fingerprint.geometry)
        yield (
            "Image-level labels are declared: no mask was opened, so the size and number of "
            "objects are unknown."
        )


def _size_warnings(geometry: GeometryFingerprint) -> Iterator[str]:
    """Yield that pictures, whose files tell no spacing, differ so much in size."""
    if geometry.has_spacing or len(geometry.shape) != 2:
        return
    rows, columns = geometry.shape
    ratio = math.sqrt(rows.maximum / rows.minimum * columns.maximum / columns.minimum)
    if ratio > _SIZE_RATIO:
        yield (
            f"Images have from {rows.minimum:g} to {rows.maximum:g} rows and from "
            f"{columns.minimum:g} to {columns.maximum:g} columns, and no file tells the size of a "
            "pixel. If larger images show the same in more pixels, as those of other cameras do, "
            f"the network sees it up to {ratio:.2g} times as large: bring images and masks to "
            "about one size first (masks by nearest neighbour)."
        )


def _channel_warnings(channel: ChannelFingerprint, num_cases: int) -> Iterator[str]:
    if channel.num_constant:
        yield (
            f"Channel '{channel.name}': {channel.num_constant} of {num_cases} images are constant "
            f"(all black, say), e.g. {_listed(channel.constant_examples)}; remove them, or a model "
            "learns that black means negative."
        )
    if channel.num_noise:
        yield (
            f"Channel '{channel.name}': {channel.num_noise} of {num_cases} images look like pure "
            "noise (neighbouring voxels hardly correlate), e.g. "
            f"{_listed(channel.noise_examples)}; remove them."
        )
    if channel.num_other_unit and channel.name.casefold() in _OF_ONE_UNIT:
        yield (
            f"Channel '{channel.name}': the intensities of {channel.num_other_unit} of {num_cases} "
            "images lie far from those of the others, e.g. "
            f"{_listed(channel.other_unit_examples)}; this channel is not "
            "normalised per case, so bring all into one unit (of a CT, "
            "Hounsfield units: air -1000, water 0; an offset of 1024 may be left in them)."
        )
    highest, typical = channel.case_maximum.maximum, channel.case_maximum.median
    if typical > 0 and highest > _INTENSITY_RATIO * typical:
        yield (
            f"Channel '{channel.name}': the maximum of an image ranges from "
            f"{channel.case_maximum.minimum:.4g} to {highest:.4g} (median {typical:.4g}); the "
            "units differ between images, so use a normalisation per case (zscore), not 'CT'."
        )


def _listed(cases: Sequence[str]) -> str:
    return ", ".join(f"'{case}'" for case in cases)


def _label_warnings(labels: Mapping[str, LabelFingerprint]) -> Iterator[str]:
    """Yield each doubt once, with all labels that it is about."""
    if never := [name for name, label in labels.items() if label.objects is None]:
        yield (
            f"{_of_labels(never)}: no rater marked it in any case; nothing can be learned about it."
        )
    marked = {name: label for name, label in labels.items() if label.objects is not None}
    distances = {
        name: label.centre_distance.mean
        for name, label in marked.items()
        if is_centred(label) and label.centre_distance is not None
    }
    if distances:
        yield (
            f"{_of_labels(distances)}: objects lie at the centre of the images (mean distance "
            f"{_range(distances.values(), '.2f')}; 0 is the centre, 1 a corner, 0.54 would be "
            "anywhere). A model may learn where objects lie instead of how they look, and fail "
            "on images that are not cut around an object; compare with the centre blob, and try "
            "random crops."
        )
    without = {
        name: label.share_of_cases_without
        for name, label in marked.items()
        if label.share_of_cases_without > _MANY_EMPTY
    }
    if without:
        yield (
            f"{_of_labels(without)}: {_range(without.values(), '.0%')} of the cases have none by "
            "any rater; there, scores count an empty answer as right."
        )


def _of_labels(names: Collection[str]) -> str:
    """Return "Label 'a'", or "Each of 3 labels ('a', 'b', 'c')"; of many only the first."""
    shown = [f"'{name}'" for name in names]
    if len(shown) == 1:
        return f"Label {shown[0]}"
    more = f" and {len(shown) - _MOST_TOLD} more" if len(shown) > _MOST_TOLD else ""
    return f"Each of {len(shown)} labels ({', '.join(shown[:_MOST_TOLD])}{more})"


def _range(values: Collection[float], form: str) -> str:
    """Return "0.15", or "0.11 to 0.28"."""
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}"


def _rater_warnings(raters: RaterFingerprint) -> Iterator[str]:
    if raters.share_of_cases_partly_empty > _MANY_EMPTY:
        yield (
            f"{raters.share_of_empty_masks:.0%} of all masks are empty, and in "
            f"{raters.share_of_cases_partly_empty:.0%} of the cases some raters saw something and "
            "others nothing. An empty mask is an answer, not a missing file: never drop these "
            "masks."
        )
    if 1 < raters.per_case.mean < _FEW_RATERS:
        yield (
            f"{raters.per_case.mean:.1f} raters per case are too few to say much about a "
            "distribution; scores of single cases are noisy, and rare opinions may be missing."
        )
    if raters.per_case.minimum != raters.per_case.maximum:
        yield (
            f"Cases have {raters.per_case.minimum:.0f} to {raters.per_case.maximum:.0f} raters: "
            "GED is not comparable between cases with different numbers of raters."
        )


def _elsewhere_warnings(raters: RaterFingerprint) -> Iterator[str]:
    """Yield raters whose masks lie where nobody else's do, as inverted or turned files do."""
    causes = "inverted, flipped, turned, or of other cases"
    sure = {name: a for name, a in raters.agreement.items() if a.num_pairs >= _FEW_PAIRS}
    odd = {
        name: each
        for name, each in sure.items()
        if each.iou_of_others is not None and each.iou < _ELSEWHERE * each.iou_of_others
    }
    for name, each in odd.items():
        yield (
            f"Rater {name} marks other places than the others: a mean IoU of {each.iou:.2f} with "
            f"them where both marked something, {each.iou_of_others:.2f} among them. Overlay the "
            f"masks and images: his files may be {causes}."
        )
    if not odd and sure and all(each.iou < _APART for each in sure.values()):
        yield (
            "Raters hardly ever mark the same places (a mean IoU below "
            f"{_APART:g} where both marked something). Overlay the masks and images: the files of "
            f"one may be {causes}."
        )


def _trivial_warnings(trivial: TrivialAnswers, raters: RaterFingerprint) -> Iterator[str]:
    if raters.per_case.mean <= 1:
        return
    yield (
        f"GED of answers that need no model: always empty {trivial.always_empty:.3f}, centre blob "
        f"{trivial.centre_blob:.3f}, the raters' majority {trivial.oracle_majority:.3f}, raters "
        f"drawn anew {trivial.oracle_redraw:.3f} (n = {trivial.num_samples}; no bound, since no "
        "model knows them); read every GED beside them."
    )


def _slice_axis_warnings(geometry: GeometryFingerprint) -> Iterator[str]:
    """Yield a warning where image-level labels seem to number slices of another axis."""
    spacing_mm = [axis.median for axis in geometry.spacing_mm]
    coarse = coarse_axis(spacing_mm)
    if len(spacing_mm) == 3 and spacing_mm[coarse] >= _COARSER * spacing_mm[0]:
        yield (
            "Slices are cut, and those of image-level labels counted, along the first axis of the "
            f"arrays (z of a NIfTI volume), where voxels measure {spacing_mm[0]:.4g} mm; they are "
            f"coarsest along axis {coarse} ({'zyx'[coarse]}), {spacing_mm[coarse]:.4g} mm. If the "
            "slices were recorded and labelled along that axis, save the volumes with it as z; "
            "otherwise the labels belong to the wrong slices."
        )


def _image_label_warnings(name: str, label: ImageLabelFingerprint) -> Iterator[str]:
    num_positive = round(label.num_images * label.prevalence)
    for kind, num_images, num_patients in (
        ("show", num_positive, label.num_positive_patients),
        ("do not show", label.num_images - num_positive, label.num_negative_patients),
    ):
        if num_images < _FEW_LABELLED_IMAGES or num_patients < _FEW_LABELLED_PATIENTS:
            yield (
                f"Image-level label '{name}': only {num_images} training images of {num_patients} "
                f"patients {kind} it (expected at least {_FEW_LABELLED_IMAGES} of "
                f"{_FEW_LABELLED_PATIENTS}); a model will learn these images instead of the "
                "finding, and folds have too few images to choose settings by. Add images of "
                "this kind."
            )
    if is_predicted_by_position(label):
        yield (
            f"Image-level label '{name}': the position of a slice alone predicts it with an AUC of "
            f"{label.position_auc:.2f} for unseen patients ({label.position_auc_seen:.2f} with the "
            "same patients); a classifier may learn the anatomy of the place instead of the "
            "finding. Compare every classifier with this number."
        )
    if label.left_out_share is not None and label.left_out_share > _MANY_LEFT_OUT:
        yield (
            f"Image-level label '{name}': {label.left_out_share:.0%} of the slices that show it "
            "lie where nearly all slices do. Training balances positions and hardly ever draws "
            "these slices, so the model learns the label from the others. If nearly all slices "
            "at a place show a label, it is better learned from masks."
        )
    if label.num_whole_positives:
        yield (
            f"Image-level label '{name}': {label.num_whole_positives} volumes that show it have "
            "one row for the whole case, though others have a row for each slice; each of their "
            "slices counts as showing it. Give rows for their slices, or leave these cases out."
        )
    if label.content_auc is not None and abs(label.content_auc - 0.5) > _PREDICTABLE - 0.5:
        yield (
            f"Image-level label '{name}': the bright share of the image alone predicts it with an "
            f"AUC of {max(label.content_auc, 1 - label.content_auc):.2f}."
        )
