"""What is known about a preprocessed case: how it came from its files, and the way back."""

import base64
import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.geometry import Box

LARGEST_INTENSITY = 1e18
"""What is larger, such as a padding of -3.4e38, has a square that 32 bits cannot hold."""


@dataclass(frozen=True, kw_only=True)
class IntensityNormalization:
    """How one channel of a case is normalised: (clip(x, lower, upper) - shift) / scale.

    All in units of the source; `lower` and `upper` are None where nothing is clipped.
    """

    lower: float | None = None
    upper: float | None = None
    shift: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale should be positive, got {self.scale}")

    def apply(self, channel: np.ndarray, *, out: np.ndarray) -> None:
        """Write the normalised `channel` into `out`, float32 of the same shape; they may be one."""
        if self.lower is None and self.upper is None:
            np.subtract(channel, np.float32(self.shift), out=out, dtype=np.float32)
        else:
            # clipping in float32: bounds need not be representable in the source's integers
            np.copyto(out, channel, casting="unsafe")
            np.clip(out, self.lower, self.upper, out=out)
            out -= np.float32(self.shift)
        if self.scale != 1:
            out *= np.float32(1 / self.scale)


@dataclass(frozen=True, kw_only=True)
class FilePlace:
    """What `ImageGeometry` says about a file besides shape and spacing.

    Attributes:
        nifti_header: in base 64.
    """

    has_spacing: bool
    origin: tuple[float, ...] | None = None
    direction: tuple[float, ...] | None = None
    nifti_header: str | None = None

    @classmethod
    def of(cls, geometry: ImageGeometry) -> "FilePlace":
        """Return what is to be kept of the geometry of a file."""
        header = geometry.nifti_header
        return cls(
            has_spacing=geometry.has_spacing,
            origin=geometry.origin,
            direction=geometry.direction,
            nifti_header=None if header is None else base64.b64encode(header).decode("ascii"),
        )


