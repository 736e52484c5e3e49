"""Make predictions of other predictions: a mixture of models, and post-processed masks."""

from collections.abc import Sequence
from pathlib import Path

from diffunet.parallel import Progress, without_progress


def ensemble(
    folders: Sequence[Path | str],
    output: Path | str,
    *,
    weights: Sequence[float] | None = None,
    num_samples: int | None = None,
    seed: int = 0,
    saves_probabilities: bool = False,
    progress: Progress = without_progress,
) -> Path:
    """Join the samples of several models into a mixture of them, and return its folder.

    Samples are joined, never averaged; consensus, uncertainty and volumes are made anew from them.
    The mask of a model that gives one answer stands for as many samples as its weight asks for.

    Args:
        folders: output folders of `predict` with `saves_samples`, of the same cases.
        output: a folder that is new, is empty or holds such a mixture; it is continued.
        weights: of each folder; None: all the same.
        num_samples: of the mixture; None: as many as weights and folders allow.
        seed: of the choice among the samples of a folder that gives only some.

    Raises:
        UsageError: the folders do not fit together, or weights and numbers of samples do not.
        DatasetError: at the end, all that is wrong with the cases that could not be joined.
    """
    from diffunet.ensembling.join import EnsembleOptions, join_folders

    return join_folders(
        [Path(folder) for folder in folders],
        Path(output),
        options=EnsembleOptions(
            weights=None if weights is None else tuple(weights),
            num_samples=num_samples,
            seed=seed,
            saves_probabilities=saves_probabilities,
        ),
        progress=progress,
    )
