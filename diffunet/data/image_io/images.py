"""Images of one or more channels, from their files and into them.

What goes wrong when a file is read is told in our words.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from diffunet.data.image_io import pillow, tiff
from diffunet.data.image_io.contents import other_content
from diffunet.data.image_io.formats import FORMATS, Reader, file_ending_of, reader_of
from diffunet.data.image_io.geometry import ImageGeometry, grid_difference, in_words
from diffunet.data.image_io.warned import collected_warnings
from diffunet.errors import DatasetError, refused_by_the_system


def read_image(
    paths: Sequence[Path], *, num_channels: int | None = None
) -> tuple[np.ndarray, ImageGeometry]:
    """Read an image: one file per channel, or a single file that holds all of them.

    Args:
        paths: in the order of the channels.
        num_channels: how many there should be; None takes any number.

    Returns:
        The array (channel, *spatial) in the files' own dtype (channels of different dtype in one
        that holds both), and the geometry of the first file.

    Raises:
        DatasetError: a file cannot be read, the files differ in shape or spacing, or the number of
            channels is not `num_channels`.
    """
    array, geometry = read_array(paths[0], is_label=False)
    if len(paths) > 1:
        channels = [array]
        for path in paths[1:]:
            channel, other = read_array(path, is_label=False)
            _require_same_grid(path, other, paths[0], geometry)
            channels.append(channel)
            moved = _moved(path, other, paths[0], geometry)
            geometry = replace(geometry, doubts=(*geometry.doubts, *other.doubts, *moved))
        for path, channel in zip(paths, channels, strict=True):
            if len(channel) != 1:
                raise DatasetError(
                    f"'{path}': expected one channel, since the case has {len(paths)} files; found "
                    f"{len(channel)}; keep either one file per channel or one file with all"
                )
        array = np.concatenate(channels)
    if num_channels == 1:
        array = without_equal_colours(array)
    if num_channels is not None:
        require_channels(array, num_channels, path=paths[0])
    return array, geometry


def require_channels(array: np.ndarray, num_channels: int, *, path: Path) -> None:
    """Check how many channels an image (channel, *spatial) has.

    Raises:
        DatasetError: not `num_channels`.
    """
    if len(array) != num_channels:
        raise DatasetError(
            f"'{path}': expected {num_channels} channel(s), from 'channel_names' of "
            f"dataset.json, found {len(array)}; {_channel_remedy(len(array), num_channels)}"
        )


def without_equal_colours(array: np.ndarray) -> np.ndarray:
    """Return one channel of a picture (channel, y, x) that was grey before it was saved as RGB."""
    is_grey = array.ndim == 3 and len(array) == 3 and (array == array[:1]).all()
    return array[:1] if is_grey else array


def write_image(path: Path, image: np.ndarray, geometry: ImageGeometry) -> None:
    """Write an image (channel, *spatial) atomically: one channel, or, in PNG and BMP, RGB.

    Raises:
        ValueError: the shape is not the geometry's, or the format cannot hold the array.
    """
    if len(image) == 1:
        write_array(path, image[0], geometry)
        return
    if file_ending_of(path) not in (".png", ".bmp"):
        raise ValueError(f"'{path}': this format holds one channel a file, got {len(image)}")
    if image.shape[1:] != geometry.shape:
        raise ValueError(f"'{path}': the image is {image.shape}, its geometry {geometry.shape}")
    pillow.write_colours(path, image)


def read_array(path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]:
    """Return (channel, *spatial) of one file, in its own dtype.

    Raises:
        DatasetError: it cannot be read, or its ending is none of `FORMATS`.
    """
    found = reader_of(path)
    if found is None:
        raise DatasetError(
            f"'{path}': expected one of {', '.join(FORMATS)}; convert the file without loss"
        )
    ending, read = found
    return read_checked(read, path, ending, is_label=is_label)


def write_array(path: Path, array: np.ndarray, geometry: ImageGeometry) -> None:
    """Write (*spatial) atomically as it is.

    Raises:
        ValueError: the shape is not the geometry's, or the format cannot hold the array.
    """
    if array.shape != geometry.shape:
        raise ValueError(f"'{path}': the array is {array.shape}, its geometry {geometry.shape}")
    ending = file_ending_of(path)
    if ending is None:
        raise ValueError(f"'{path}' should end in one of {', '.join(FORMATS)}")
    FORMATS[ending].write(path, np.ascontiguousarray(array), geometry)
    if ending in tiff.FILE_ENDINGS:
        tiff.write_spacing(path, geometry)


def read_checked(
    read: Reader, path: Path, ending: str, *, is_label: bool
) -> tuple[np.ndarray, ImageGeometry]:
    """Return what `read` makes of a file, with the doubts about it.

    Args:
        ending: what the file should be, for messages.

    Raises:
        DatasetError: whatever is wrong: `read` fails, or what it returns are no voxels.
    """
    if path.exists() and not path.is_file():  # to open a pipe would wait for ever
        raise DatasetError(
            f"'{path}': expected a {ending} file, found {'a folder' if path.is_dir() else 'a pipe'}"
            " of this name; remove or rename it"
        )
    try:
        with collected_warnings() as said:
            array, geometry = read(path, is_label=is_label)
    except DatasetError:
        raise
    except Exception as cause:  # what the libraries raise for a damaged file is not documented
        raise DatasetError(reading_problem(path, ending, cause)) from cause
    if array.size == 0:
        raise DatasetError(
            f"'{path}': expected voxels, found the shape {geometry.shape}; export the file again"
        )
    if not (array.dtype == bool or np.issubdtype(array.dtype, np.number)) or np.issubdtype(
        array.dtype, np.complexfloating
    ):
        raise DatasetError(
            f"'{path}': expected integers or real numbers, found {array.dtype}; save the magnitude"
        )
    if not all(np.isfinite(size) and size > 0 for size in geometry.spacing_mm):
        raise DatasetError(
            f"'{path}': expected a positive spacing, found {in_words(geometry.spacing_mm)} mm; "
            "correct the header"
        )
    doubts = tuple(f"'{path.name}': {doubt}" for doubt in (*geometry.doubts, *said))
    return array, replace(geometry, doubts=doubts)


def reading_problem(path: Path, ending: str, cause: Exception) -> str:
    """Return in our words why a file that should be of an ending could not be read."""
    try:
        is_empty = path.stat().st_size == 0
    except OSError:
        return f"'{path}': expected a {ending} file, found none (a link to nothing?); add the file"
    if is_empty:
        return f"'{path}': expected a {ending} file, found an empty one (0 bytes); copy it again"
    failures = (cause, _failure_to_open(path))  # libraries do not always say what was refused
    if any(isinstance(failure, PermissionError) for failure in failures):
        return f"'{path}': expected a readable file, found no permission; allow reading (chmod +r)"
    for failure in failures:
        if failure is not None and (said := refused_by_the_system(failure, path=path)):
            return said
    if (other := other_content(path, ending)) is not None:
        return f"'{path}': expected a {ending} file, found {other[0]} under this name; {other[1]}"
    reason = " ".join(str(cause).split())[-200:]
    return (
        f"'{path}': expected a {ending} file, found one that cannot be read "
        f"({type(cause).__name__}: {reason}); it may be truncated or of another format: copy or "
        "export it again"
    )


def _failure_to_open(path: Path) -> OSError | None:
    try:
        path.open("rb").close()
    except OSError as failure:
        return failure
    return None


def _require_same_grid(
    path: Path, geometry: ImageGeometry, first_path: Path, first: ImageGeometry
) -> None:
    found = grid_difference(geometry, first, attributes=("shape", "spacing"))
    if found is not None:
        raise DatasetError(
            f"'{path}': expected the {found.what} {found.expected} of '{first_path.name}', found "
            f"{found.found}; resample the channels to one grid or correct the header"
        )


def _moved(
    path: Path, geometry: ImageGeometry, first_path: Path, first: ImageGeometry
) -> list[str]:
    """Return the doubts about a channel that lies elsewhere than the first one."""
    differences = (
        grid_difference(geometry, first, attributes=(name,)) for name in ("origin", "direction")
    )
    return [
        f"'{path.name}' has the {doubt.what} {doubt.found}, '{first_path.name}' {doubt.expected}; "
        "voxels are matched by index: overlay both to check"
        for doubt in differences
        if doubt is not None
    ]


def _channel_remedy(found: int, expected: int) -> str:
    if found == 3 and expected == 1:
        return (
            'for colour images name three channels ({"0": "R", "1": "G", "2": "B"}), '
            "or save the images as grey"
        )
    if found == 1 and expected == 3:
        return "save the image as RGB, add _0001 and _0002, or name one channel"
    if found == expected + 1 and found in (2, 4):
        return (
            "if the last one is transparency (alpha), save the images without it; otherwise "
            "correct 'channel_names'"
        )
    return "add the missing channels or correct 'channel_names'"
