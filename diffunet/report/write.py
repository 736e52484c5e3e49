"""Make the page of a folder, and write it."""

import time
from pathlib import Path
from typing import Any

from diffunet.jsonio import write_text
from diffunet.report.case_inputs import Asked
from diffunet.report.case_page import read_case_page
from diffunet.report.dataset_page import read_dataset_page
from diffunet.report.folders import REPORT_FILE, kind_of
from diffunet.report.html import Page, to_html
from diffunet.report.model_page import read_model_page


def write_report(
    folder: Path,
    output: Path | None = None,
    *,
    asked: Asked | None = None,
    summary: Any = None,
    max_seconds: float | None = None,
) -> Path:
    """Write the page about a folder, whole or not at all, and return its path.

    Args:
        output: None for `report.html` in the folder.
        asked: of predictions: where images and references are.
        summary: of predictions: their scores; None for those in the folder.
        max_seconds: of predictions: when to stop making pictures.

    Raises:
        DiffunetError: the folder is none that a page is made of, a file in it is damaged, or the
            page cannot be written.
    """
    path = output or folder / REPORT_FILE
    made = f"{time.strftime('%Y-%m-%d %H:%M')}"
    page = read_page(
        folder, page=path, asked=asked or Asked(), summary=summary, max_seconds=max_seconds
    )
    write_text(path, to_html(page, made=made))
    return path


def read_page(
    folder: Path,
    *,
    page: Path,
    asked: Asked,
    summary: Any = None,
    max_seconds: float | None = None,
) -> Page:
    """Read the facts about a folder of any kind; see `write_report`."""
    kind = kind_of(folder)
    if kind == "dataset":
        return read_dataset_page(folder)
    if kind == "model":
        return read_model_page(folder)
    return read_case_page(folder, asked=asked, page=page, summary=summary, max_seconds=max_seconds)
