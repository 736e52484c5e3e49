"""Make predictions of other predictions: a mixture of models, and post-processed masks."""

from collections.abc import Sequence
from pathlib import Path

from diffunet.arguments import processes_of, scored_folders_of
from diffunet.calls import from_python
from diffunet.jsonio import require_writable, write_json
from diffunet.parallel import Progress, without_progress
from diffunet.workspace import POSTPROCESSING_FILE


@from_python
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


@from_python
def determine_postprocessing(
    prediction: Path | str,
    reference: Path | str,
    *,
    output: Path | None = None,
    dataset_json: Path | None = None,
    num_processes: int | None = None,
    progress: Progress = without_progress,
) -> Path:
    """Decide which components of masks to keep, and return the file that says so.

    First all labels together are tried, then each label. A step is kept if the mean score over
    cases is better and that of no label is worse: with one rater the Dice of the consensus, with
    several the unbiased GED of the samples. The score afterwards is optimistic, since these cases
    chose it: take cases of validation, never those of a test.

    Args:
        prediction: output folder of `predict` or `ensemble`.
        reference: folder of the masks of these cases.
        output: the file; None: `postprocessing.json` in `prediction`.
        dataset_json: None: the one in `prediction`.

    Raises:
        UsageError: the predictions are not whole, or `output` is another file.
        DatasetError: all that is wrong with the two folders.
        WriteError: `output` cannot be written.
    """
    from diffunet.postprocessing.decide import decide_postprocessing
    from diffunet.postprocessing.plan import check_new_file

    prediction, reference = Path(prediction), Path(reference)
    file = Path(output or prediction / POSTPROCESSING_FILE)
    check_new_file(file)
    folders = scored_folders_of(reference, prediction, dataset_json=dataset_json)
    if prediction.is_dir():
        require_writable(file)
    decided = decide_postprocessing(
        folders, num_processes=processes_of(num_processes), progress=progress
    )
    write_json(file, decided)
    return file


@from_python
def apply_postprocessing(
    folder: Path | str,
    output: Path | str,
    *,
    file: Path | str,
    progress: Progress = without_progress,
) -> Path:
    """Write predictions anew after post-processing, and return their folder.

    Each sample goes through all steps by itself; consensus, uncertainty and volumes are made anew
    from what is left. Of predictions without samples the masks alone are written.

    Args:
        folder: output folder of `predict` or `ensemble`.
        output: a folder that is new, is empty or holds such masks; it is continued.
        file: as `determine_postprocessing` writes it.

    Raises:
        UsageError: the predictions are not whole, or the file does not belong to them.
        DatasetError: at the end, all that is wrong with the cases that could not be read.
    """
    from diffunet.postprocessing.apply import apply_to_folder

    return apply_to_folder(Path(folder), Path(output), file=Path(file), progress=progress)
