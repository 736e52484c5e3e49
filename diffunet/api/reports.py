"""One HTML page about a dataset, a model or predictions."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diffunet.arguments import scored_folders_of, workspace_of
from diffunet.calls import from_python
from diffunet.errors import UsageError, explain_any
from diffunet.jsonio import require_writable
from diffunet.parallel import Progress, without_progress
from diffunet.workspace import IMAGES_FOLDER, SUMMARY_FILE, TEST_IMAGES_FOLDER, Workspace

_SECONDS = 20.0
"""How long a prediction makes pictures at its end."""

logger = logging.getLogger(__name__)


@from_python
def report(
    folder: Path | str,
    output: Path | str | None = None,
    *,
    images: Path | str | None = None,
    references: Path | str | None = None,
    workspace: Workspace | Path | None = None,
    progress: Progress = without_progress,
) -> Path:
    """Write one self-contained HTML page, and return its path.

    Args:
        folder: a preprocessed dataset, a model or one of its folds, or predictions (also the
            validation of a fold).
        output: ends in .html; None for `report.html` in `folder`.
        images: of predictions: the folder, or the file, that was predicted. None: they are looked
            for in the raw datasets of the workspace, and known by their content.
        references: of predictions: a folder of masks. Without a `summary.json` in `folder` they are
            scored, and nothing is written but the page.

    Raises:
        UsageError: `folder` is none of these, or an option does not fit it.
        DiffunetError: a file is damaged.
        WriteError: the page cannot be written.
    """
    from diffunet.report.case_inputs import Asked
    from diffunet.report.folders import REPORT_FILE, kind_of, require_predictions
    from diffunet.report.write import write_report

    folder = Path(folder)
    kind = kind_of(folder)
    path = Path(output) if output is not None else folder / REPORT_FILE
    if images is not None or references is not None:
        require_predictions(folder, kind)
    _require_page(path)
    require_writable(path)
    asked = Asked(
        images=None if images is None else Path(images),
        references=None if references is None else Path(references),
        raw_folders=_raw_folders(workspace, folder) if kind == "prediction" else (),
    )
    summary = None
    if asked.references is not None and not (folder / SUMMARY_FILE).is_file():
        summary = _scores(folder, asked.references, progress=progress)
    written = write_report(folder, path, asked=asked, summary=summary)
    logger.info("wrote '%s' (%.1f MB)", written, written.stat().st_size / 1e6)
    return written


def _require_page(path: Path) -> None:
    """Check that a name is that of a page, which would else take the place of another file.

    Raises:
        UsageError: it is not.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"'{path}': expected a page to write (-o), whose name ends in .html; name another file"
        )


def report_on_training(folders: Sequence[Path]) -> None:
    """Write `report.html` into the folders of folds that were trained; failures are warnings."""
    for folder in folders:
        _write_or_warn(folder)


def report_on_prediction(folder: Path, *, images: Path) -> None:
    """Write `pictures/most_uncertain.png` and `report.html` into a folder of predictions.

    A failure is a warning. It takes seconds: cases that are left then have no pictures in the page.
    No reference is opened.
    """
    if not folder.is_dir():
        return
    with _warning_only(f"no picture of the most uncertain cases in '{folder}' was drawn"):
        from diffunet.report.case_inputs import Asked
        from diffunet.report.uncertain_picture import draw_most_uncertain

        drawn = draw_most_uncertain(folder, asked=Asked(images=images))
        if drawn is not None:
            png, cases = drawn
            logger.info("look first at the most uncertain: %s ('%s')", ", ".join(cases), png)
    _write_or_warn(folder, images=images, summary={}, max_seconds=_SECONDS)


def _write_or_warn(folder: Path, *, images: Path | None = None, **options: Any) -> None:
    """Write the page; a failure is a warning, also one of loading what writes it."""
    with _warning_only(f"no report of '{folder}' was written"):
        from diffunet.report.case_inputs import Asked
        from diffunet.report.write import write_report

        if images is not None:
            options["asked"] = Asked(images=images)
        logger.info("a page to look at: '%s'", write_report(folder, **options))


@contextlib.contextmanager
def _warning_only(what: str) -> Iterator[None]:
    """Turn any failure into a warning: what was trained or predicted is there all the same."""
    try:
        yield
    except Exception as failure:
        logger.warning("%s: %s", what, explain_any(failure))
        logger.debug("where it happened", exc_info=True)


def _raw_folders(workspace: Workspace | Path | None, folder: Path) -> tuple[Path, ...]:
    """Return raw datasets of the workspace, and of the one that `folder` lies in."""
    places = [workspace_of(workspace).raw]
    places += [parent / "raw" for parent in folder.resolve().parents[1:6]]
    found = [
        each
        for place in dict.fromkeys(places)
        if place.is_dir()
        for each in sorted(place.iterdir())
        if (each / IMAGES_FOLDER).is_dir() or (each / TEST_IMAGES_FOLDER).is_dir()
    ]
    return tuple(found)


def _scores(folder: Path, references: Path, *, progress: Progress) -> dict[str, Any]:
    from diffunet.evaluation.folder import evaluate_folders

    return evaluate_folders(
        scored_folders_of(references, folder), num_processes=0, progress=progress
    )
