"""`postprocessing.json`: which components to keep, and on what that was decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from diffunet.data.raw.case_files import listing
from diffunet.errors import UsageError
from diffunet.jsonio import read_json
from diffunet.labels import LabelScheme
from diffunet.postprocessing.components import keep_largest
from diffunet.records import record_from_json

Criterion = Literal["Dice", "ged_fully_unbiased", "ged"]
"""The score that decides: of the consensus, of samples, or of a single mask with several raters."""

_ORIGIN = (
    "expected the postprocessing.json of diffunet_determine_postprocessing; pickles such as "
    "nnU-Net's are never read, since reading one runs what it holds"
)


@dataclass(frozen=True, kw_only=True)
class MeanScores:
    """Means over cases.

    Attributes:
        mean: over labels.
        labels: by name.
    """

    mean: float
    labels: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A step that was tried after those that were kept before it.

    Attributes:
        keep_largest_of: labels.
        scores: with it.
    """

    keep_largest_of: tuple[str, ...]
    scores: MeanScores
    is_kept: bool


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What was decided on.

    Attributes:
        prediction, reference: folders.
        dataset, method: of the predictions, as far as they tell them.
        num_samples: of each case; 0: masks alone.
        num_raters: the largest number of a case.
    """

    prediction: str
    reference: str
    dataset: str | None
    method: str | None
    cases: tuple[str, ...]
    num_samples: int
    num_raters: int


@dataclass(frozen=True, kw_only=True)
class PostProcessing:
    """The steps, and why.

    Attributes:
        keep_largest_of: by step, the labels of whose union the largest component is kept.
        before, after: scores on the cases that decided: `after` is optimistic.
    """

    version: Literal[1] = 1
    keep_largest_of: tuple[tuple[str, ...], ...]
    criterion: Criterion
    before: MeanScores
    after: MeanScores
    tried: tuple[Trial, ...]
    decided_on: Origin

    def __post_init__(self) -> None:
        for names in self.keep_largest_of:
            if not names or len(set(names)) < len(names):
                raise ValueError(f"keep_largest_of: expected labels, each once, found {names!r}")

    @classmethod
    def load(cls, path: Path) -> "PostProcessing":
        """Read a file.

        Raises:
            UsageError: it is none of ours, or a field of it is not valid.
        """
        content = read_json(path, UsageError, remedy=_ORIGIN)
        return record_from_json(cls, content, where=f"'{path}'", error=UsageError)

    def require_labels(self, labels: LabelScheme, *, where: Path) -> None:
        """Check that the labels of all steps are known.

        Raises:
            UsageError: some are not.
        """
        unknown = {name for names in self.keep_largest_of for name in names} - set(labels.names)
        if unknown:
            raise UsageError(
                f"'{where}': keep_largest_of: expected labels of the predictions, "
                f"{listing(labels.names)}, found {listing(unknown)}; decide on predictions of this "
                "dataset"
            )


def check_new_file(path: Path) -> None:
    """Check that writing a decision replaces nothing but a former one.

    Raises:
        UsageError: there is a file of another kind.
    """
    if not path.exists():
        return
    try:
        PostProcessing.load(path)
    except UsageError:
        raise UsageError(
            f"'{path}' exists and is no file of diffunet_determine_postprocessing; name another "
            "file (-o)"
        ) from None


def post_processed(
    masks: np.ndarray, steps: Sequence[Sequence[str]], *, labels: LabelScheme
) -> np.ndarray:
    """Return boolean masks (label, *spatial) after all steps, in their order."""
    for names in steps:
        masks = keep_largest(masks, names, labels=labels)
    return masks
