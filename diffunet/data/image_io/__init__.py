"""Image files: arrays in, arrays out; the only place that knows how a file orders its axes.

Images are (channel, *spatial), label maps (*spatial), with spatial (y, x) or (z, y, x).
"""

from diffunet.data.image_io.formats import (
    LOSSY_FILE_ENDINGS,
    META_HEADER_ENDING,
    file_ending_of,
    files_of_image,
    map_file_ending,
    require_library,
    supported_file_endings,
)
from diffunet.data.image_io.geometry import (
    GridDifference,
    ImageGeometry,
    grid_difference,
    turned_axes,
)
from diffunet.data.image_io.images import read_image, write_image
from diffunet.data.image_io.inputs import is_photograph, read_input, takes_photographs
from diffunet.data.image_io.label_maps import read_label_map, write_label_map
from diffunet.data.image_io.maps import MapScale, read_map, write_map, write_signed_map
from diffunet.data.image_io.stacks import (
    STACK_FILE_ENDINGS,
    LabelMapReader,
    StackWriter,
    StoredMap,
    stack_size,
)
from diffunet.data.image_io.tiff import FILE_ENDINGS as TIFF_FILE_ENDINGS

__all__ = [
    "LOSSY_FILE_ENDINGS",
    "META_HEADER_ENDING",
    "STACK_FILE_ENDINGS",
    "TIFF_FILE_ENDINGS",
    "GridDifference",
    "ImageGeometry",
    "LabelMapReader",
    "MapScale",
    "StackWriter",
    "StoredMap",
    "file_ending_of",
    "files_of_image",
    "grid_difference",
    "is_photograph",
    "map_file_ending",
    "read_image",
    "read_input",
    "read_label_map",
    "read_map",
    "require_library",
    "stack_size",
    "supported_file_endings",
    "takes_photographs",
    "turned_axes",
    "write_image",
    "write_label_map",
    "write_map",
    "write_signed_map",
]
