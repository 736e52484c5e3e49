"""Tables of the labels' names and colours, which viewers load beside masks.

ITK-SNAP and plugins of napari read `labels.txt`, 3D Slicer `labels.ctbl`.
"""

import re
from pathlib import Path

from diffunet.jsonio import write_text
from diffunet.label_colours import label_colours
from diffunet.labels import LabelScheme

ITK_SNAP_FILE = "labels.txt"
SLICER_FILE = "labels.ctbl"

_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # would end a line, or vanish


def write_label_tables(folder: Path, labels: LabelScheme) -> None:
    """Write both tables of what the integers of predicted masks mean.

    Raises:
        WriteError: they cannot be written.
    """
    written = labels.written
    colours = label_colours(len(written))
    rows = sorted(zip(written, written.values(), colours, strict=True))
    write_text(folder / ITK_SNAP_FILE, _itk_snap(rows))
    write_text(folder / SLICER_FILE, _slicer(rows))


_Rows = list[tuple[int, str, tuple[int, int, int]]]


def _itk_snap(rows: _Rows) -> str:
    """Return index, red, green, blue, opacity (0 to 1), visibility in slices and in 3D, name.

    A name stands between quotation marks, and so holds none.
    """
    lines = ["# ITK-SnAP Label Description File", "# IDX R G B A VIS MSH LABEL"]
    lines.append('0 0 0 0 0 0 0 "background"')
    for value, name, (red, green, blue) in rows:
        shown = _NOT_SHOWN.sub(" ", name).replace('"', "'")
        lines.append(f'{value} {red} {green} {blue} 1 1 1 "{shown}"')
    return "\n".join(lines) + "\n"


def _slicer(rows: _Rows) -> str:
    """Return index, name, red, green, blue, opacity (0 to 255); white space divides the columns."""
    lines = [f"# Color table file {SLICER_FILE}", f"# {len(rows) + 1} values"]
    lines.append("0 background 0 0 0 0")
    for value, name, (red, green, blue) in rows:
        shown = "_".join(_NOT_SHOWN.sub(" ", name).replace('"', "'").split())
        lines.append(f"{value} {shown} {red} {green} {blue} 255")
    return "\n".join(lines) + "\n"
