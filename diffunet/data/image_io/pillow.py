"""PNG and BMP: two-dimensional, grey or RGB, no spacing; JPEG, GIF and PPM are read alike."""

import contextlib
import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffunet.data.image_io.bounds import require_room
from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.errors import DatasetError
from diffunet.jsonio import atomic_file
from diffunet.limits import max_image_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

FILE_ENDINGS = (".png", ".bmp")
_LOSSY = ("JPEG", "MPO", "WEBP")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR = 2  # bit of the header's colour type: red, green and blue samples
_SAMPLE_BYTES = {"I": 4, "F": 4, "I;16": 2}
_PNG_PALETTE = 1  # bit of the header's colour type: indices into a palette
_PPM_COLOUR = re.compile(rb"P[36]\s+(?:#[^\n]*\s+)*[0-9]+\s+[0-9]+\s+([0-9]+)\s")
_HEADER_BYTES = 512
_OTHER_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV")
_WITH_ALPHA = {"RGBA": "RGB", "LA": "L"}
_WITH_PREVIEW = "MPO"  # a JPEG of a telephone: the photograph is the first of its images


def read(path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]:
    """Return (channel, y, x), 1 or 3 channels; of a palette image the indices where `is_label`."""
    from PIL import Image

    content = content_of(path)
    with without_pixel_limit(), Image.open(io.BytesIO(content)) as file:
        frames = getattr(file, "n_frames", 1)
        if frames > 1 and file.format != _WITH_PREVIEW:
            raise DatasetError(
                f"'{path}': expected one image, found {frames} frames; save each in its own file"
            )
        samples = len(file.getbands()) * _SAMPLE_BYTES.get(file.mode, 1)
        require_room(path, shape=file.size, num_bytes=samples * file.width * file.height)
        doubts = _format_doubts(path, file.format or "", is_label=is_label)
        image = file.convert("RGB") if file.mode == "P" and not is_label else file
        image = _without_opaque_alpha(image)
        if image.mode not in ("1", "L", "P", "I", "I;16", "RGB"):
            is_other = image.mode in _OTHER_COLOURS
            remedy = "convert its colours" if is_other else "save it without transparency"
            raise DatasetError(
                f"'{path}': expected a grey or RGB image, found the mode {image.mode}; "
                f"{remedy}, as 8 or 16 bit grey or 8 bit RGB"
            )
        array = np.array(image)
    array = _stored_values(path, array, header=content[:_HEADER_BYTES])
    channels = np.moveaxis(array, -1, 0) if array.ndim == 3 else array[None]
    shape = (int(channels.shape[1]), int(channels.shape[2]))
    return np.ascontiguousarray(channels), ImageGeometry(
        shape=shape, spacing_mm=(1.0, 1.0), has_spacing=False, doubts=doubts
    )


def _without_opaque_alpha(image: "Image") -> "Image":
    """Return grey or RGB where the alpha channel says of no pixel that anything shines through."""
    if image.mode not in _WITH_ALPHA or image.getchannel("A").getextrema() != (255, 255):
        return image
    return image.convert(_WITH_ALPHA[image.mode])


def _format_doubts(path: Path, content: str, *, is_label: bool) -> tuple[str, ...]:
    """Return what is doubtful about an image whose name tells of no loss and whose content does.

    Raises:
        DatasetError: it is a label map: no value in it can be trusted.
    """
    if content not in _LOSSY or not path.name.lower().endswith(FILE_ENDINGS):
        return ()
    if is_label:
        raise DatasetError(
            f"'{path}': expected a label map without loss, found {content} under this name, whose "
            "values blur at edges; write the label map again from its source"
        )
    return (f"its content is {content}, which altered the values: take the originals",)


def content_of(path: Path) -> bytes:
    """Return the bytes of a file at once (many small reads are slow), unpacked if it is a .gz."""
    if not path.name.lower().endswith(".gz"):
        return path.read_bytes()
    most = max_image_bytes() + _HEADER_BYTES
    with gzip.open(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        require_room(path, shape=(len(content),), num_bytes=len(content))
    return content


def write(path: Path, array: np.ndarray, geometry: ImageGeometry) -> None:
    """Write (y, x), uint8 or (PNG only) uint16."""
    kept = (np.uint8,) if path.name.lower().endswith(".bmp") else (np.uint8, np.uint16)
    if array.ndim != 2 or array.dtype not in kept:
        raise ValueError(
            f"'{path}': this format holds two-dimensional images of 8 bits (PNG also 16), "
            f"got {array.dtype} of shape {array.shape}"
        )
    _save(path, array)


def write_colours(path: Path, image: np.ndarray) -> None:
    """Write (channel, y, x), three channels of uint8: red, green, blue."""
    if len(image) != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"'{path}': an image of colours has three channels of 8 bits, got {image.dtype} of "
            f"shape {image.shape}"
        )
    _save(path, np.ascontiguousarray(np.moveaxis(image, 0, -1)))


def _save(path: Path, array: np.ndarray) -> None:
    from PIL import Image

    file_format = "BMP" if path.name.lower().endswith(".bmp") else "PNG"
    with atomic_file(path) as file:
        Image.fromarray(array).save(file, format=file_format)


@contextlib.contextmanager
def without_pixel_limit() -> Iterator[None]:
    """Let Pillow open what `require_room` allows; its own limit is one of pixels."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _stored_values(path: Path, array: np.ndarray, *, header: bytes) -> np.ndarray:
    """Undo what Pillow does to the values of a PNG or PPM, or refuse where it lost some."""
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype == np.int32:
        array = array.astype(np.uint16)  # of PGM, and of PNG in older Pillow
    if (colours := _PPM_COLOUR.match(header)) and int(colours[1]) > 255:
        raise DatasetError(
            f"'{path}': expected RGB of 8 bits, found values up to {colours[1].decode()}, of which "
            "only 8 bits could be read; save one grey 16 bit file per channel"
        )
    if not header.startswith(_PNG_SIGNATURE):
        return array
    bits, colour_type = header[24], header[25]
    if bits == 16 and colour_type & _PNG_COLOUR:
        raise DatasetError(
            f"'{path}': expected a grey or 8 bit RGB image, found 16 bit RGB, of which only 8 "
            "could be read; save one grey 16 bit file per channel (_0000, _0001, _0002)"
        )
    if bits in (2, 4) and not colour_type & _PNG_PALETTE:
        return array // (255 // (2**bits - 1))  # Pillow stretches them over 0 to 255
    return array
