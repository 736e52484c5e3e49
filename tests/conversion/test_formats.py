"""What holds for every format."""

from pathlib import Path

import pytest

from diffunet.conversion.formats import FORMATS
from diffunet.conversion.wishes import Wishes
from diffunet.errors import DatasetError

TASKS = {"chaos": "mr_t1"}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("nothing", "a download, found nothing there"),
        ("file", "found a file; unpack it"),
        ("packed", "found 1 file\\(s\\), such as 'all.tar.gz'; unpack it first"),
        ("empty", "found no file"),
    ],
)
def test_a_source_that_is_no_download_is_named_with_what_is_there(
    tmp_path: Path, name: str, kind: str, found: str
) -> None:
    source = tmp_path / "download.zip"
    if kind == "file":
        source.write_bytes(b"PK")
    elif kind != "nothing":
        source.mkdir()
    if kind == "packed":
        (source / "all.tar.gz").touch()
    with pytest.raises(DatasetError, match=rf"download\.zip': expected .*{found}"):
        FORMATS[name].scan(source, Wishes(task=TASKS.get(name)))


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_documented(name: str) -> None:
    page = Path(__file__).parents[2] / "documentation" / "how-to" / "convert-a-dataset.md"
    headings = [line for line in page.read_text().splitlines() if line.startswith("## ")]
    assert any(f"`{name}`" in heading for heading in headings)
