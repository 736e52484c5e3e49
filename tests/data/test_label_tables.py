"""Tables of names and colours, read by the rules of the viewers' formats."""

import re

import pytest

from diffunet.data.label_tables import write_label_tables
from diffunet.label_colours import label_colours
from diffunet.labels import LabelScheme

ITK_SNAP_ROW = re.compile(
    r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+([01])\s+([01])\s+"([^"]*)"'
)


def itk_snap(path) -> dict[int, tuple[str, tuple[int, ...]]]:
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        matched = ITK_SNAP_ROW.fullmatch(line)
        assert matched, line
        value, *colour, opacity, _, _, name = matched.groups()
        assert 0 <= float(opacity) <= 1
        rows[int(value)] = (name, tuple(map(int, colour)))
    return rows


def slicer(path) -> dict[int, tuple[str, tuple[int, ...]]]:
    first, second, *lines = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# Color table file")
    assert second == f"# {len(lines)} values"
    rows = {}
    for line in lines:
        value, name, red, green, blue, opacity = line.split()
        assert 0 <= int(opacity) <= 255
        rows[int(value)] = (name, tuple(map(int, (red, green, blue))))
    return rows


@pytest.mark.parametrize(
    ("name", "in_itk_snap", "in_slicer"),
    [
        ("nodule", "nodule", "nodule"),
        ("left lobe", "left lobe", "left_lobe"),
        ('the "hot" spot', "the 'hot' spot", "the_'hot'_spot"),
        ("肝 臓", "肝 臓", "肝_臓"),
        ("two\nlines\ttabs", "two lines tabs", "two_lines_tabs"),
        ("line\u2028end", "line end", "line_end"),
        ("# 7", "# 7", "#_7"),
    ],
)
def test_every_name_is_valid_in_both_formats(tmp_path, name, in_itk_snap, in_slicer):
    labels = LabelScheme(names=(name, "other"), values=((3,), (1,)))
    write_label_tables(tmp_path, labels)
    colours = label_colours(2)
    expected = {0: ("background", (0, 0, 0)), 1: ("other", colours[1])}
    assert itk_snap(tmp_path / "labels.txt") == {**expected, 3: (in_itk_snap, colours[0])}
    assert slicer(tmp_path / "labels.ctbl") == {**expected, 3: (in_slicer, colours[0])}


def test_regions_have_the_integers_that_are_written(tmp_path):
    labels = LabelScheme(
        names=("whole", "core"), values=((1, 2), (2,)), is_regions=True, class_order=(1, 2)
    )
    write_label_tables(tmp_path, labels)
    found = itk_snap(tmp_path / "labels.txt")
    assert {value: name for value, (name, _) in found.items()} == {
        0: "background",
        1: "whole",
        2: "core",
    }


def test_labels_have_different_colours():
    colours = label_colours(60)
    assert len(set(colours)) == 60
    assert all(0 <= part <= 255 for colour in colours for part in colour)
    assert colours[:3] == label_colours(3)
