"""How many voxels a file declares to have, without reading them."""

import math
from pathlib import Path

from diffunet.data.image_io import nifti


def declared_voxels(path: Path) -> int:
    """Return the number of voxels that the header of an image file declares; 0 where it is damaged.

    Whoever reads the file learns what is wrong with it.
    """
    try:
        return math.prod(_declared_shape(path))
    except Exception:  # what the libraries raise for a damaged file is not documented
        return 0


def _declared_shape(path: Path) -> tuple[int, ...]:
    name = path.name.lower()
    if name.endswith(nifti.FILE_ENDINGS):
        return nifti.declared_shape(path)
    if name.endswith((".png", ".bmp")):
        from PIL import Image

        with Image.open(path) as image:
            return image.size
    if name.endswith((".tif", ".tiff")):
        import tifffile

        with tifffile.TiffFile(path) as file:
            return file.series[0].shape
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader.GetSize()
