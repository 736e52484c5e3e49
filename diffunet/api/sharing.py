"""Export a trained model into one file, install one, and say what one is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from diffunet.arguments import Dataset, model_folder_of, workspace_of
from diffunet.calls import from_python
from diffunet.errors import WorkspaceError
from diffunet.workspace import DEFAULT_PLANS_NAME, Workspace


@from_python
def export_model(
    output: Path | str,
    *,
    model: Path | str | None = None,
    dataset: Dataset | None = None,
    workspace: Workspace | Path | None = None,
    method: str | None = None,
    plans_name: str = DEFAULT_PLANS_NAME,
    configuration: str | None = None,
    folds: Sequence[int | str] | None = None,
    checkpoint: Literal["final", "best", "latest"] = "final",
    precision: Literal["float32", "bfloat16"] = "float32",
    license: str | None = None,
    note: str = "",
) -> Path:
    """Write a trained model into one zip file that predicts anywhere, and return its path.

    It holds averaged weights, plans, fingerprint and scores, and names no patient.

    Args:
        output: ends in `.zip`; replaced only once the new file is whole.
        model: folder of a trained model; needs no workspace.
        dataset: instead of `model`, with `method`, `plans_name` and `configuration`.
        folds: None for all that are trained.
        precision: of the stored weights: "bfloat16" halves the file, and rounds each weight.
        license: under which the model may be used; None for what `dataset.json` says.
        note: anything else that its users should know, such as the data it was trained on.

    Raises:
        UsageError, WorkspaceError, CheckpointError: the model is missing, or `output` is no name
            of a zip file.
        WriteError: the disk is full, or refuses.
    """
    from diffunet.sharing.export import export_model as write_model

    folder = model_folder_of(workspace, dataset, method, plans_name, configuration, model=model)
    write_model(
        folder,
        Path(output),
        folds=folds,
        checkpoint=checkpoint,
        precision=precision,
        license=license,
        note=note,
    )
    return Path(output)


@from_python
def install_model(
    file: Path | str,
    *,
    workspace: Workspace | Path | None = None,
    dataset: int | str | None = None,
) -> Path:
    """Unpack a model that `export_model` wrote into the workspace's results; returns its folder.

    Everything in the file is checked first, and nothing in it is run: it may come from anyone.

    Args:
        file: its path, or the name of a model that comes with diffunet ("lidc_nodules").
        dataset: name of the dataset to install it under; None for the one in the file.

    Raises:
        CheckpointError: it is no such file, or it is damaged or was changed; nothing is written.
        WorkspaceError: the model is there already.
        WriteError: the disk is full, or refuses.
    """
    from diffunet.sharing.install import install_model as unpack_model

    place = workspace_of(workspace)
    name = None if dataset is None else _installed_name(place, str(dataset))
    return unpack_model(Path(file), place.results, dataset_name=name)


@from_python
def model_info(model: Path | str) -> dict[str, Any]:
    """Return what a model is for, how it draws, and the scores of its folds.

    Args:
        model: folder of a trained model, a zip file that `export_model` wrote, or the name of a
            model that comes with diffunet ("lidc_nodules").

    Raises:
        CheckpointError: it is no model, or a file of it is damaged.
    """
    from diffunet.sharing.info import model_info as info_of

    return info_of(Path(model))


def _installed_name(place: Workspace, given: str) -> str:
    """Return the name of a dataset that is there, or else the name that was given."""
    try:
        return place.dataset_name(given)
    except WorkspaceError:
        return place.new_dataset_name(given, default="Installed")
