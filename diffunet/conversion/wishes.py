"""What a user may ask of a conversion, beside the download itself."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from diffunet.conversion.tag_cells import MEANINGS, Meaning
from diffunet.errors import UsageError
from diffunet.ranges import Range, check_ranges

MIN_SHARE = Range(0, 1, is_below=True)
"""Of a slice, that a label has to exceed for its image-level label to be 1."""

DEFAULT_MIN_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """None, or empty, for what was not asked. Each format knows some of them (`Format.wishes`).

    Attributes:
        channels: which images of a case to take, by the names that the download uses.
        labels: which structures to keep, by the names that the download uses.
        tags: add image-level labels, of each axial slice of a volume.
        slices: write each axial slice as an image of its own, with image-level labels.
        min_share: a label is 1 where more than this share of a slice shows it.
        task: which of several tasks of a download.
        values: in the masks, of the background and of each of `labels`: ("255", "128", "0");
            several of one label are joined by commas.
        images: how the paths of images end, a pattern for each channel: ("{case}/t1.nii.gz",).
        masks: how the paths of masks end, a pattern for each rater, or one with {rater}.
        image_labels: a table of which labels each image shows.
        blank, uncertain: what an empty cell of that table means, and -1.
        test_list: a text file with the names of the images for testing.
    """

    channels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    tags: bool = False
    slices: bool = False
    min_share: Annotated[float, MIN_SHARE] | None = None
    task: str | None = None
    values: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    image_labels: Path | None = None
    blank: Meaning | None = None
    uncertain: Meaning | None = None
    test_list: Path | None = None

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.min_share is not None and not self.tags and not self.slices:
            raise ValueError("--min_share works only with --tags or --slices; add one of them")
        if self.values and not self.labels:
            raise ValueError(
                "--values says which value of a mask is which of --labels; name the labels too"
            )
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"--labels: expected each name once, got {', '.join(self.labels)}")
        self._check_cells()

    def _check_cells(self) -> None:
        for name in ("blank", "uncertain"):
            value = getattr(self, name)
            if value is not None and value not in MEANINGS:
                raise ValueError(f"--{name}: expected {' or '.join(MEANINGS)}, got {value!r}")
            if value is not None and self.image_labels is None:
                raise ValueError(f"--{name} says what cells of --image_labels mean; name the table")

    @property
    def share(self) -> float:
        """`min_share`, or its default."""
        return DEFAULT_MIN_SHARE if self.min_share is None else self.min_share

    def given(self) -> tuple[str, ...]:
        """Return the names of what was asked for."""
        return tuple(each.name for each in fields(self) if getattr(self, each.name) != each.default)

    def require_known(self, known: tuple[str, ...], *, format_name: str) -> None:
        """Check that a format knows all that is asked for.

        Raises:
            UsageError: it does not.
        """
        if unknown := [name for name in self.given() if name not in known]:
            options = ", ".join(f"--{name}" for name in known) or "none"
            raise UsageError(
                f"--{unknown[0]} has no meaning for the format '{format_name}'; its options: "
                f"{options}"
            )


def wishes_from(**given: Any) -> Wishes:
    """Return what a user asks for.

    Raises:
        UsageError: a value is out of its range.
    """
    try:
        return Wishes(**given)
    except ValueError as cause:
        raise UsageError(str(cause)) from None


def chosen(
    asked: tuple[str, ...], known: tuple[str, ...], *, what: str, default: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return the names that were asked for, in the order of `known`; `default`, or all, if none.

    Case does not count.

    Args:
        what: of the option, such as "channels".

    Raises:
        UsageError: a name is not known.
    """
    wanted = {name.lower() for name in asked or default or known}
    if unknown := sorted(wanted - {name.lower() for name in known}):
        raise UsageError(
            f"--{what}: expected some of {', '.join(known)}, got '{unknown[0]}'; name those to take"
        )
    return tuple(name for name in known if name.lower() in wanted)