@dataclass(frozen=True, kw_only=True)
class CaseProperties:
    """One preprocessed case; file order is the array order of the reader, (z, y, x) or (y, x).

    The stored grid comes from the original one by: transposing, cropping to `crop_box`, resampling
    from `cropped_shape` to `shape`.

    Attributes:
        patient: the case itself where the dataset names no patients.
        raters: names of the raters whose label maps exist, sorted; whether these were preprocessed
            is known by the store of labels alone.
        original_shape, original_spacing_mm: in file order.
        transpose_forward: stored axis i is file axis transpose_forward[i].
        crop_box: in the transposed original grid.
        shape, spacing_mm: of the stored grid.
        nearest_axis: stored axis that was resampled by nearest neighbour, apart from the others;
            None where there was none.
        normalization: one per channel; already applied where `is_normalized`.
        is_normalized: the stored image is normalised float32; otherwise it has the source's values.
        image_labels: 0 or 1 per declared image-level label; None where the case has none.
        slice_image_labels: the same for each slice along stored axis 0, None for slices without;
            empty where no slice has any.
        place: where the files' grid lies; None in stores of earlier versions, and for arrays.
    """

    case: str
    patient: str
    raters: tuple[str, ...] = ()
    original_shape: tuple[int, ...]
    original_spacing_mm: tuple[float, ...]
    transpose_forward: tuple[int, ...]
    crop_box: Box
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    nearest_axis: int | None = None
    normalization: tuple[IntensityNormalization, ...]
    is_normalized: bool
    image_labels: tuple[int, ...] | None = None
    slice_image_labels: tuple[tuple[int, ...] | None, ...] = ()
    place: FilePlace | None = None

    def __post_init__(self) -> None:
        axes = self.transpose_forward
        per_axis = (
            self.original_shape,
            self.original_spacing_mm,
            self.crop_box.start,
            self.crop_box.stop,
            self.shape,
            self.spacing_mm,
        )
        if sorted(axes) != list(range(len(axes))) or len(axes) not in (2, 3):
            raise ValueError(f"transpose_forward should name 2 or 3 axes, each once, got {axes}")
        if any(len(values) != len(axes) for values in per_axis):
            raise ValueError(f"shapes, spacings and crop_box should have {len(axes)} values each")
        sizes = (*self.original_shape, *self.cropped_shape, *self.shape)
        if any(size < 1 for size in (*sizes, 1 + min(self.crop_box.start))):
            raise ValueError("shapes should be positive, and crop_box lie inside of the image")
        if not all(0 < mm < math.inf for mm in (*self.original_spacing_mm, *self.spacing_mm)):
            raise ValueError("spacings should be positive")
        if self.nearest_axis is not None and not 0 <= self.nearest_axis < len(axes):
            raise ValueError(f"nearest_axis should be below {len(axes)}, got {self.nearest_axis}")
        if len(self.slice_image_labels) > self.shape[0]:
            raise ValueError(f"slice_image_labels should be of {self.shape[0]} slices at most")

    @property
    def cropped_shape(self) -> tuple[int, ...]:
        """The shape after transposing and cropping, before resampling."""
        return self.crop_box.shape

    @property
    def original_geometry(self) -> ImageGeometry:
        """The geometry of the files, as far as it is known."""
        shape, spacing_mm = self.original_shape, self.original_spacing_mm
        if self.place is None:
            return ImageGeometry(shape=shape, spacing_mm=spacing_mm)
        header = self.place.nifti_header
        return ImageGeometry(
            shape=shape,
            spacing_mm=spacing_mm,
            has_spacing=self.place.has_spacing,
            origin=self.place.origin,
            direction=self.place.direction,
            nifti_header=None if header is None else base64.b64decode(header),
        )

    @property
    def is_on_original_grid(self) -> bool:
        """Whether a voxel of the stored grid is the same voxel of the file."""
        is_in_file_order = self.transpose_forward == tuple(range(len(self.transpose_forward)))
        return is_in_file_order and self.shape == self.cropped_shape == self.original_shape

    def staying_on_stored_grid(self) -> "CaseProperties":
        """Return the case as if its file had been on the stored grid."""
        return dataclasses.replace(
            self,
            original_shape=self.shape,
            original_spacing_mm=self.spacing_mm,
            transpose_forward=tuple(range(len(self.shape))),
            crop_box=Box(start=(0,) * len(self.shape), stop=self.shape),
            nearest_axis=None,
        )

    def tagged_images(self, dimensions: int) -> tuple[int | None, ...]:
        """Return the images of this case, of so many dimensions, that have image-level labels.

        Of a volume cut into slices: the slices that were labelled by themselves, or all of them
        where only the case was.

        Returns:
            Slices along stored axis 0; None for the whole case; empty where nothing is known.
        """
        is_tagged = self.image_labels is not None
        if dimensions == len(self.shape):
            return (None,) if is_tagged else ()
        slices = tuple(i for i, tags in enumerate(self.slice_image_labels) if tags is not None)
        return slices or (tuple(range(self.shape[0])) if is_tagged else ())

    def tags_of(self, slice_index: int | None) -> tuple[int, ...] | None:
        """Return 0 or 1 per image-level label of one of `tagged_images`.

        A slice has the labels of its case where none of the case's slices has its own.
        """
        has_own = any(tags is not None for tags in self.slice_image_labels)
        if slice_index is None or not has_own:
            return self.image_labels
        return self.slice_image_labels[slice_index]

    def normalized(self, image: np.ndarray) -> np.ndarray:
        """Return a patch of the stored image, (channel, *patch), as normalised float32.

        A new array, except where the image was stored normalised.
        """
        if self.is_normalized:
            return image
        result = np.empty(image.shape, np.float32)
        for channel, target, rule in zip(image, result, self.normalization, strict=True):
            rule.apply(channel, out=target)
        return result
