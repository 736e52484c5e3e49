"""Whether an existing fingerprint still describes the dataset."""

import logging
from pathlib import Path

from diffunet.data.raw.dataset_state import DatasetState
from diffunet.errors import DatasetError
from diffunet.fingerprint.fingerprint import Fingerprint

logger = logging.getLogger(__name__)


def kept_fingerprint(
    path: Path, state: DatasetState, *, planned: DatasetState | None
) -> Fingerprint | None:
    """Return the fingerprint in `path` if it is of `state`; None, and why in the log, if not.

    Args:
        planned: the state at the last planning, to tell what has changed; None if unknown.
    """
    if not path.is_file():
        return None
    try:
        kept = Fingerprint.load(path)
    except DatasetError as cause:
        logger.warning("%s. It is measured anew", cause)
        return None
    if kept.source != state.digest:
        logger.info(
            "'%s' is of other data: %s. It is measured anew",
            path,
            _in_words(kept, state, planned=planned),
        )
        return None
    return kept


def load_current(path: Path, state: DatasetState, *, planned: DatasetState | None) -> Fingerprint:
    """Return the fingerprint in `path`, which must be of `state`.

    Raises:
        DatasetError: it is missing, cannot be read, or is of other data; with the remedy.
    """
    fingerprint = Fingerprint.load(path)
    if fingerprint.source != state.digest:
        raise DatasetError(
            f"'{path}' was measured on other data than the raw dataset holds now: "
            f"{_in_words(fingerprint, state, planned=planned)}; measure it anew with "
            f"diffunet_extract_fingerprint -d {path.parent.name}"
        )
    return fingerprint


def _in_words(kept: Fingerprint, state: DatasetState, *, planned: DatasetState | None) -> str:
    if planned is None or planned.digest != kept.source:
        return "since it was measured, files were added, removed or changed"
    return "changed since then: " + "; ".join(state.changes_since(planned))
