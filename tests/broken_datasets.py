"""A table of everything that users get wrong in a raw dataset, and what they must be told."""

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import tifffile
from PIL import Image

from tests.data.tiny_datasets import (
    SHAPE_2D,
    SHAPE_3D,
    SPACING_MM,
    VALID_DATASETS,
    edit_json,
    image_2d,
    image_3d,
    mask_2d,
    mask_3d,
    write_csv,
    write_json,
    write_png,
    write_volume,
)

Damage = Callable[[Path], None]


@dataclass(frozen=True)
class BrokenDataset:
    """A valid dataset, what is done to it, and what one message must hold.

    Attributes:
        valid: a key of `VALID_DATASETS`.
        fragments: case, expected, found and remedy, as far as each applies.
    """

    name: str
    valid: str
    damage: Damage
    fragments: tuple[str, ...]

    def create(self, folder: Path) -> None:
        VALID_DATASETS[self.valid](folder)
        self.damage(folder)


def _remove_all(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _edit(*, without: tuple[str, ...] = (), **changes: object) -> Damage:
    return lambda folder: edit_json(folder / "dataset.json", without=without, **changes)


def _text(name: str, content: str | bytes) -> Damage:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data) and None


def _json(name: str, content: object) -> Damage:
    return lambda folder: write_json(folder / name, content)


def _rows(name: str, *rows: tuple[object, ...]) -> Damage:
    return lambda folder: write_csv(folder / name, rows)


def _png(name: str, array: np.ndarray) -> Damage:
    return lambda folder: write_png(folder / name, array)


def _volume(name: str, array: np.ndarray, **geometry: tuple[float, ...]) -> Damage:
    return lambda folder: write_volume(folder / name, array, **geometry)


def _remove(*names: str) -> Damage:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def _rename(old: str, new: str) -> Damage:
    return lambda folder: (folder / old).rename(folder / new) and None


def _move(old: str, new: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / new).parent.mkdir(exist_ok=True)
        (folder / old).rename(folder / new)

    return damage


def _all(*damages: Damage) -> Damage:
    return lambda folder: [damage(folder) for damage in damages] and None


def _remove_folder(name: str) -> Damage:
    return lambda folder: _remove_all(folder / name)


def _names_after_case(*endings: str) -> Damage:
    """Give each label map these files in its place: `a_seg.png` for `a.png`, say."""

    def damage(folder: Path) -> None:
        for path in sorted((folder / "labelsTr").iterdir()):
            content = path.read_bytes()
            path.unlink()
            for ending in endings:
                path.with_name(f"{path.stem}{ending}{path.suffix}").write_bytes(content)

    return damage


def _cut(name: str) -> Damage:
    """Keep the first half of a file."""

    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


def _save_as(old: str, new: str) -> Damage:
    def damage(folder: Path) -> None:
        with Image.open(folder / old) as image:
            image.save(folder / new)
        (folder / old).unlink()

    return damage


def _as_folder(folder: Path) -> None:
    (folder / "imagesTr/a_0000.png").unlink()
    (folder / "imagesTr/a_0000.png").mkdir()


def _one_deeper(folder: Path) -> None:
    """As archives unpack into a folder of the name that they have."""
    content = list(folder.iterdir())
    (folder / "Unpacked").mkdir()
    for path in content:
        path.rename(folder / "Unpacked" / path.name)


def _as_jpeg(name: str) -> Damage:
    def damage(folder: Path) -> None:
        with Image.open(folder / name) as image:
            image.save(folder / name, format="JPEG")

    return damage


def _without_spacing(name: str) -> Damage:
    def damage(folder: Path) -> None:
        image = nibabel.load(folder / name)
        content = gzip.decompress((folder / name).read_bytes())
        header = image.header.copy()
        header["sform_code"] = header["qform_code"] = 0
        header["pixdim"][1:4] = 0
        header["vox_offset"] = 352
        (folder / name).write_bytes(gzip.compress(header.binaryblock + content[348:]))

    return damage


def _third_volume(part: str) -> Damage:
    """Add the case c, whose spacing is in metres."""

    def damage(folder: Path) -> None:
        array = image_3d(2) if part == "images" else mask_3d()
        stem = "c_0000" if part == "images" else "c"
        tifffile.imwrite(folder / f"{part}Tr/{stem}.tif", array, photometric="minisblack")
        write_json(folder / f"{part}Tr/c.json", {"spacing": (0.002, 0.001, 0.0005)})

    return damage


def _link_to_nothing(folder: Path) -> None:
    (folder / "labelsTr/a.png").unlink()
    (folder / "labelsTr/a.png").symlink_to(folder / "elsewhere.png")


def _colour_16_bit(folder: Path) -> None:
    """Write a 2 x 1 RGB PNG of 16 bits, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = SHAPE_2D
    rows = b"".join(b"\0" + bytes(6 * width) for _ in range(height))
    (folder / "imagesTr/a_0000.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def _with(array: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    changed = array.copy()
    changed[index] = value
    return changed


def _splits(*folds: tuple[list[str], list[str]]) -> Damage:
    return _json("splits_final.json", [{"train": train, "val": val} for train, val in folds])


_TALL = (9, SHAPE_2D[1])
_PATIENTS = (("case", "patient"), ("a", "p1"), ("b", "p1"), ("c", "p2"))
_REGIONS = {"background": 0, "whole": [1, 2], "core": 2}
_TAGS = ("case", "lesion")
_SLICE_TAGS = ("case", "slice", "lesion")

IN_DATASET_JSON = [
    BrokenDataset(
        "dataset_folder_absent", "2d", _remove_all, ("expected a dataset folder", "create it")
    ),
    BrokenDataset(
        "dataset_json_absent",
        "2d",
        _remove("dataset.json"),
        ("dataset.json", "does not exist", "channel_names, labels and file_ending"),
    ),
    BrokenDataset(
        "dataset_json_with_a_hidden_ending",
        "2d",
        _rename("dataset.json", "dataset.json.txt"),
        ("dataset.json' does not exist", "found 'dataset.json.txt'; rename it"),
    ),
    BrokenDataset(
        "dataset_json_not_utf_8",
        "2d",
        _text("dataset.json", '{"labels": "Läsion"}'.encode("latin-1")),
        ("dataset.json", "the byte 0xe4 at position 13", "save it as UTF-8"),
    ),
    BrokenDataset(
        "dataset_json_no_json",
        "2d",
        _text("dataset.json", "{'labels': 1}"),
        ("dataset.json", "not valid JSON", "line 1 column 2"),
    ),
    BrokenDataset(
        "dataset_json_a_list", "2d", _json("dataset.json", []), ("expected an object", "found []")
    ),
    BrokenDataset(
        "misspelt_key",
        "raters",
        _edit(without=("raters",), rater=True),
        ("unknown key 'rater'", "expected 'raters'", "rename"),
    ),
    BrokenDataset(
        "no_channel_names",
        "2d",
        _edit(without=("channel_names",)),
        ("'channel_names' should", '"0": "T1"', "found None", "correct it"),
    ),
    BrokenDataset(
        "channel_numbers_not_consecutive",
        "2d",
        _edit(channel_names={"1": "CT"}),
        ("'channel_names'", "consecutive from 0", "found ['1']"),
    ),
    BrokenDataset(
        "channel_name_no_text",
        "2d",
        _edit(channel_names={"0": 1}),
        ("'channel_names'", "each name a text", "found [1]"),
    ),
    BrokenDataset(
        "file_ending_without_dot",
        "2d",
        _edit(file_ending="png"),
        ("'file_ending' should be one of", ".png", "found 'png'", "with its dot"),
    ),
    BrokenDataset(
        "file_ending_lossy",
        "2d",
        _edit(file_ending=".jpg"),
        ("'file_ending'", "found '.jpg'", "lossy", "convert the originals"),
    ),
    BrokenDataset(
        "labels_without_background",
        "2d",
        _edit(labels={"lesion": 1}),
        ('"background" to 0', "found None", "correct dataset.json"),
    ),
    BrokenDataset(
        "labels_of_nnunet_v1",
        "2d",
        _edit(labels={"0": "background", "1": "lesion"}),
        ("'labels' should map names to integers", 'write {"background": 0, "lesion": 1}'),
    ),
    BrokenDataset(
        "channels_of_nnunet_v1",
        "2d",
        _edit(without=("channel_names",), modality={"0": "CT"}),
        ("'channel_names'", "found none, but 'modality'", "rename it to 'channel_names'"),
    ),
    BrokenDataset(
        "labels_not_consecutive",
        "2d",
        _edit(labels={"background": 0, "lesion": 1, "cyst": 3}),
        ("consecutive from 0", "found [0, 1, 3]", "change 3 to 2, in the label maps and here"),
    ),
    BrokenDataset(
        "label_no_integer",
        "2d",
        _edit(labels={"background": 0, "lesion": "1"}),
        ("label 'lesion'", "should be an integer", "found '1'"),
    ),
    BrokenDataset(
        "label_twice_in_the_file",
        "2d",
        _text("dataset.json", '{"labels": {"background": 0, "a": 1, "a": 2}}'),
        ("dataset.json", "the key 'a' twice", "keep one"),
    ),
    BrokenDataset(
        "two_labels_of_one_integer",
        "2d",
        _edit(labels={"background": 0, "lesion": 1, "cyst": 1}),
        ("'lesion' and 'cyst' should have different integers", "found 1 twice"),
    ),
    BrokenDataset(
        "label_of_the_background",
        "2d",
        _edit(labels={"background": 0, "lesion": 1, "cyst": 0}),
        ("'background' and 'cyst' should have different integers", "found 0 twice"),
    ),
    BrokenDataset(
        "region_with_the_background",
        "2d",
        _edit(labels={**_REGIONS, "whole": [0, 1, 2]}, regions_class_order=[1, 2]),
        ("label 'whole' should not hold 0", "found [0, 1, 2]"),
    ),
    BrokenDataset(
        "region_with_an_integer_twice",
        "2d",
        _edit(labels={**_REGIONS, "whole": [1, 1, 2]}, regions_class_order=[1, 2]),
        ("label 'whole' should hold each integer once", "found [1, 1, 2]"),
    ),
    BrokenDataset(
        "region_with_the_ignore_label",
        "2d",
        _edit(labels={**_REGIONS, "whole": [1, 2, 3], "ignore": 3}, regions_class_order=[1, 2]),
        ("label 'whole' should not hold 3", '"ignore"', "found [1, 2, 3]"),
    ),
    BrokenDataset(
        "class_order_with_an_integer_twice",
        "2d",
        _edit(labels=_REGIONS, regions_class_order=[2, 2]),
        ("'regions_class_order'", "all different", "found [2, 2]"),
    ),
    BrokenDataset(
        "label_not_whole",
        "2d",
        _edit(labels={"background": 0, "lesion": 1.5}),
        ("label 'lesion'", "should be an integer", "found 1.5"),
    ),
    BrokenDataset(
        "label_not_a_number",
        "2d",
        _text("dataset.json", '{"labels": {"background": 0, "lesion": NaN}}'),
        ("dataset.json", "NaN"),
    ),
    BrokenDataset(
        "number_of_cases_not_whole",
        "2d",
        _edit(numTraining=2.5),
        ("'numTraining' should be the number of training cases", "found 2.5"),
    ),
    BrokenDataset(
        "ignore_not_highest",
        "2d",
        _edit(labels={"background": 0, "ignore": 1, "lesion": 2}),
        ('"ignore" should be the highest integer, 2', "found 1"),
    ),
    BrokenDataset(
        "regions_without_class_order",
        "2d",
        _edit(labels=_REGIONS),
        ("'regions_class_order' should hold one integer for each of the 2", "found []"),
    ),
    BrokenDataset(
        "class_order_of_unknown_integer",
        "2d",
        _edit(labels=_REGIONS, regions_class_order=[1, 5]),
        ("'regions_class_order'", "integers of 'labels', [0, 1, 2]", "found [5]", "correct it"),
    ),
    BrokenDataset(
        "class_order_no_list",
        "2d",
        _edit(labels=_REGIONS, regions_class_order=2),
        ("'regions_class_order' should be a list of integers", "found 2"),
    ),
    BrokenDataset(
        "raters_no_boolean",
        "raters",
        _edit(raters=2),
        ("'raters' should be true or false", "found 2", "correct or remove"),
    ),
    BrokenDataset(
        "num_training_wrong",
        "2d",
        _edit(numTraining=4),
        ("expected 4 training cases ('numTraining')", "found 3", "correct the number"),
    ),
    BrokenDataset(
        "table_of_image_labels_elsewhere",
        "tagged",
        _edit(image_labels="../image_labels.csv"),
        ("'image_labels' should be the name of a CSV file", "'../image_labels.csv'", "correct"),
    ),
    BrokenDataset(
        "file_table_no_table", "table", _edit(dataset=[1]), ("'dataset' should be a table", "[1]")
    ),
]

IN_FILE_NAMES = [
    BrokenDataset(
        "no_imagesTr",
        "2d",
        _rename("imagesTr", "images"),
        ("expected the folder imagesTr", "found 'images'; rename it"),
    ),
    BrokenDataset(
        "dataset_one_folder_too_deep",
        "2d",
        _one_deeper,
        ("dataset.json' does not exist", "found it in the folder 'Unpacked'; move all of that up"),
    ),
    BrokenDataset(
        "empty_imagesTr",
        "2d",
        _all(*(_remove(f"imagesTr/{c}_0000.png", f"labelsTr/{c}.png") for c in "abc")),
        ("imagesTr", "CASE_0000.png", "found none", "put the images there"),
    ),
    BrokenDataset(
        "no_labelsTr",
        "2d",
        _remove_folder("labelsTr"),
        ("expected the folder labelsTr", "found none", "'image_labels'"),
    ),
    BrokenDataset(
        "no_channel_number",
        "2d",
        _rename("imagesTr/b_0000.png", "imagesTr/b.png"),
        ("imagesTr", "CASE_0000.png", "found 1 without", "rename 'b.png' to 'b_0000.png'"),
    ),
    BrokenDataset(
        "three_digit_channel",
        "2d",
        _all(
            _rename("imagesTr/b_0000.png", "imagesTr/b_000.png"),
            _rename("labelsTr/b.png", "labelsTr/b_000.png"),
        ),
        ("imagesTr", "four digits", "'b_000.png'", "rename"),
    ),
    BrokenDataset(
        "channel_missing",
        "3d",
        _remove("imagesTr/b_0000.nii.gz"),
        ("case 'b'", "expected the channels _0000, _0001", "found _0001", "add the missing files"),
    ),
    BrokenDataset(
        "channel_too_many",
        "2d",
        _png("imagesTr/a_0001.png", image_2d(9)),
        (
            "case 'a'",
            "expected the channels _0000 in",
            "found _0000, _0001",
            "rename 'a_0001' to 'a0001_0000'",
        ),
    ),
    BrokenDataset(
        "labels_named_as_images",
        "2d",
        _all(*(_rename(f"labelsTr/{case}.png", f"labelsTr/{case}_0000.png") for case in "abc")),
        ("labelsTr", "names with a channel for 'a', 'b', 'c'", "rename 'a_0000.png' to 'a.png'"),
    ),
    BrokenDataset(
        "label_missing",
        "2d",
        _remove("labelsTr/c.png"),
        ("case 'c'", "expected the label map c.png in labelsTr", "found none", "remove the case"),
    ),
    BrokenDataset(
        "label_without_image",
        "2d",
        _png("labelsTr/d.png", mask_2d()),
        ("labelsTr", "expected an image in imagesTr", "found none for 1: 'd'", "correct the names"),
    ),
    BrokenDataset(
        "test_label_without_image",
        "2d",
        _png("labelsTs/d.png", mask_2d()),
        ("labelsTs", "expected an image in imagesTs", "'d'"),
    ),
    BrokenDataset(
        "raters_not_declared",
        "raters",
        _edit(without=("raters",)),
        ("labelsTr", "expected one label map CASE.png", "'a', 'b'", 'add "raters": true'),
    ),
    BrokenDataset(
        "raters_neither_declared_nor_numbered_so",
        "2d",
        _names_after_case("_rater1", "_rater2"),
        (
            "labelsTr: expected one label map CASE.png per case, found several for 3, e.g. ",
            "'a_rater1', 'a_rater2' for 'a'",
            'add "raters": true',
            "rename 'a_rater1.png' to 'a_r00.png', 'a_rater2.png' to 'a_r01.png', and so on",
        ),
    ),
    BrokenDataset(
        "more_in_the_names_of_label_maps",
        "2d",
        _names_after_case("_seg"),
        ("names that go on after the case: 'a_seg', 'b_seg', ", "rename 'a_seg.png' to 'a.png'"),
    ),
    BrokenDataset(
        "no_rater_of_a_case",
        "raters",
        _remove("labelsTr/b_r00.png"),
        ("case 'b'", "expected the label map b_r00.png", "found none", "add it"),
    ),
    BrokenDataset(
        "rater_not_named",
        "raters",
        _png("labelsTr/b.png", mask_2d()),
        ("expected names CASE_r00.png", "'b.png'", "remove 'b.png' if it joins", "'b_r01.png' if"),
    ),
    BrokenDataset(
        "rater_and_consensus_of_another_name",
        "raters",
        _png("labelsTr/a_staple.png", mask_2d()),
        ("'a_staple.png'", "remove 'a_staple.png' if it joins", "rename it to 'a_r02.png' if"),
    ),
    BrokenDataset(
        "a_folder_of_each_rater",
        "raters",
        _all(
            _move("labelsTr/a_r00.png", "labelsTr/anna/a.png"),
            _move("labelsTr/a_r01.png", "labelsTr/ben/a.png"),
            _move("labelsTr/b_r00.png", "labelsTr/anna/b.png"),
        ),
        ("expected label maps CASE_r00.png", "the folders 'anna', 'ben'", "move them up"),
    ),
    BrokenDataset(
        "a_rater_written_in_two_ways",
        "raters",
        _rename("labelsTr/a_r01.png", "labelsTr/a_r000.png"),
        ("one way to write a rater's number", "'r00' of case 'a'", "'r000' of case 'a'", "rename"),
    ),
    BrokenDataset(
        "a_rater_written_otherwise_in_another_case",
        "raters",
        _rename("labelsTr/b_r00.png", "labelsTr/b_r000.png"),
        ("'r00' of case 'a'", "'r000' of case 'b'", "would be two raters"),
    ),
    BrokenDataset(
        "raters_named_otherwise",
        "raters",
        _all(
            _rename("labelsTr/a_r00.png", "labelsTr/a_rater1.png"),
            _rename("labelsTr/a_r01.png", "labelsTr/a_rater2.png"),
        ),
        ("expected names CASE_r00.png", "found 2", "rename 'a_rater1.png' to 'a_r00.png'"),
    ),
    BrokenDataset(
        "same_file_twice",
        "2d",
        _png("imagesTr/a_0000.PNG", image_2d(9)),
        ("case 'a_0000'", "found both 'a_0000.PNG' and 'a_0000.png'", "remove one"),
    ),
    BrokenDataset(
        "case_in_training_and_test",
        "2d",
        _png("imagesTs/a_0000.png", image_2d(9)),
        ("imagesTs", "not in imagesTr", "found 1 in both: 'a'", "remove them from one"),
    ),
    BrokenDataset(
        "lossy_files",
        "2d",
        _save_as("imagesTr/a_0000.png", "imagesTr/a_0000.jpg"),
        ("imagesTr", "end in '.png'", "found 1 that end in '.jpg': 'a_0000.jpg'", "without loss"),
    ),
    BrokenDataset(
        "files_of_another_ending",
        "2d",
        _save_as("imagesTr/a_0000.png", "imagesTr/a_0000.tif"),
        ("imagesTr", "end in '.png'", "found 1 that end in '.tif'", "correct 'file_ending'"),
    ),
    BrokenDataset(
        "table_names_no_file",
        "table",
        _remove("masks/a.png"),
        ("case 'a'", "masks/a.png", "found none", "correct the path"),
    ),
    BrokenDataset(
        "table_without_label",
        "table",
        _edit(dataset={"a": {"images": ["scans/a.png"]}}),
        ("case 'a'", "expected a 'label'", "found none", "remove the case"),
    ),
    BrokenDataset(
        "table_with_a_bare_path",
        "table",
        _edit(dataset={"a": {"images": "scans/a.png", "label": "masks/a.png"}}),
        ("case 'a'", '{"images": [PATH, ..], "label": PATH}', "'scans/a.png'", "correct it"),
    ),
    *(
        BrokenDataset(
            f"table_with_a_case_that_leads_elsewhere_{number}",
            "table",
            _edit(dataset={name: {"images": ["scans/a.png"], "label": "masks/a.png"}}),
            ("expected names of cases that files can have", repr(name), "rename the case"),
        )
        for number, name in enumerate(["../a", "/a", "a/b", "..", ".a", "a\\b", "a\n", ""])
    ),
    BrokenDataset(
        "table_with_too_many_channels",
        "table",
        _edit(dataset={"a": {"images": ["scans/a.png", "scans/b.png"], "label": "masks/a.png"}}),
        ("case 'a'", "expected 1 images", "found 2", "remove files"),
    ),
]

IN_FILES = [
    BrokenDataset(
        "file_empty",
        "2d",
        _text("imagesTr/a_0000.png", ""),
        ("case 'a'", "a_0000.png", "expected a .png file", "found an empty one", "copy it again"),
    ),
    BrokenDataset(
        "png_truncated",
        "2d",
        _cut("imagesTr/a_0000.png"),
        ("case 'a'", "a_0000.png", "truncated", "export it again"),
    ),
    BrokenDataset(
        "nifti_truncated",
        "3d",
        _cut("imagesTr/a_0000.nii.gz"),
        ("case 'a'", "a_0000.nii.gz", "expected a .nii.gz file", "truncated", "export it again"),
    ),
    BrokenDataset(
        "nifti_label_truncated",
        "3d",
        _cut("labelsTr/b.nii.gz"),
        ("case 'b'", "b.nii.gz", "expected a .nii.gz file", "export it again"),
    ),
    BrokenDataset(
        "tiff_truncated",
        "tiff",
        _cut("imagesTr/a_0000.tif"),
        ("case 'a'", "a_0000.tif", "expected a .tif file", "export it again"),
    ),
    BrokenDataset(
        "text_in_place_of_image",
        "2d",
        _text("labelsTr/a.png", "see the other folder"),
        ("case 'a'", "labelsTr", "expected a .png file", "of another format"),
    ),
    BrokenDataset(
        "folder_in_place_of_file",
        "2d",
        _as_folder,
        ("case 'a'", "a_0000.png", "expected a .png file", "found a folder", "remove or rename"),
    ),
    BrokenDataset(
        "link_to_nothing",
        "2d",
        _link_to_nothing,
        ("case 'a'", "labelsTr/a.png", "found none", "link to nothing", "add the file"),
    ),
    BrokenDataset(
        "transparency",
        "2d",
        _png("imagesTr/a_0000.png", image_2d(0, 4)),
        ("case 'a'", "expected a grey or RGB image", "RGBA", "save it without transparency"),
    ),
    BrokenDataset(
        "colour_where_grey_is_declared",
        "2d",
        _png("imagesTr/a_0000.png", image_2d(0, 3)),
        ("case 'a'", "expected 1 channel(s)", "found 3", "name three channels"),
    ),
    BrokenDataset(
        "grey_where_colour_is_declared",
        "colour",
        _png("imagesTr/a_0000.png", image_2d(0)),
        ("case 'a'", "expected 3 channel(s)", "found 1", "add _0001 and _0002"),
    ),
    BrokenDataset(
        "two_channels_where_three_are_declared",
        "tiff",
        lambda folder: tifffile.imwrite(
            folder / "imagesTr/a_0000.tif",
            np.stack([image_3d(0), image_3d(1)], axis=-1),
            photometric="minisblack",
            planarconfig="contig",
        ),
        ("case 'a'", "expected 1 channel(s)", "found 2", "correct 'channel_names'"),
    ),
    BrokenDataset(
        "colour_in_one_of_several_channel_files",
        "colour",
        _png("imagesTr/b_0001.png", image_2d(0, 3)),
        ("case 'b'", "b_0001.png", "expected one channel", "found 3", "keep either"),
    ),
    BrokenDataset(
        "colour_of_16_bits",
        "colour",
        _colour_16_bit,
        ("case 'a'", "found 16 bit RGB", "one grey 16 bit file per channel"),
    ),
    BrokenDataset(
        "palette_tiff",
        "tiff",
        lambda folder: tifffile.imwrite(
            folder / "imagesTr/a_0000.tif",
            mask_2d(),
            photometric="palette",
            colormap=np.arange(768, dtype=np.uint16).reshape(3, 256),
        ),
        ("case 'a'", "expected 1 channel(s)", "found 3", "save the images as grey"),
    ),
    BrokenDataset(
        "channels_differ_in_shape",
        "3d",
        _volume("imagesTr/a_0001.nii.gz", np.zeros((5, 6, 8), np.float32)),
        (
            "case 'a'",
            "a_0001.nii.gz",
            "expected the shape (4, 6, 8)",
            "found (5, 6, 8)",
            "resample",
        ),
    ),
    BrokenDataset(
        "channels_differ_in_spacing",
        "3d",
        _volume("imagesTr/a_0001.nii.gz", image_3d(1), spacing_mm=(3.0, 1.0, 0.5)),
        (
            "case 'a'",
            "a_0001.nii.gz",
            "expected the spacing (2, 1, 0.5) mm",
            "(3, 1",
            "resample",
        ),
    ),
    BrokenDataset(
        "label_differs_in_shape",
        "2d",
        _png("labelsTr/b.png", np.zeros(_TALL, np.uint8)),
        ("case 'b'", "label has the shape (9, 6)", "expected the image's, (8, 6)", "resample"),
    ),
    BrokenDataset(
        "a_rater_annotated_nothing",
        "raters",
        _all(
            _edit(labels={"background": 0, "lesion": 1, "ignore": 2}),
            _png("labelsTr/a_r01.png", np.full(SHAPE_2D, 2, np.uint8)),
        ),
        ("case 'a'", "'a_r01.png'", "the ignore label everywhere", "remove the file"),
    ),
    BrokenDataset(
        "soft_mask",
        "3d",
        _volume("labelsTr/a.nii.gz", mask_3d() * np.float32(0.7)),
        ("case 'a'", "such as 0.7", "of a soft mask", "write 1 from 0.5 on"),
    ),
    BrokenDataset(
        "label_in_another_orientation",
        "3d",
        _volume(
            "labelsTr/a.nii.gz",
            mask_3d()[:, ::-1],
            origin=(0.0, 5.0, 0.0),
            direction=(1, 0, 0, 0, -1, 0, 0, 0, 1),
        ),
        ("case 'a'", "with its axes turned (LAS, the image LPS)", "the image's orientation"),
    ),
    BrokenDataset(
        "label_with_its_axes_in_another_order",
        "3d",
        _volume(
            "labelsTr/a.nii.gz",
            mask_3d().transpose(0, 2, 1),
            spacing_mm=(2.0, 0.5, 1.0),
            direction=(0, 1, 0, 1, 0, 0, 0, 0, 1),
        ),
        ("case 'a'", "with its axes turned (PLS, the image LPS)", "equal indices mean other"),
    ),
    BrokenDataset(
        "raters_differ_in_shape",
        "raters",
        _png("labelsTr/a_r01.png", np.zeros(_TALL, np.uint8)),
        ("case 'a'", "label of rater r01 has the shape (9, 6)", "expected the image's, (8, 6)"),
    ),
    BrokenDataset(
        "label_differs_in_spacing",
        "3d",
        _volume("labelsTr/a.nii.gz", mask_3d(), spacing_mm=(2.0, 1.0, 1.0)),
        ("case 'a'", "spacing (2, 1, 1) mm", "expected the image's, (2, 1, 0.5) mm", "resample"),
    ),
    BrokenDataset(
        "nan_in_image",
        "3d",
        _volume("imagesTr/b_0001.nii.gz", _with(image_3d(3), (0, 0, 0), np.nan)),
        ("case 'b'", "b_0001.nii.gz", "channel 1", "expected finite numbers", "found 1", "replace"),
    ),
    BrokenDataset(
        "infinity_in_image",
        "3d",
        _volume("imagesTr/a_0000.nii.gz", _with(image_3d(0), (1, 1, 1), np.inf)),
        ("case 'a'", "channel 0", "NaN or infinite", "replace"),
    ),
    BrokenDataset(
        "padding_of_the_lowest_number",
        "3d",
        _volume("imagesTr/a_0001.nii.gz", _with(image_3d(1), (0, 0, 0), np.finfo(np.float32).min)),
        ("case 'a'", "a_0001.nii.gz", "channel 1", "up to 1e+18", "found -3.40282e+38", "replace"),
    ),
    BrokenDataset(
        "beyond_32_bits",
        "3d",
        _volume("imagesTr/b_0000.nii.gz", _with(image_3d(2).astype(np.float64), (0, 0, 0), 1e300)),
        ("case 'b'", "b_0000.nii.gz", "up to 1e+18", "found 1e+300", "replace it"),
    ),
    BrokenDataset(
        "complex_image",
        "tiff",
        lambda folder: tifffile.imwrite(
            folder / "imagesTr/a_0000.tif",
            image_3d(0).astype(np.complex64),
            photometric="minisblack",
        ),
        ("case 'a'", "expected integers or real numbers", "found complex64", "save the magnitude"),
    ),
    BrokenDataset(
        "two_and_three_dimensions",
        "3d",
        _all(
            lambda folder: write_volume(
                folder / "imagesTr/c_0000.nii.gz",
                image_3d(8)[0],
                spacing_mm=(1.0, 1.0),
                origin=(0.0, 0.0),
                direction=(1, 0, 0, 1),
            ),
            lambda folder: write_volume(
                folder / "imagesTr/c_0001.nii.gz",
                image_3d(9)[0],
                spacing_mm=(1.0, 1.0),
                origin=(0.0, 0.0),
                direction=(1, 0, 0, 1),
            ),
            lambda folder: write_volume(
                folder / "labelsTr/c.nii.gz",
                mask_3d()[0],
                spacing_mm=(1.0, 1.0),
                origin=(0.0, 0.0),
                direction=(1, 0, 0, 1),
            ),
        ),
        ("expected images of one kind", "2 with 3 and 1 with 2 spatial axes: 'c'", "remove"),
    ),
    BrokenDataset(
        "unknown_label_value",
        "2d",
        _png("labelsTr/a.png", 2 * mask_2d()),
        ("case 'a'", "expected the values 0, 1 in 'a.png'", "found also 2", "add the label"),
    ),
    BrokenDataset(
        "transposed_mask",
        "2d",
        _png("labelsTr/a.png", mask_2d().T),
        ("case 'a'", "expected the image's, (8, 6)", "another order: transpose it"),
    ),
    BrokenDataset(
        "mask_of_a_single_slice_without_its_axis",
        "3d",
        _all(
            _volume("imagesTr/a_0000.nii.gz", image_3d(0)[:1]),
            _volume("imagesTr/a_0001.nii.gz", image_3d(1)[:1]),
            lambda folder: nibabel.save(
                nibabel.Nifti1Image(mask_3d()[0].T, np.diag([*SPACING_MM[::-1], 1])),
                folder / "labelsTr/a.nii.gz",
            ),
        ),
        ("case 'a'", "save it with the image's axes, also with those of length 1"),
    ),
    BrokenDataset(
        "mask_with_255_beside_its_labels",
        "2d",
        _png("labelsTr/a.png", np.where(np.roll(mask_2d(), 1) > mask_2d(), 255, mask_2d())),
        ("case 'a'", "found also 255", "write 2 in its place", '"ignore": 2'),
    ),
    BrokenDataset(
        "mask_that_counts_from_1",
        "2d",
        _png("labelsTr/a.png", 1 + mask_2d()),
        ("case 'a'", "found also 2", "one higher in it", "subtract 1"),
    ),
    BrokenDataset(
        "background_in_upper_case",
        "2d",
        _edit(labels={"Background": 0, "lesion": 1}),
        ('should map "background" to 0', "found the name 'Background' for it"),
    ),
    BrokenDataset(
        "mask_of_0_and_255",
        "2d",
        _png("labelsTr/a.png", 255 * mask_2d()),
        ("case 'a'", "expected the values 0, 1", "found also 255", "write 1 in place of 255"),
    ),
    BrokenDataset(
        "mask_of_0_and_65535",
        "2d",
        _png("labelsTr/a.png", 65535 * mask_2d().astype(np.uint16)),
        ("case 'a'", "found also 65535", "write 1 in place of 65535"),
    ),
    BrokenDataset(
        "label_map_of_jpeg_under_another_name",
        "2d",
        _as_jpeg("labelsTr/a.png"),
        ("case 'a'", "a.png'", "expected a label map without loss", "found JPEG", "its source"),
    ),
    BrokenDataset(
        "unknown_value_in_a_test_label",
        "2d",
        _png("labelsTs/t.png", 3 * mask_2d()),
        ("case 't'", "expected the values 0, 1", "found also 3"),
    ),
    BrokenDataset(
        "negative_label_value",
        "3d",
        _volume("labelsTr/a.nii.gz", mask_3d().astype(np.int16) - 1),
        ("case 'a'", "expected the values 0, 1", "found also -1", "correct the label map"),
    ),
    BrokenDataset(
        "label_of_fractions",
        "3d",
        _volume("labelsTr/a.nii.gz", mask_3d() * np.float32(0.5)),
        ("case 'a'", "expected integers", "float32", "0.5", "nearest neighbour"),
    ),
    BrokenDataset(
        "label_between_two",
        "3d",
        _volume("labelsTr/a.nii.gz", mask_3d() * np.float32(0.5)),
        ("case 'a'", "expected integers", "such as 0.5", "nearest neighbour only"),
    ),
    BrokenDataset(
        "label_of_nan",
        "3d",
        _volume("labelsTr/a.nii.gz", mask_3d() * np.float32(np.nan)),
        ("case 'a'", "expected integers", "nan", "save the label map as integers"),
    ),
    BrokenDataset(
        "coloured_label",
        "2d",
        _png("labelsTr/a.png", np.stack([mask_2d(), mask_2d() * 0, mask_2d()], axis=-1)),
        ("case 'a'", "expected a label map of one channel", "found 3", "a grey image"),
    ),
    BrokenDataset(
        "tiff_spacing_of_two_numbers",
        "tiff",
        _json("imagesTr/a.json", {"spacing": [1, 2]}),
        ("case 'a'", "a.json", '{"spacing": [z, y, x]}', "found {'spacing': [1, 2]}", "correct"),
    ),
    BrokenDataset(
        "tiff_of_four_axes",
        "tiff",
        lambda folder: tifffile.imwrite(
            folder / "imagesTr/a_0000.tif",
            np.zeros((2, 3, 4, 5), np.uint8),
            imagej=True,
            metadata={"axes": "TZYX"},
        ),
        ("case 'a'", "expected an image (y, x) or a volume (z, y, x)", "TZYX", "split the file"),
    ),
]

IN_TABLES = [
    BrokenDataset(
        "image_labels_absent",
        "tagged",
        _remove("image_labels.csv"),
        ("image_labels.csv", "expected a table", "case, lesion", "found no such file", "add it"),
    ),
    BrokenDataset(
        "image_labels_without_case_column",
        "tagged",
        _rows("image_labels.csv", ("image", "lesion"), ("a", 1), ("b", 0)),
        (
            "image_labels.csv",
            "expected the columns case, lesion",
            "found image, lesion",
            "first line",
        ),
    ),
    BrokenDataset(
        "image_labels_without_label_column",
        "tagged",
        _rows("image_labels.csv", ("case",), ("a",), ("b",)),
        ("image_labels.csv", "expected the columns case, lesion", "found case"),
    ),
    BrokenDataset(
        "image_labels_of_unknown_label",
        "tagged",
        _rows("image_labels.csv", ("case", "lesion", "cyst"), ("a", 1, 0), ("b", 0, 1)),
        ("image_labels.csv", "found also cyst", "name it in 'labels'", "remove the column"),
    ),
    BrokenDataset(
        "image_labels_of_a_misspelt_column",
        "tagged",
        _rows("image_labels.csv", ("case", "slice", "leison"), ("a", "", 1), ("b", "", 0)),
        ("image_labels.csv", "found case, slice, leison without lesion;"),
    ),
    BrokenDataset(
        "image_labels_by_semicolon",
        "tagged",
        _text("image_labels.csv", "case;lesion\na;1\nb;0\n"),
        ("image_labels.csv", "found case;lesion", "separate columns by commas"),
    ),
    BrokenDataset(
        "image_labels_by_tab",
        "tagged",
        _text("image_labels.csv", "case\tlesion\na\t1\nb\t0\n"),
        ("image_labels.csv", "expected the columns case, lesion", "separate columns by commas"),
    ),
    BrokenDataset(
        "image_labels_with_excels_line",
        "tagged",
        _text("image_labels.csv", "sep=;\ncase;lesion\na;1\nb;0\n"),
        ("image_labels.csv, line 1", "found sep=;", "remove this line, which only Excel reads"),
    ),
    BrokenDataset(
        "image_labels_with_a_line_by_semicolons",
        "tagged",
        _text("image_labels.csv", "case,lesion\na,1\nb;0\n"),
        ("image_labels.csv, line 3", "2 values, found 1", "separate columns by commas"),
    ),
    BrokenDataset(
        "image_labels_with_decimal_commas",
        "tagged",
        _text("image_labels.csv", "case,lesion\na,1,0\nb,0,0\n"),
        ("image_labels.csv, line 2", "2 values, found 3", "decimal commas", "whole numbers"),
    ),
    BrokenDataset(
        "image_labels_with_a_quoted_decimal_comma",
        "tagged",
        _text("image_labels.csv", 'case,lesion\na,"1,0"\nb,0\n'),
        ("image_labels.csv, line 2", "found '1,0'", "write 1, without decimals", "astype('Int64')"),
    ),
    BrokenDataset(
        "image_labels_with_slices_as_pandas_writes_them_beside_gaps",
        "tagged_slices",
        _text("image_labels.csv", "case,slice,lesion\na,0.0,1\na,1,0\nb,,0\n"),
        ("image_labels.csv, line 2", "found '0.0'", "write 0, without decimals"),
    ),
    BrokenDataset(
        "image_labels_with_the_index_of_pandas",
        "tagged",
        _text("image_labels.csv", ",case,lesion\n0,a,1\n1,b,0\n"),
        ("image_labels.csv, line 1", "a column without a name", "index=False"),
    ),
    BrokenDataset(
        "image_labels_with_the_index_of_pandas_read_again",
        "tagged",
        _text("image_labels.csv", "Unnamed: 0,case,lesion\n0,a,1\n1,b,0\n"),
        ("image_labels.csv, line 1", "a column without a name", "index=False"),
    ),
    BrokenDataset(
        "image_labels_with_a_quote_never_closed",
        "tagged",
        _text("image_labels.csv", 'case,lesion\n"a,1\nb,0\n'),
        ("image_labels.csv, line 2", 'each quote (") closed in its line', "close or remove it"),
    ),
    BrokenDataset(
        "image_labels_with_a_quote_closed_by_another_lines",
        "tagged",
        _text("image_labels.csv", 'case,lesion\n"a,1\n"b,0\n'),
        ("image_labels.csv, line 2", 'each quote (") closed in its line', "close or remove it"),
    ),
    BrokenDataset(
        "image_labels_with_a_quote_closed_lines_later",
        "tagged",
        _text("image_labels.csv", 'case,lesion\n"a\nb",0\n'),
        ("image_labels.csv, line 2", "is closed in line 3", "close or remove it"),
    ),
    BrokenDataset(
        "image_labels_empty",
        "tagged",
        _text("image_labels.csv", b""),
        ("image_labels.csv", "expected the columns case, lesion", "found none", "the first line"),
    ),
    BrokenDataset(
        "image_labels_of_no_case",
        "tagged",
        _rows("image_labels.csv", _TAGS),
        ("image_labels.csv", "a line for each training case", "none for 2: 'a', 'b'", "add them"),
    ),
    BrokenDataset(
        "image_labels_in_two_columns_of_one_name",
        "tagged",
        _rows("image_labels.csv", (*_TAGS, "lesion"), ("a", 1, 1), ("b", 0, 0)),
        ("image_labels.csv", "case, lesion, each once", "found case, lesion, lesion"),
    ),
    BrokenDataset(
        "image_labels_named_as_a_column",
        "tagged",
        _all(
            _edit(labels={"background": 0, "slice": 1}),
            _rows("image_labels.csv", ("case", "slice"), ("a", 1), ("b", 0)),
        ),
        ("image_labels.csv", "other names than the columns", "found 'slice'", "rename the label"),
    ),
    BrokenDataset(
        "image_labels_not_utf_8",
        "tagged",
        _text("image_labels.csv", b"case,lesion\n\xe4,1\n"),
        ("image_labels.csv", "UTF-8", "save it again"),
    ),
    BrokenDataset(
        "image_labels_row_too_short",
        "tagged",
        _text("image_labels.csv", "case,lesion\na\nb,0\n"),
        ("image_labels.csv, line 2", "expected 2 values", "found 1", "correct the line"),
    ),
    BrokenDataset(
        "image_labels_row_too_long",
        "tagged",
        _text("image_labels.csv", "case,lesion\na,1,1\nb,0\n"),
        ("image_labels.csv, line 2", "expected 2 values", "found 3", "correct the line"),
    ),
    BrokenDataset(
        "image_label_of_2",
        "tagged",
        _rows("image_labels.csv", _TAGS, ("a", 2), ("b", 0)),
        ("case 'a'", "expected 0 or 1 for 'lesion'", "line 2", "found '2'", "correct it"),
    ),
    BrokenDataset(
        "image_label_in_words",
        "tagged",
        _rows("image_labels.csv", _TAGS, ("a", "yes"), ("b", 0)),
        ("case 'a'", "expected 0 or 1 for 'lesion'", "line 2", "found 'yes'", "correct it"),
    ),
    BrokenDataset(
        "image_label_not_given",
        "tagged",
        _rows("image_labels.csv", _TAGS, ("a", 1), ("b", "")),
        ("case 'b'", "expected 0 or 1 for 'lesion'", "line 3", "found ''", "remove the line"),
    ),
    BrokenDataset(
        "image_label_of_a_name_with_a_comma",
        "tagged",
        _rows("image_labels.csv", _TAGS, ("a", 1), ("b", 0), ("a,b", 1)),
        ("image_labels.csv", "names of cases", "found 1 others: 'a,b'", "correct the names"),
    ),
    BrokenDataset(
        "image_label_of_unknown_case",
        "tagged",
        _rows("image_labels.csv", _TAGS, ("a", 1), ("b", 0), ("x", 1)),
        ("image_labels.csv", "names of cases", "found 1 others: 'x'", "remove the lines"),
    ),
    BrokenDataset(
        "image_label_missing",
        "tagged",
        _all(
            _png("imagesTr/c_0000.png", image_2d(5)),
        ),
        ("case 'c'", "expected a line in image_labels.csv", "found none", "remove the case"),
    ),
    BrokenDataset(
        "image_label_twice",
        "tagged",
        _rows("image_labels.csv", _TAGS, ("a", 1), ("b", 0), ("a", 1)),
        ("case 'a'", "expected one line", "found a second in image_labels.csv, line 4", "keep one"),
    ),
    BrokenDataset(
        "image_labels_of_one_class",
        "tagged",
        _rows("image_labels.csv", _TAGS, ("a", 1), ("b", 1)),
        ("image_labels.csv", "with and without 'lesion'", "found 2 that are all 1", "other kind"),
    ),
    BrokenDataset(
        "slice_out_of_range",
        "tagged_slices",
        _rows(
            "image_labels.csv",
            _SLICE_TAGS,
            ("a", 0, 0),
            ("a", SHAPE_3D[0], 1),
            ("a", 99, 1),
            ("b", 1, 0),
        ),
        ("case 'a'", "expected slices 0 to 3", "z of a NIfTI volume", "found 4, 99", "from 0"),
    ),
    BrokenDataset(
        "slice_of_a_picture",
        "tagged",
        _rows("image_labels.csv", _SLICE_TAGS, ("a", 0, 1), ("b", "", 0)),
        ("case 'a'", "expected labels of the whole image", "labels of slices", "empty the column"),
    ),
    BrokenDataset(
        "slice_no_number",
        "tagged_slices",
        _rows("image_labels.csv", _SLICE_TAGS, ("a", "-1", 0), ("a", 3, 1), ("b", 1, 0)),
        ("case 'a'", "expected a slice, counted from 0", "line 2", "found '-1'", "correct it"),
    ),
    BrokenDataset(
        "slice_no_integer",
        "tagged_slices",
        _rows("image_labels.csv", _SLICE_TAGS, ("a", "2.0", 0), ("a", 3, 1), ("b", 1, 0)),
        (
            "case 'a'",
            "expected a slice, counted from 0",
            "line 2",
            "found '2.0'",
            "write 2, without decimals",
        ),
    ),
    BrokenDataset(
        "slice_twice",
        "tagged_slices",
        _rows("image_labels.csv", _SLICE_TAGS, ("a", 3, 1), ("b", 1, 0), ("a", 3, 0)),
        ("case 'a', slice 3", "expected one line", "found a second", "line 4", "keep one"),
    ),
    BrokenDataset(
        "slice_contradicts_case",
        "tagged_slices",
        _rows("image_labels.csv", _SLICE_TAGS, ("a", "", 0), ("a", 3, 1), ("b", 1, 0)),
        ("case 'a', slice 3", "expected 0 for 'lesion'", "whole case says 0", "found 1"),
    ),
    BrokenDataset(
        "patient_of_unknown_case",
        "2d",
        _rows("patients.csv", *_PATIENTS, ("x", "p3")),
        ("patients.csv", "names of cases", "found 1 others: 'x'", "correct the names"),
    ),
    BrokenDataset(
        "patient_missing",
        "2d",
        _rows("patients.csv", *_PATIENTS[:-1]),
        ("patients.csv", "a line for each training case", "found none for 1: 'c'", "add them"),
    ),
    BrokenDataset(
        "patient_twice",
        "2d",
        _rows("patients.csv", *_PATIENTS, ("a", "p4")),
        ("case 'a'", "expected one line in patients.csv", "found the lines 2, 5", "keep one"),
    ),
    BrokenDataset(
        "patient_empty",
        "2d",
        _rows("patients.csv", *_PATIENTS[:-1], ("c", "")),
        ("case 'c'", "expected a patient in patients.csv, line 4", "empty cell", "fill it in"),
    ),
    BrokenDataset(
        "patients_with_a_quote_never_closed",
        "2d",
        _text("patients.csv", 'case,patient\na,p1\nb,"p1\nc,p2\n'),
        ("patients.csv, line 3", 'each quote (") closed in its line', "close or remove it"),
    ),
    BrokenDataset(
        "patients_by_semicolon",
        "2d",
        _text("patients.csv", "case;patient\na;p1\nb;p1\nc;p2\n"),
        ("patients.csv, line 1", "found case;patient", "separate columns by commas"),
    ),
    BrokenDataset(
        "patients_without_column",
        "2d",
        _rows("patients.csv", ("case", "person"), ("a", 1)),
        ("patients.csv", "expected the columns case, patient", "found case, person"),
    ),
]

IN_SPLITS = [
    BrokenDataset(
        "splits_no_json", "2d", _text("splits_final.json", "["), ("splits_final.json", "not valid")
    ),
    BrokenDataset(
        "splits_no_list",
        "2d",
        _json("splits_final.json", {"train": ["a"], "val": ["b"]}),
        ("splits_final.json", "expected a list", "found {'train'", "remove the file"),
    ),
    BrokenDataset(
        "splits_without_val",
        "2d",
        _json("splits_final.json", [{"train": ["a"]}]),
        ("splits_final.json', fold 0", '"val": [CASE, ..]', "found {'train': ['a']}"),
    ),
    BrokenDataset(
        "splits_of_unknown_case",
        "2d",
        _splits((["a", "b"], ["c"]), (["a", "x"], ["b"])),
        (
            "splits_final.json': expected training cases",
            "found 1 others in fold 1, 'train': 'x'",
            "remove",
        ),
    ),
    BrokenDataset(
        "splits_of_files",
        "2d",
        _splits((["a.png", "imagesTr/b_0000.png"], ["c"])),
        ("fold 0", "found 2 others", "without folder, channel or file ending: 'a' for 'a.png'"),
    ),
    BrokenDataset(
        "splits_of_files_on_windows",
        "2d",
        _splits((["D:\\raw\\imagesTr\\a_0000.PNG", "b"], ["c"])),
        ("fold 0", "found 1 others", "without folder, channel or file ending: 'a' for 'D:"),
    ),
    BrokenDataset(
        "splits_overlap",
        "2d",
        _splits((["a", "b"], ["b", "c"])),
        ("fold 0", "in 'train' or 'val'", "found 1 in both: 'b'", "remove them from one"),
    ),
    BrokenDataset(
        "splits_repeat_a_case",
        "2d",
        _splits((["a", "a"], ["c"])),
        ("fold 0", "expected each case once in 'train'", "found twice 'a'", "remove"),
    ),
    BrokenDataset(
        "splits_with_empty_side",
        "2d",
        _splits((["a", "b"], [])),
        ("fold 0", "expected cases in 'val'", "found none", "add some"),
    ),
    BrokenDataset(
        "splits_divide_a_patient",
        "2d",
        _all(
            _rows("patients.csv", *_PATIENTS),
            _splits((["a", "c"], ["b"])),
        ),
        ("fold 0", "expected each patient in 'train' or 'val'", "divided", "'p1'", "one side"),
    ),
]

if os.name == "posix" and os.geteuid() != 0:  # root may read everything
    IN_FILES.append(
        BrokenDataset(
            "no_permission",
            "2d",
            lambda folder: (folder / "imagesTr/a_0000.png").chmod(0),
            ("case 'a'", "a_0000.png", "found no permission", "chmod +r"),
        )
    )

BROKEN_DATASETS = [*IN_DATASET_JSON, *IN_FILE_NAMES, *IN_FILES, *IN_TABLES, *IN_SPLITS]
"""Each has one fault, which `verify_dataset` reports in one message."""


def _other_sform(name: str) -> Damage:
    def damage(folder: Path) -> None:
        image = nibabel.load(folder / name)
        image.set_sform(image.affine + np.diag([0, 0, 1.0], 1), code=1)
        nibabel.save(image, folder / name)

    return damage


def _shifted(**geometry: tuple[float, ...]) -> Damage:
    return _volume("labelsTr/a.nii.gz", mask_3d(), **geometry)


def _same_image(first: str, second: str) -> Damage:
    return lambda folder: (folder / second).write_bytes((folder / first).read_bytes()) and None


DOUBTFUL_DATASETS = [
    BrokenDataset(
        "no_background",
        "2d",
        _all(
            _edit(labels={"background": 0, "lesion": 1, "other": 2}),
            *(_png(f"labelsTr/{case}.png", 1 + mask_2d()) for case in "abc"),
        ),
        ("no training label map has background (0)", "if 1 means background", "subtract 1"),
    ),
    BrokenDataset(
        "ignore_label_of_another_name",
        "2d",
        _edit(labels={"background": 0, "lesion": 1, "Ignore_Label": 2}),
        ("the label 'Ignore_Label' is learned like every other", 'rename it to "ignore"'),
    ),
    BrokenDataset(
        "training_list_names_other_labels",
        "2d",
        _edit(
            training=[{"image": f"./imagesTr/{c}.png", "label": f"./two/{c}.png"} for c in "abc"]
        ),
        ("'training' names files outside", "'./two/a.png'", "has no effect", "use 'dataset'"),
    ),
    BrokenDataset(
        "training_list_names_fewer_cases",
        "2d",
        _edit(training=[{"image": "./imagesTr/a.png", "label": "./labelsTr/a.png"}]),
        ("'training' names 1 cases where 3 were found", "has no effect"),
    ),
    BrokenDataset(
        "several_orientations",
        "3d",
        _all(
            *(
                _volume(f"{name}.nii.gz", image, direction=(1, 0, 0, 0, -1, 0, 0, 0, 1))
                for name, image in (
                    ("imagesTr/a_0000", image_3d(0)),
                    ("imagesTr/a_0001", image_3d(1)),
                    ("labelsTr/a", mask_3d()),
                )
            )
        ),
        ("several orientations", "1 LAS, 1 LPS ('b')", "bring all to one"),
    ),
    BrokenDataset(
        "channel_lies_elsewhere",
        "3d",
        _volume("imagesTr/a_0001.nii.gz", image_3d(1), origin=(0.0, 0.0, 7.0)),
        ("case 'a'", "'a_0001.nii.gz' has the origin (0, 0, 7) mm", "(0, 0, 0) mm", "overlay both"),
    ),
    BrokenDataset(
        "sform_unlike_qform",
        "3d",
        _other_sform("imagesTr/b_0000.nii.gz"),
        ("case 'b'", "'b_0000.nii.gz'", "sform and qform differ"),
    ),
    BrokenDataset(
        "origin_differs",
        "3d",
        _shifted(origin=(0.0, 0.0, 7.0)),
        ("case 'a'", "label has the origin (0, 0, 7) mm", "the image (0, 0, 0) mm", "overlay both"),
    ),
    BrokenDataset(
        "a_rater_twice_under_two_numbers",
        "raters",
        _all(_png("labelsTr/a_r01.png", mask_2d()), _png("labelsTr/b_r01.png", mask_2d())),
        ("raters r00 and r01 drew equal masks in all 2 cases", "copies of the other's", "twice"),
    ),
    BrokenDataset(
        "direction_differs",
        "3d",
        _shifted(direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1)),
        ("case 'a'", "direction (-1, 0, 0", "the image (1, 0, 0", "overlay both"),
    ),
    BrokenDataset(
        "unknown_key",
        "2d",
        _edit(colour="blue"),
        ("dataset.json", "'colour'", "have no effect"),
    ),
    BrokenDataset(
        "reader_chosen",
        "2d",
        _edit(overwrite_image_reader_writer="NibabelIO"),
        ("'overwrite_image_reader_writer' ('NibabelIO') has no effect",),
    ),
    BrokenDataset(
        "other_files",
        "2d",
        _text("imagesTr/notes.txt", "x"),
        ("imagesTr", "ignored", "'notes.txt'"),
    ),
    BrokenDataset(
        "label_nowhere",
        "2d",
        _edit(labels={"background": 0, "lesion": 1, "cyst": 2}),
        ("the label 'cyst' (2) is in no training label map",),
    ),
    BrokenDataset(
        "labels_nowhere",
        "2d",
        _edit(labels={"background": 0, "lesion": 1, "cyst": 2, "stent": 3}),
        ("2 labels are in no training label map: 'cyst' (2), 'stent' (3)",),
    ),
    BrokenDataset(
        "one_value_everywhere",
        "2d",
        _png("imagesTr/a_0000.png", np.zeros(SHAPE_2D, np.uint8)),
        ("1 images have one value everywhere: 'a'",),
    ),
    BrokenDataset(
        "same_image_twice",
        "2d",
        _same_image("imagesTr/a_0000.png", "imagesTr/b_0000.png"),
        ("1 images occur more than once", "'a' = 'b'"),
    ),
    BrokenDataset(
        "same_image_in_training_and_test",
        "2d",
        _same_image("imagesTr/a_0000.png", "imagesTs/t_0000.png"),
        ("1 images of imagesTr are in imagesTs too: 'a'", "too good"),
    ),
    BrokenDataset(
        "patient_in_training_and_test",
        "2d",
        _rows("patients.csv", *_PATIENTS, ("t", "p1")),
        ("patients.csv", "1 patients have training and test cases: 'p1'", "too good"),
    ),
    BrokenDataset(
        "tiff_without_spacing",
        "tiff",
        _remove("imagesTr/b.json"),
        ("1 volumes have no spacing, and 1 mm is used: 'b'", "CASE.json", "the pages of a file"),
    ),
    BrokenDataset(
        "nifti_without_spacing",
        "3d",
        _all(*(_without_spacing(f"imagesTr/a_000{channel}.nii.gz") for channel in range(2))),
        ("1 volumes have no spacing, and 1 mm is used: 'a'", "into the header of images and masks"),
    ),
    BrokenDataset(
        "a_volume_in_metres",
        "tiff",
        _all(*(_third_volume(part) for part in ("images", "labels"))),
        ("1 volumes have voxels of another order of size", "'c' has sides of 0.001 mm", "metres"),
    ),
    BrokenDataset(
        "image_of_jpeg_under_another_name",
        "2d",
        _as_jpeg("imagesTr/a_0000.png"),
        ("case 'a'", "'a_0000.png'", "its content is JPEG", "take the originals"),
    ),
    BrokenDataset(
        "splits_of_nnunet_v1",
        "2d",
        _text("splits_final.pkl", b"\x80\x04]."),
        ("splits_final.pkl", "is not read", "write splits_final.json"),
    ),
]
"""Allowed, but perhaps not meant: `verify_dataset` warns, and reports no problem."""


def content_of(folder: Path) -> dict[str, bytes]:
    """Return every file of `folder` with its content, to see whether anything changed it."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if _is_readable_file(path) else b""
        for path in sorted(folder.rglob("*"))
    }


def _is_readable_file(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)


def write_report(problems: tuple[str, ...]) -> str:
    """Return `problems` as a test shows them when it fails."""
    return json.dumps(problems, indent=1)
